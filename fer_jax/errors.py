"""What the user can put right: one line that says what was wrong, where, and what it may be."""


class UserError(ValueError):
    """A mistake in what the user gave; the command prints the message alone and exits with code 2."""
