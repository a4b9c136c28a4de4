"""`fer-jax bench`: measures how fast the parts of a run are, what limits them, and how their cost grows.

Each measurement is a file. They share `timing` and `arithmetic`, and measure on the data of `world`.
"""
