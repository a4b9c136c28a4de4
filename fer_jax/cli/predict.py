"""`fer-jax predict`: classifies pictures, or a camera's picture, by a trained model."""

import argparse

from fer_jax.cli import flags
from fer_jax.errors import UserError


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    predict = commands.add_parser(
        "predict",
        help="ask a trained model what is on pictures, or before a camera",
        description="Finds the face in every picture, cuts it as `data prepare` does, and prints the likeliest classes "
        "with calibrated probabilities. Exit code 1: some picture of several could not be read; 2: none could.",
        allow_abbrev=False,
    )
    flags.add_model(predict, remote=True)
    predict.add_argument("what", nargs="+", type=flags.path, metavar="IMAGE|FOLDER|camera")
    predict.add_argument("--top", type=int, default=3, metavar="N", help="classes shown for a picture (3)")
    predict.add_argument("--cropped", action="store_true", help="pictures are faces already; none is searched for")
    predict.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")
    predict.add_argument("--explain", type=flags.path, metavar="DIR", help="write each face beside its Grad-CAM there")
    predict.add_argument("--variant", metavar="V", help="of these maps: plain (default) or guided, the paper's")
    predict.add_argument("--class", dest="class_name", metavar="NAME", help="the class of these maps (the first one)")
    predict.add_argument("--json", action="store_true", help="print JSON, not a table")


def run(known: argparse.Namespace, rest: list[str]) -> int:
    """Answers pictures or a camera; returns 1 if one of several pictures could not be read, else 0.

    Raises:
      UserError: flags or pictures that cannot be, as `predict` says, or a model as `trained.restore` says.
    """
    places = flags.places(rest, "predict")
    camera = [str(path) for path in known.what] == ["camera"] and not known.what[0].exists()
    from fer_jax.inference import predict as predicting
    from fer_jax.runs.files import check_folder
    from fer_jax.runs.progress import start_logging

    # Mistakes that can be reported before a model is read.
    _check_options(known, camera)
    predicting.check_top(known.top)
    if known.explain is not None:
        check_folder("--explain", known.explain)
    if camera:
        from fer_jax.inference import camera as live

        live.opencv()
    console = start_logging()
    files = [] if camera else predicting.pictures(known.what)
    predicting.check_readable(files)
    model = flags.restored(known, places)
    predictor = predicting.build(model, known.cropped, known.margin)
    if camera:
        live.run(predictor, top=known.top)
        return 0
    drawn = None
    if known.explain is not None:
        from fer_jax.explain import overlays

        drawn = overlays.of(model, known.explain, known.class_name, known.variant or "plain")
    rows = list(predicting.answers(predictor, files, known.top, drawn, console))
    unreadable = [row for row in rows if row["outcome"] == "unreadable"]
    if len(unreadable) == len(rows):
        first = unreadable[0]
        raise UserError(f"none of {len(rows)} pictures can be read; the first is {first['file']}: {first['problem']}")
    if known.json:
        print(predicting.as_json(predictor, rows))
    else:
        predicting.print_table(predictor, rows)
        if known.explain is not None:
            print(f"maps: {known.explain}")
        if unreadable:
            print(f"{len(unreadable)} of {len(rows)} pictures could not be read")
    return int(bool(unreadable))


def _check_options(known: argparse.Namespace, camera: bool) -> None:
    """Checks what flags say together, before a model is read.

    Raises:
      UserError: a flag that would have no effect, or no such variant.
    """
    if camera and known.json:
        raise UserError("--json does not go with camera; its answers are lines as they come")
    if camera and known.explain is not None:
        raise UserError("--explain does not go with camera; it may go with pictures")
    for flag, value in (("--class", known.class_name), ("--variant", known.variant)):
        if value is not None and known.explain is None:
            raise UserError(f"{flag} says of what maps are; it goes with --explain DIR")
    from fer_jax.explain.maps import VARIANTS

    if known.variant is not None and known.variant not in VARIANTS:
        raise UserError(f"--variant is {known.variant!r}; it may be one of {', '.join(VARIANTS)}")
