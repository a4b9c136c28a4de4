"""`fer-jax bench`: how fast the parts of a run are, what limits them, and how their cost grows.

Each measurement is a file; `timing` and `arithmetic` are what they share, `world` what they measure on.
"""
