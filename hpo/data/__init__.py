"""The data room: text in, token ids out."""
