"""`fer-jax data`: work on a data set's files, a task each."""

import argparse

from fer_jax.cli import data_check, data_prepare

TASKS = {"prepare": data_prepare, "check": data_check}


def add(commands) -> None:
    """Adds the command and its tasks to argparse's subparsers."""
    data = commands.add_parser("data", help="work on a data set's files", allow_abbrev=False)
    tasks = data.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in TASKS.values():
        task.add(tasks)


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs a task; raises what it raises."""
    return TASKS[known.task].run(known, rest)
