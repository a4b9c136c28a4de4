"""The command `fer-jax`, one file a command."""
