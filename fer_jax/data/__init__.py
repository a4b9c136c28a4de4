"""Data sets as plain arrays, and their augmentation."""
