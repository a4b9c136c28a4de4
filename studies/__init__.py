"""Measurements for the documents, one file per study: its question, its command, its committed result, its time.

README.md lists them. `record` is what they share, `documents` makes tables of what they measured, and `materials` holds
files that single studies read.
"""
