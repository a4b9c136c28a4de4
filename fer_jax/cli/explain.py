"""`fer-jax explain`: draws where a trained model looks, and measures how far to trust the maps."""

import argparse

from fer_jax.cli import flags


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    explain = commands.add_parser(
        "explain",
        help="draw where a trained model looks, and measure what the pictures are worth",
        description="Grad-CAM of a run's model on its test fold: each compound class between its two parents with the "
        "overlap of their maps, softmax at several temperatures, and checks of the maps themselves. Writes PNG, PDF "
        "and explain.json.",
        allow_abbrev=False,
    )
    flags.add_model(explain, remote=True)
    explain.add_argument("--variant", default="guided", metavar="V", help="guided (the paper's, default) or plain")
    explain.add_argument("--layer", metavar="CUT", help="where maps are taken (default the last of 7 × 7 or more)")
    explain.add_argument("--class", dest="class_name", metavar="NAME", help="also a sheet of this class's test images")
    explain.add_argument("--out", type=flags.path, metavar="DIR", help="default explain/ of the workdir")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Measures and draws; prints the main numbers and where the files are.

    Raises:
      UserError: as `trained.restore` and `explain_run.run` say.
    """
    places = flags.places(rest, "explain")
    from fer_jax.explain import run as explain_run
    from fer_jax.runs import files, remote
    from fer_jax.runs.progress import start_logging

    if known.out is not None:
        files.check_folder("--out", known.out)
    console = start_logging()
    model = flags.restored(known, places)
    out = known.out or model.home / "explain"
    shown = remote.named(out)
    report = explain_run.run(model, known.variant, known.layer, known.class_name, out, console)
    remote.publish(out)
    for variant, overlap in report["overlap"].items():
        if overlap["all"] is None:
            print("overlap: no class is known that is made of two basic ones")
            break
        for kind, estimate in overlap["all"].items():
            print(f"overlap: {variant}: {kind.replace('_', ' ')} {explain_run.in_words(estimate)}")
    for variant, steps in report["sanity"].items():
        estimate = explain_run.in_words(steps[0]["rank_correlation"])
        constant = f"; {steps[0]['constant_maps']} constant maps left out" if steps[0]["constant_maps"] else ""
        print(
            f"sanity:  {variant}: rank correlation {estimate} with the map of a randomised head; 0 is right{constant}"
        )
    for name in report["figures"]:
        print(f"figure:  {shown}/{name}.png")
    print(f"numbers: {shown}/explain.json")
