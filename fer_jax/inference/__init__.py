"""A trained model in use: restored, asked, calibrated, exported."""
