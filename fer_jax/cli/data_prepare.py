"""`fer-jax data prepare`: crops every picture of a data set to its face."""

import argparse
import functools

from fer_jax.cli import flags


def add(tasks) -> None:
    """Adds the task to argparse's subparsers of `data`."""
    prepare = tasks.add_parser(
        "prepare",
        help="cut every picture to its face",
        usage="fer-jax data prepare --config FILE --out DIR [--margin M] [--size S] [--jobs N] "
        "[--config.key=value ...]",
        description="Reads the data set in config.data.manual_dir and writes a folder of the same layout, every "
        "picture cut to its largest face; train on it with --config.data.manual_dir=DIR. The same command again goes "
        "on where it stopped.",
        allow_abbrev=False,
    )
    flags.add_config(prepare)
    prepare.add_argument("--out", required=True, type=flags.path, metavar="DIR")
    prepare.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")
    prepare.add_argument("--size", type=int, metavar="S", help="pixels of a side (default config.data.image_size)")
    prepare.add_argument("--jobs", type=int, metavar="N", help="processes (default one a CPU core)")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the command and prints a summary of the pictures.

    Raises:
      UserError: a mistake in the flags, in the config or in the data set's files.
    """
    config = flags.config_of(known, rest, "data prepare")
    from fer_jax.data.prepare.run import prepare
    from fer_jax.runs.progress import Bar, start_logging

    bar = functools.partial(Bar, console=start_logging())
    summary = prepare(config.data, known.out, known.margin, known.size, known.jobs, bar)
    counts = summary["counts"]
    print(
        f"pictures: {counts['pictures']}, of which face found {counts['found']} (several {counts['several_found']}, "
        f"low score {counts['low_score']}), not found {counts['not_found']}, unreadable {counts['unreadable']}"
    )
    print(f"summary:  {known.out / '.prepare' / 'summary.json'}")
    if (known.out / ".prepare" / "unsure.png").exists():
        print(f"unsure:   {known.out / '.prepare' / 'unsure.png'}")
