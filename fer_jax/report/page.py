"""`report/index.html` of a workdir, or of several merged, and the pictures beside it."""

import pathlib
import re

import jinja2
import numpy as np
from matplotlib.figure import Figure

from fer_jax import merge, statistics
from fer_jax.errors import UserError
from fer_jax.report import figures, tables
from fer_jax.results import read, write_json
from fer_jax.sweep.cells import SWEEP


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Makes the report of a workdir from its results.json, again if there is one.

    Returns:
      the path of the page.

    Raises:
      UserError: no results to report.
    """
    return _render(read(workdir), workdir)


def write_merged(workdirs: list[pathlib.Path], out: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Merges what is finished in workdirs and sweeps' folders into one results.json, and makes its report.

    Returns:
      the merged results, and the path of the page.

    Raises:
      UserError: nothing to report, runs that do not go together, or a folder that has results of its own.
    """
    if (out / "config.json").exists() or ((out / SWEEP).exists() and workdirs != [out]):
        raise UserError(f"--out {out} is the workdir of a run or a sweep of its own; choose another folder")
    if (out / "results.json").exists() and "merged" not in read(out):
        raise UserError(f"--out {out} has a results.json of one run; choose another folder")
    results = merge.merge(*merge.collect(workdirs))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", results)
    return results, _render(read(out), out)


def tell(results: dict, page: pathlib.Path) -> None:
    """Prints what a merged report is made of, what is missing, and where it is."""
    merged = results["merged"]
    n, missing = len(merged["runs"]), merged["missing"]
    print(f"merged:  {n} of {n + len(missing)} runs")
    for one in missing:
        print(f"missing: {one['workdir']}: {tables.state(one)}")
    for one in merged["uneven"]:
        print("uneven:  {method} has no run of fold {fold}, order {order}, seed {seed}; others have".format(**one))
    print(f"results: {page.parents[1] / 'results.json'}")
    print(f"report:  {page}")


def _render(results: dict, workdir: pathlib.Path) -> pathlib.Path:
    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    curve, confusions = None, {}
    if results["continual"]:
        curve = _save(figures.accuracy_curve(results), folder / "accuracy.png")
    for method, found in tables.by_method(results).items():
        counts = np.sum([run["final_confusion"] for run in found["runs"]], axis=0)
        figure = figures.confusion_matrix(counts, results["data"]["classes"])
        name = re.sub(r"[^\w.+=-]+", "_", method)
        confusions[tables.method_name(method)] = _save(figure, folder / f"confusion_{name}.png")
    ranks = figures.critical_difference(results)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fer_jax.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("page.html").render(
        results=results,
        merged=results.get("merged"),
        state=tables.state,
        curve=curve,
        confusions=confusions,
        basic=tables.basic_table(results),
        metrics=tables.metrics_table(results),
        comparison=[table for metric in statistics.METRICS if (table := tables.comparison_table(results, metric))[1]],
        ranks=ranks and _save(ranks, folder / "ranks.png"),
        few_shot=tables.few_shot_table(results),
        times=tables.time_table(results),
    )
    page = folder / "index.html"
    page.write_text(text, encoding="utf-8")
    return page


def _save(figure: Figure, path: pathlib.Path) -> str:
    figure.savefig(path, dpi=120)
    return path.name
