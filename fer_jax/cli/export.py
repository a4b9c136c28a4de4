"""`fer-jax export`: writes a trained model for use without fer_jax."""

import argparse

from fer_jax.cli import flags


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    export = commands.add_parser(
        "export",
        help="write a trained model for use without fer_jax, with its card",
        description="Writes the model with its temperature as StableHLO (jax.export), ONNX or safetensors, reads it "
        "back and compares; beside it model.json and README.md, the model's card.",
        allow_abbrev=False,
    )
    flags.add_model(export, remote=True)
    export.add_argument("--format", required=True, metavar="F", help="stablehlo, onnx or safetensors")
    export.add_argument("--out", required=True, type=flags.path, metavar="FOLDER")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Writes a model and prints its files.

    Raises:
      UserError: as `trained.restore` and `export.check` say.
      ExportError: read back, it gives other probabilities.
    """
    places = flags.places(rest, "export")
    from fer_jax.inference import calibration
    from fer_jax.inference import export as exporting
    from fer_jax.runs.progress import start_logging

    start_logging()
    exporting.check(known.format, known.out)
    model = flags.restored(known, places)
    written = exporting.write(model, calibration.of(model), known.format, known.out)
    for name in written.removed:
        print(f"removed: {known.out / name}, of the export that was there")
    for name in written.files:
        print(f"written: {known.out / name}")
    print(f"checked: read back, probabilities differ by {written.difference:.1e} at most")
