"""The command `fer-jax`: parses, then calls. A mistake of the user's is one line on stderr and exit code 2.

A temporary failure, such as a full disk or a workdir in use, is one line and exit code 75, so that a cluster tries
again.
"""

import argparse
import importlib.metadata
import sys

from fer_jax.cli import bench, data_prepare, explain, export, predict, report, serve, sweep, teach, train
from fer_jax.errors import (
    EXIT_MISTAKE,
    DeviceMemoryError,
    ExportError,
    Interrupted,
    UserError,
    exit_code,
    first_line,
)
from fer_jax.runs import compiled
from fer_jax.runs.environment import prepare_environment

# A command's module has `add`, for its flags, and `run`.
COMMANDS = {
    "train": train,
    "sweep": sweep,
    "report": report,
    "data": data_prepare,
    "predict": predict,
    "explain": explain,
    "export": export,
    "teach": teach,
    "serve": serve,
    "bench": bench,
}
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Tells a mistake as every other one is told: one line, exit code 2. Sub-parsers are of the same class."""

    def error(self, message: str):
        """Reports a mistake in the flags as any other one: one line, exit code 2. Sub-parsers are of the same class."""
        name = self.prog.removeprefix("fer-jax").strip()
        self.exit(EXIT_MISTAKE, f"fer-jax: {name + ': ' if name else ''}{message}; --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fer-jax", description="Class-incremental facial-expression learning in JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fer-jax {importlib.metadata.version('fer-jax')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(commands)
    for command in commands.choices.values():
        command.add_argument("--no-compilation-cache", action="store_true", help="compile anew, and keep nothing of it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    known, rest = _parser().parse_known_args(arguments)
    prepare_environment()
    (compiled.reuse_none if known.no_compilation_cache else compiled.reuse)()
    from fer_jax.config import dotted  # imports JAX, which reads the environment then

    try:
        with dotted.trusting(getattr(known, "trust", False)):
            return COMMANDS[known.command].run(known, rest) or 0
    except (UserError, OSError, FloatingPointError, DeviceMemoryError, ExportError) as error:
        # An OSError is of a file or folder that cannot be read or written; the message has its name.
        print(f"fer-jax: {first_line(error)}", file=sys.stderr)
        return exit_code(error)
    except Interrupted as error:
        print(f"fer-jax: {first_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("fer-jax: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
