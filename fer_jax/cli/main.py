"""The command `fer-jax`: parses, then calls. A mistake of the user's is one line on stderr and exit code 2.

A temporary failure, such as a full disk or a workdir in use, is one line and exit code 75, so that a cluster tries
again.
"""

import argparse
import io
import os
import re
import select
import sys

import fer_jax
from fer_jax.cli import bench, config, data, explain, export, predict, report, serve, sweep, teach, train
from fer_jax.errors import (
    EXIT_MISTAKE,
    DeviceMemoryError,
    ExportError,
    Interrupted,
    UserError,
    exit_code,
    first_line,
)
from fer_jax.runs import compiled, remote
from fer_jax.runs.environment import missing_device, prepare_environment

# By purpose. A command's module has `add`, for its flags, and `run`.
PURPOSES = {
    "Run experiments": {"train": train, "sweep": sweep, "config": config, "data": data},
    "Look at results": {"report": report, "explain": explain},
    "Use a trained model": {"predict": predict, "teach": teach, "serve": serve, "export": export},
    "Measure": {"bench": bench},
}
COMMANDS = {name: module for commands in PURPOSES.values() for name, module in commands.items()}
EXIT_INTERRUPTED = 130
# As a shell reports SIGPIPE: what read the output, such as `head`, has ended.
EXIT_NO_READER = 141
# How shells complete an argument that names files, for shtab (docs/installation.md).
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}


class _ByPurpose(argparse.RawDescriptionHelpFormatter):
    """Leaves out argparse's own list of commands: the description has it, by purpose."""

    def add_argument(self, action: argparse.Action) -> None:
        if not isinstance(action, argparse._SubParsersAction):
            super().add_argument(action)


class _Parser(argparse.ArgumentParser):
    """Tells a mistake as every other one is told: one line, exit code 2. Sub-parsers are of the same class."""

    def error(self, message: str):
        """Reports a mistake in the flags as any other one: one line, exit code 2. Sub-parsers are of the same class."""
        name = self.prog.removeprefix("fer-jax").strip()
        self.exit(EXIT_MISTAKE, f"fer-jax: {name + ': ' if name else ''}{message}; --help says more\n")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands, which shell completion reads, too."""
    parser = _Parser(
        prog="fer-jax",
        description="Class-incremental facial-expression learning in JAX.",
        epilog="fer-jax COMMAND --help says more of a command.",
        formatter_class=_ByPurpose,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fer-jax {fer_jax.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(commands)
    for command in commands.choices.values():
        command.add_argument("--no-compilation-cache", action="store_true", help="compile anew, and keep nothing of it")
    told = {one.dest: one.help for one in commands._choices_actions}
    for purpose, members in PURPOSES.items():
        parser.description += f"\n\n{purpose}:" + "".join(f"\n  {name:8} {told[name]}" for name in members)
    _complete_files(parser)
    return parser


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Marks the arguments of a parser and its commands that name files or folders."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command)
        elif re.search("FILE|DIR|FOLDER", str(action.metavar)):
            action.complete = FILES


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code. Without arguments it lists the commands."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the locale cannot write is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    known, rest = parser().parse_known_args(arguments or ["--help"])
    prepare_environment()
    (compiled.reuse_none if known.no_compilation_cache else compiled.reuse)()
    from fer_jax.config import dotted  # imports JAX, which reads the environment then

    try:
        with dotted.trusting(getattr(known, "trust", False)):
            code = COMMANDS[known.command].run(known, rest) or 0
            print(end="", flush=True)
            return code
    except (UserError, OSError, FloatingPointError, DeviceMemoryError, ExportError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return EXIT_NO_READER
        # An OSError is of a file or folder that cannot be read or written; the message has its name.
        print(f"fer-jax: {remote.named(first_line(error))}", file=sys.stderr)
        return exit_code(error)
    except (RuntimeError, AssertionError):
        # Asked only now, since joining other processes comes before the first use of a device.
        if (problem := missing_device()) is None:
            raise
        print(f"fer-jax: {problem}", file=sys.stderr)
        return EXIT_MISTAKE
    except Interrupted as error:
        print(f"fer-jax: {first_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("fer-jax: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _reader_is_gone() -> bool:
    """Returns True if nobody reads the output any more; the rest of it then goes nowhere, without a message."""
    if sys.stdout is None:
        return False
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    gone = any(event & select.POLLERR for _, event in watched.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


if __name__ == "__main__":
    sys.exit(main())
