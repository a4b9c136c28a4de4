"""`fer-jax report`: writes the report of a workdir again, or one of several workdirs."""

import argparse

from fer_jax.cli import flags
from fer_jax.errors import UserError


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    report = commands.add_parser(
        "report",
        help="make the report of a workdir again, or one of several",
        description="Makes report/index.html of a run's workdir from its results.json. Of a sweep's folder, or of "
        "several, it merges what is finished into one results.json and one page, and says what is missing. With "
        "--against it sets two workdirs side by side instead.",
        allow_abbrev=False,
    )
    report.add_argument("--workdir", required=True, action="append", type=flags.workdir, metavar="DIR")
    report.add_argument(
        "--out", type=flags.path, metavar="DIR",
        help="where the results and the page of several workdirs go (merged/ in the first one; against/ if compared)",
    )  # fmt: skip
    report.add_argument(
        "--against", type=flags.path, metavar="DIR",
        help="a second workdir: the keys that differ, the numbers of both and their difference, both in one figure",
    )  # fmt: skip
    flags.add_trust(report)


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the command and prints where the report is.

    Raises:
      UserError: a mistake in the flags, or nothing to report.
    """
    flags.check_nothing_more(rest, "report")
    from fer_jax.report import page
    from fer_jax.runs import files, remote
    from fer_jax.sweeps.cells import SWEEP

    if known.out is not None:
        files.check_folder("--out", known.out)
    first = known.workdir[0]
    if known.against:
        if len(known.workdir) > 1:
            raise UserError("--against goes with one --workdir")
        if remote.is_remote(first):
            raise UserError(f"--against goes with folders on this machine; copy {first} into one")
        from fer_jax.report import against

        print(f"report:  {against.write(first, known.against, known.out)}")
        return
    if remote.is_remote(first) and len(known.workdir) == 1 and not known.out:
        written = page.write(remote.readable(first))
        remote.publish(written.parent)
        print(f"report:  {remote.named(written)}")
        return
    if remote.is_remote(first) and len(known.workdir) == 1:
        raise UserError(f"--out goes with folders on this machine; the report of {first} is written there")
    for one in known.workdir:
        if remote.is_remote(one):
            raise UserError(f"--workdir {one} is reported by itself; several are merged from folders: copy it into one")
    if len(known.workdir) > 1:
        page.tell(*page.write_merged(known.workdir, known.out or first / "merged"))
    elif (first / SWEEP).exists():
        page.tell(*page.write_merged(known.workdir, known.out or first))
    elif known.out:
        raise UserError("--out goes with several --workdir, or with that of a sweep")
    else:
        print(f"report:  {page.write(first)}")
