"""Measurements for the documents, one file a study: its question, its command, its committed result."""
