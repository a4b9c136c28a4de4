"""Data sets as plain arrays: builders, loaders and preparation."""
