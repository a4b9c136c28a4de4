"""`fer-jax data prepare`: copies a data set's folder with every picture cropped to its face."""
