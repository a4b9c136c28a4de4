"""The commands that use a trained model: their flags, and what they print."""

import argparse
import pathlib

from fer_jax.errors import UserError


def add_arguments(commands) -> None:
    """Adds the commands to argparse's subparsers."""
    explain = commands.add_parser(
        "explain",
        help="draw where a trained model looks, and measure what the pictures are worth",
        description="Grad-CAM of a run's model on its test fold: each compound class between its two parents with the "
        "overlap of their maps, softmax at several temperatures, and checks of the maps themselves. Writes PNG, PDF "
        "and explain.json.",
        allow_abbrev=False,
    )
    _add_choice(explain)
    explain.add_argument("--variant", default="guided", metavar="V", help="guided (the paper's, default) or plain")
    explain.add_argument("--layer", metavar="CUT", help="where maps are taken (default the last of 7 × 7 or more)")
    explain.add_argument("--class", dest="class_name", metavar="NAME", help="also a sheet of this class's test images")
    explain.add_argument("--out", type=pathlib.Path, metavar="DIR", help="default explain/ of the workdir")

    predict = commands.add_parser(
        "predict",
        help="ask a trained model what is on pictures, or before a camera",
        description="Finds the face in every picture, cuts it as `data prepare` does, and prints the likeliest classes "
        "with calibrated probabilities. Exit code 1: some picture of several could not be read; 2: none could.",
        allow_abbrev=False,
    )
    _add_choice(predict)
    predict.add_argument("what", nargs="+", type=pathlib.Path, metavar="IMAGE|FOLDER|camera")
    predict.add_argument("--top", type=int, default=3, metavar="N", help="classes told of a picture (3)")
    predict.add_argument("--cropped", action="store_true", help="pictures are faces already; none is searched for")
    predict.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")
    predict.add_argument(
        "--explain", type=pathlib.Path, metavar="DIR", help="write each face beside its Grad-CAM there"
    )
    predict.add_argument("--variant", metavar="V", help="of these maps: plain (default) or guided, the paper's")
    predict.add_argument("--class", dest="class_name", metavar="NAME", help="the class of these maps (the first one)")
    predict.add_argument("--json", action="store_true", help="print JSON, not a table")

    export = commands.add_parser(
        "export",
        help="write a trained model for use without fer_jax, with its card",
        description="Writes the model with its temperature as StableHLO (jax.export), ONNX or safetensors, reads it "
        "back and compares; beside it model.json and README.md, the model's card.",
        allow_abbrev=False,
    )
    _add_choice(export)
    export.add_argument("--format", required=True, metavar="F", help="stablehlo, onnx or safetensors")
    export.add_argument("--out", required=True, type=pathlib.Path, metavar="FOLDER")


def explain(known: argparse.Namespace, rest: list[str]) -> None:
    """Measures and draws, and tells the main numbers and where all is.

    Raises:
      UserError: as `trained.restore` and `explain_run.run` say.
    """
    _no_more(rest, "explain")
    from fer_jax.explain import run as explain_run
    from fer_jax.runs.progress import start_logging

    console = start_logging()
    model = _restored(known)
    out = known.out or known.workdir / "explain"
    found = explain_run.run(model, known.variant, known.layer, known.class_name, out, console)
    for variant, overlap in found["overlap"].items():
        if overlap["all"] is None:
            print("overlap: no class is known that is made of two basic ones")
            break
        for kind, said in overlap["all"].items():
            print(f"overlap: {variant}: {kind.replace('_', ' ')} {explain_run.in_words(said)}")
    for variant, steps in found["sanity"].items():
        said = explain_run.in_words(steps[0]["rank_correlation"])
        constant = f"; {steps[0]['constant_maps']} constant maps left out" if steps[0]["constant_maps"] else ""
        print(f"sanity:  {variant}: rank correlation {said} with the map of a randomised head; 0 is right{constant}")
    for name in found["figures"]:
        print(f"figure:  {out / name}.png")
    print(f"numbers: {out / 'explain.json'}")


def predict(known: argparse.Namespace, rest: list[str]) -> int:
    """Answers pictures or a camera; 1 where some picture of several could not be read, else 0.

    Raises:
      UserError: flags or pictures that cannot be, as `predict` says, or a model as `trained.restore` says.
    """
    _no_more(rest, "predict")
    camera = [str(path) for path in known.what] == ["camera"] and not known.what[0].exists()
    from fer_jax.inference import predict as predicting
    from fer_jax.runs.progress import start_logging

    # What can be told before a model is read.
    predicting.check_options(camera, known.json, known.explain is not None, known.class_name, known.variant)
    predicting.check_top(known.top)
    if camera:
        from fer_jax.inference import camera as live

        live.opencv()
    files = [] if camera else predicting.pictures(known.what)
    predicting.check_readable(files)
    console = start_logging()
    model = _restored(known)
    predictor = predicting.build(model, known.cropped, known.margin)
    if camera:
        live.run(predictor, top=known.top)
        return 0
    variant = known.variant or "plain"
    rows = list(predicting.answers(predictor, files, known.top, known.explain, known.class_name, variant, console))
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
    return int(bool(unreadable))


def export(known: argparse.Namespace, rest: list[str]) -> None:
    """Writes a model and tells its files.

    Raises:
      UserError: as `trained.restore` and `export.check` say.
      ExportError: read back, it gives other probabilities.
    """
    _no_more(rest, "export")
    from fer_jax.inference import calibration
    from fer_jax.inference import export as exporting
    from fer_jax.runs.progress import start_logging

    start_logging()
    exporting.check(known.format, known.out)
    model = _restored(known)
    written = exporting.write(model, calibration.of(model), known.format, known.out)
    for name in written.removed:
        print(f"removed: {known.out / name}, of the export that was there")
    for name in written.files:
        print(f"written: {known.out / name}")
    print(f"checked: read back, probabilities differ by {written.difference:.1e} at most")


def _restored(known: argparse.Namespace):
    """The chosen model; says so if its run has not ended."""
    from fer_jax.inference import trained
    from fer_jax.runs.progress import log

    model = trained.restore(known.workdir, known.method, known.fold, known.order)
    if model.increment is not None and not model.class_mask.all():
        log.warning(
            "the run has not ended: the model knows %d of %d classes, after increment %d (the first is 0)",
            model.class_mask.sum(), len(model.class_names), model.increment,
        )  # fmt: skip
    return model


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="DIR", help="of a run")
    parser.add_argument("--method", metavar="NAME", help="default kd_psmr; base is the base model")
    parser.add_argument("--fold", type=int, metavar="K", help="default the first that has the model")
    parser.add_argument("--order", type=int, metavar="O", help="number of a class order, default the first")
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that reads a run's model."""
    parser.add_argument(
        "--trust", action="store_true",
        help="run the modules that the workdir's config names, where they are not of fer_jax; only if it is yours",
    )  # fmt: skip


def _no_more(rest: list[str], name: str) -> None:
    if rest:
        raise UserError(f"{rest[0]} is not an argument of {name}")


COMMANDS = {"explain": explain, "predict": predict, "export": export}
