"""Compare two systems on one test set without a search: studies, models and files of predictions."""
