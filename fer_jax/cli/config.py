"""`fer-jax config`: shows a config with what its keys mean, compares two, or lists all keys."""

import argparse

from fer_jax.cli import flags


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    config = commands.add_parser(
        "config",
        help="show a config and what its keys mean, or compare two",
        usage="fer-jax config (--config FILE [--config.key=value ...] | --diff FILE FILE | --markdown)",
        description="Prints every key of a config with its value, meaning, allowed values and default, as a run would "
        "have it.",
        allow_abbrev=False,
    )
    one = config.add_mutually_exclusive_group(required=True)
    one.add_argument("--config", metavar="FILE", help=flags.CONFIG)
    one.add_argument("--diff", nargs=2, metavar="FILE", help="list the keys in which two configs differ")
    one.add_argument("--markdown", action="store_true", help="print the reference page of all keys, in Markdown")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the command and prints what was asked for.

    Raises:
      UserError: a mistake in the flags or in a config.
    """
    if not known.config:
        flags.check_nothing_more(rest, "config")
    from fer_jax.config import describe

    if known.markdown:
        print(describe.reference(), end="")
    elif known.diff:
        for line in describe.differences(*(_resolved(file, []) for file in known.diff)):
            print(line)
    else:
        for line in describe.listing(_resolved(known.config, rest)):
            print(line)


def _resolved(file: str, overrides: list[str]):
    from fer_jax import config as configs

    config = flags.read(file, overrides, "config")
    configs.check(config)
    return configs.resolve(config)
