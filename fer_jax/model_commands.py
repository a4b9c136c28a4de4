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


def explain(known: argparse.Namespace, rest: list[str]) -> None:
    _no_more(rest, "explain")
    from fer_jax import explain_run, trained
    from fer_jax.progress import start_logging

    console = start_logging()
    model = trained.restore(known.workdir, known.method, known.fold, known.order)
    out = known.out or known.workdir / "explain"
    found = explain_run.run(model, known.variant, known.layer, known.class_name, out, console)
    overall = found["overlap"]["all"]
    if overall is None:
        print("overlap: no class is known that is made of two basic ones")
    else:
        for kind, said in overall.items():
            print(f"overlap: {kind.replace('_', ' ')} {explain_run.in_words(said)}")
    for variant, steps in found["sanity"].items():
        said = explain_run.in_words(steps[0]["rank_correlation"])
        print(f"sanity:  {variant}: rank correlation {said} with the map of a randomised head; 0 is right")
    for name in found["figures"]:
        print(f"figure:  {out / name}.png")
    print(f"numbers: {out / 'explain.json'}")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="DIR", help="of a run")
    parser.add_argument("--method", metavar="NAME", help="default kd_psmr; base is the base model")
    parser.add_argument("--fold", type=int, metavar="K", help="default the first that has the model")
    parser.add_argument("--order", type=int, metavar="O", help="number of a class order, default the first")


def _no_more(rest: list[str], name: str) -> None:
    if rest:
        raise UserError(f"{rest[0]} is not an argument of {name}")


COMMANDS = {"explain": explain}
