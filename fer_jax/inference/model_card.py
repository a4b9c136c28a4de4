"""The card of an exported model (Mitchell et al., FAT* 2019): what it is, what it does, what it is not for."""

import jinja2

from fer_jax.data import standard
from fer_jax.inference.calibration import fitted_on
from fer_jax.inference.trained import BASE, Trained
from fer_jax.runs import names, results

USES = {
    "stablehlo": """from jax import export
model = export.deserialize(open("model.stablehlo", "rb").read())
p = model.call(faces)""",
    "onnx": """import onnxruntime
model = onnxruntime.InferenceSession("model.onnx")
p = model.run(None, {"faces": faces})[0]""",
    "safetensors": """import model  # model.py beside this file; it needs jax, numpy and safetensors, nothing else
settings, params, program = model.load(".")
p = program(params, faces)""",
}


def text(trained: Trained, calibration: dict, kind: str, difference: float) -> str:
    """Returns the card as Markdown, with the figures of the run's results.json if the run has finished.

    Args:
      calibration: as `calibration.of` returns it.
      kind: the format, one of USES.
      difference: of probabilities, when the exported model was read back.
    """
    return _rendered(trained, calibration, USES[kind], difference)


def sections(trained: Trained, calibration: dict) -> dict[str, str]:
    """Returns the card of a model that is not exported, as Markdown by the headings of its parts.

    Args:
      calibration: as `calibration.of` returns it.
    """
    _, *parts = _rendered(trained, calibration).split("\n## ")
    titled = [part.split("\n", 1) for part in parts]
    return {title: body.strip() for title, body in titled}


def _rendered(trained: Trained, calibration: dict, use: str | None = None, difference: float | None = None) -> str:
    finished = (trained.workdir / "results.json").exists()
    run_results = results.restated(results.read(trained.workdir)) if finished else None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fer_jax.inference", "."), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("model_card.md").render(
        trained=trained,
        config=trained.config,
        method=names.method_name(trained.method),
        use=use,
        faces=not standard.is_one(trained.config.data.name),
        own_classifier=None if trained.answers == trained.answers_by else trained.answers_by.replace("_", " "),
        difference=difference,
        calibration=calibration,
        fitted_on=fitted_on(calibration) if "test" in calibration else None,
        data=run_results and run_results["data"],
        weights_sha256=run_results and run_results["basic"][0].get("weights_sha256"),
        device=run_results and run_results["environment"],
        rows=_rows(trained, run_results) if run_results and not trained.taught else [],
        estimated=names.percent_header(list(_estimates(trained, run_results).values()), "class orders"),
        by_class=_by_class(trained, run_results) if run_results and not trained.taught else [],
    )


def _run(trained: Trained, run_results: dict) -> dict | None:
    runs = run_results["continual"].get(trained.column, {"runs": []})["runs"]
    return next((run for run in runs if (run["fold"], run["order"]) == (trained.fold, trained.order)), None)


def _estimates(trained: Trained, run_results: dict | None) -> dict[str, dict]:
    """Returns the estimates over the method's runs, of what this model answers by; empty if there are none."""
    return run_results["continual"].get(trained.column, {"metrics": {}})["metrics"] if run_results else {}


def _rows(trained: Trained, run_results: dict) -> list[tuple[str, str, str]]:
    """A measure a row: its name, this model's value, and the estimate over the method's runs, in %.

    All are of what this model answers by, which is what is exported.
    """
    if trained.method == BASE:
        base = next(one for one in run_results["basic"] if one["fold"] == trained.fold)
        name = "accuracy on test people" if run_results["data"]["subjects"] else "accuracy on test pictures"
        return [(name, f"{100 * base['test_accuracy']:.1f}", "–")]
    run, estimates = _run(trained, run_results), _estimates(trained, run_results)
    own = run["metrics"] if run else {}
    return [
        (name, f"{100 * own[key]:.1f}" if key in own else "–", names.percent(estimates[key]))
        for key, name in names.METRIC_NAMES.items()
        if key in estimates
    ]


def _by_class(trained: Trained, run_results: dict) -> list[tuple[str, str, int]]:
    """A class a row: its accuracy in % on this model's test images, and how many these are."""
    run = _run(trained, run_results)
    if run is None:
        return []
    rows = zip(trained.class_names, run["accuracy_matrix"][-1], run["test_counts"], strict=True)
    return [(name, "–" if value is None else f"{100 * value:.0f}", count) for name, value, count in rows]
