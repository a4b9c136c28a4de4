"""`fer-jax data prepare`: a data set's folder once more, every picture cut to its face."""
