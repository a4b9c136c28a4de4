"""`python -m fer_jax` is the command `fer-jax`."""

import sys

from fer_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
