"""The content of the page for one run or several, rendered from its templates; saves the figures on the way."""

import pathlib

import jinja2
import markupsafe
import numpy as np

from fer_jax import statistics
from fer_jax.data.arrays import FaceArrays
from fer_jax.report import (
    drawing,
    figures,
    forgetting,
    headline,
    matrices,
    memory,
    pictures,
    record,
    rerun,
    selection,
    tables,
    training_curves,
)
from fer_jax.runs import remote
from fer_jax.runs.names import METRIC_NAMES, method_name, percent
from fer_jax.runs.results import by_method

NO_RECORD = "The checkpoints that it would be read from are not there, or cannot be read."


def page(results: dict, workdir: pathlib.Path, folder: pathlib.Path, data: FaceArrays | None = None) -> str:
    """Renders the page's HTML and saves its figures to `folder`.

    Args:
      results: of results.json.
      workdir: has the checkpoints, models and data; for a merged report `results` names the workdirs of its runs.
      data: the run's data set if it is already loaded; None loads it.
    """
    merged = results.get("merged")
    workdirs = [workdir] if merged is None else [pathlib.Path(run) for run in merged["runs"]]
    main, base = selection.main_method(results), headline.base_estimate(results)
    methods = sorted(by_method(results), key=lambda method: method != main)
    shown = {method: _method(results, workdirs, folder, method) for method in methods}
    return (
        environment()
        .get_template("page.html")
        .render(
            results=results,
            merged=merged,
            state=tables.state,
            title=headline.title(results),
            learned=headline.learned(results),
            bars=headline.bars(results),
            cards=headline.cards(results, remote.published(workdir)),
            curves=_curves(results, folder, main),
            captions={
                "accuracy": figures.curve_caption(results),
                "differences": "Paired differences in average incremental accuracy to "
                f"{method_name(results['comparison']['reference'])}, and {figures.band_name(results)}.",
            },
            methods=shown,
            base=base and percent(base),
            basic=tables.basic_table(results),
            overview=tables.overview(results),
            metrics=tables.metrics_table(results),
            comparison=[
                {"name": METRIC_NAMES[metric], "table": table}
                for metric in statistics.METRICS
                if (table := tables.comparison_table(results, metric))[1]
            ],
            orders_table=selection.orders_table(results),
            forgetting=forgetting.table(results),
            few_shot=tables.few_shot_table(results),
            stored=_stored(results, workdirs, main),
            faces=pictures.draw(results, workdirs, folder, data),
            times=tables.time_table(results),
            trunk_use=tables.trunk_use(results),
            command=rerun.write(results, workdir, folder),
            no_record=NO_RECORD,
        )
    )


def environment() -> jinja2.Environment:
    """Returns what renders the templates: it escapes text, and a name that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("fer_jax.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["markup"] = markupsafe.Markup
    return made


def _curves(results: dict, folder: pathlib.Path, main: str | None) -> dict[str, drawing.Picture | None]:
    """Figures over all methods by name; None where there is nothing to draw."""
    if main is None:
        return dict.fromkeys(("accuracy", "orders", "differences", "forgetting"))
    drawn = {
        "accuracy": (figures.accuracy_curve(results), "accuracy against the number of known classes, a line a method"),
        "orders": (figures.orders(results), "accuracy of the best, the middle and the worst run of every method"),
        "differences": (figures.differences(results), "differences of the methods to the reference"),
        "forgetting": (
            forgetting.figure(results, main),
            f"accuracy on every class when it was learned and after the last step, {method_name(main)}",
        ),
    }
    return {name: drawing.save(figure, folder, name, alt) if figure else None for name, (figure, alt) in drawn.items()}


def _method(results: dict, workdirs: list[pathlib.Path], folder: pathlib.Path, method: str) -> dict:
    """Returns a method's matrices and training curves: the final confusion over all runs, the rest of the run nearest
    to the mean.
    """
    runs, names = results["continual"][method]["runs"], results["data"]["classes"]
    name, file = method_name(method), drawing.slug(method)
    run = selection.pick(runs).nearest
    part_folder = record.find(results, workdirs, method, run)
    measured = record.steps(part_folder) if part_folder else None
    counted = [(len(run["accuracy_matrix"]) - 1, run["final_confusion"])]
    training = None
    if measured:
        counted = record.confusions(measured, method)
        base = next((b for b in results["basic"] if _same_base(b, run)), None)
        figure = training_curves.figure(training_curves.parts(base, measured))
        if figure:
            alt = f"loss and accuracy an epoch, {name}, {selection.run_name(run, results)}"
            training = drawing.save(figure, folder, f"training_{file}", alt)
    all_runs = np.sum([one["final_confusion"] for one in runs], axis=0)
    drawing.save_files(matrices.confusion_figure(all_runs, names), folder, f"confusion_{file}")
    drawing.save_files(matrices.accuracy_figure(run, names), folder, f"matrix_{file}")
    small = len(names) <= matrices.LARGEST
    steps = matrices.confusion_steps(run, names, counted) if small else None
    return {
        "id": file,
        "name": name,
        "run": selection.run_name(run, results),
        "runs": len(runs),
        "matrix": matrices.accuracy_table(run, names) if small else None,
        "steps": steps,
        "confusion": steps and matrices.confusion_table(steps),
        "recorded": bool(measured),
        "training": training,
    }


def _same_base(base: dict, run: dict) -> bool:
    return (
        base["fold"] == run["fold"]
        and base.get("seed") == run.get("seed")
        and (base.get("objective") == run.get("base") and not base.get("label"))
    )


def _stored(results: dict, workdirs: list[pathlib.Path], main: str | None) -> dict:
    """Returns the main method's exemplars of every class in one run: `table` or None, and `of`, the run's name."""
    if main is None:
        return {"table": None, "of": ""}
    run = selection.pick(results["continual"][main]["runs"]).nearest
    part_folder = record.find(results, workdirs, main, run)
    memories = record.memories(part_folder) if part_folder else None
    return {
        "table": memory.counts_table(memories, run, results["data"]["classes"]) if memories else None,
        "of": f"{method_name(main)}, {selection.run_name(run, results)}",
    }
