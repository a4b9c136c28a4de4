"""`fer-jax data check`: says what a data set holds, and lists its near-duplicates."""

import argparse

from fer_jax.cli import flags

PARTS = ("train", "validation", "test")


def add(tasks) -> None:
    """Adds the task to argparse's subparsers of `data`."""
    check = tasks.add_parser(
        "check",
        help="say what a data set holds, and list near-duplicates",
        usage="fer-jax data check --config FILE [--config.key=value ...]",
        description="Loads the data set of config.data and prints how many images, classes, subjects and official "
        "parts it has, and every two near-duplicates of different subjects: copies that are encoded again, resized, "
        "shifted or mirrored. config.data.near_duplicates=exclude trains without the later ones; "
        "config.data.near_duplicates_in=face compares faces, cut out of pictures that show more.",
        allow_abbrev=False,
    )
    flags.add_config(check)


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the task.

    Raises:
      UserError: a mistake in the flags, in the config or in the data set's files.
    """
    config = flags.config_of(known, rest, "data check")
    from fer_jax.config import check_data
    from fer_jax.data import leakage
    from fer_jax.data.load import load
    from fer_jax.runs.progress import start_logging

    start_logging()
    check_data(config.data, ("name", "image_size", "exclude", "n_base"))
    data = load(config.data)
    found, part = leakage.of(data, config.data.get("near_duplicates_in", "picture")), leakage.parts(data)
    where = "between official parts" if part is not None else "between subjects, which folds put on different sides"
    print(f"compared:        {found.compared}")
    print(f"near-duplicates: {len(found.pairs)} pairs, {len(found.crossing)} of them {where}")
    print(f"without them:    {len(data.label) - len(found.later)} of {len(data.label)} images")
    for pair in found.pairs:
        rows = (pair.first, pair.second)
        files = (data.files[row] if data.files else f"image {row}" for row in rows)
        sides = (f" ({PARTS[part[row]]})" if part is not None else "" for row in rows)
        print("  ".join((f"{pair.difference:.3f}", *(f + side for f, side in zip(files, sides, strict=True)))))
