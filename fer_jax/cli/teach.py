"""`fer-jax teach`: adds a class of the user's own to a trained model."""

import argparse

from fer_jax.cli import flags


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    teach = commands.add_parser(
        "teach",
        help="add a class of your own to a trained model, from a few pictures",
        description="Learns a class from 1 to 50 pictures beside those that a model knows, by features of these and of "
        "the run's exemplars; no network is trained. Writes a model beside the old one, which --workdir of predict, "
        "explain, export and teach accepts. Exit code 2: nothing was changed.",
        allow_abbrev=False,
    )
    flags.add_model(teach, remote=False)
    teach.add_argument("what", nargs="+", type=flags.path, metavar="IMAGE|FOLDER")
    teach.add_argument("--class", dest="class_name", required=True, metavar="NAME", help="the new class")
    teach.add_argument("--out", type=flags.path, metavar="DIR", help="default taught/NAME of the workdir")
    teach.add_argument("--cropped", action="store_true", help="pictures are faces already; none is searched for")
    teach.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")
    teach.add_argument("--json", action="store_true", help="print JSON, not lines")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Learns a class, and prints accuracies before and after.

    Raises:
      UserError: flags or pictures that cannot be, as `teach` says, or a model as `trained.restore` says.
    """
    places = flags.places(rest, "teach")
    from fer_jax.inference import predict as predicting
    from fer_jax.inference import taught
    from fer_jax.inference import teach as teaching
    from fer_jax.runs.files import check_folder
    from fer_jax.runs.progress import start_logging

    # Mistakes that can be reported before a model is read.
    name = teaching.checked_name(known.class_name)
    files = predicting.pictures(known.what)
    sha256 = teaching.digests(files)
    if known.out is not None:
        check_folder("--out", known.out)
    out = known.out or known.workdir / "taught" / name
    taught.check_new(out)
    start_logging()
    model = flags.restored(known, places)
    teaching.check_unknown(model, name)
    faces = teaching.faces(predicting.uncalibrated(model, known.cropped, known.margin), files, sha256)
    new = taught.TaughtClass(name, tuple(file.name for file in files), sha256, faces)
    made = teaching.teach(model, new, out)
    print(teaching.as_json(made) if known.json else "\n".join(teaching.lines(made)))
