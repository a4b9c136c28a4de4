"""The compiled training path: batches, steps, epochs and fits; knows no config and no file."""
