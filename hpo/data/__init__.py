"""Load texts and labels, split and clean them, and turn them into batches of token ids."""
