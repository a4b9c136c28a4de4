"""A run on disk and among processes: workdir, checkpoints, locks, signals, progress, results."""
