"""A trained model in use: restored, queried, calibrated, exported."""
