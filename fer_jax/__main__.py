"""`python -m fer_jax` is the command `fer-jax`."""

import sys

from fer_jax.cli.main import main

sys.exit(main())
