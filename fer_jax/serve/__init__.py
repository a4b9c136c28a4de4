"""`fer-jax serve`: a local page and its API, to ask a trained model and to teach it."""
