"""The Python interface, `import fer_jax as fj`: what the commands do, as functions, and a run's results as arrays."""
