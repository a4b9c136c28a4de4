"""`report/index.html` of a workdir, and the pictures beside it."""

import json
import pathlib

import jinja2
import numpy as np
from matplotlib.figure import Figure

from fer_jax.errors import UserError
from fer_jax.report import figures, tables
from fer_jax.results import SCHEMA_VERSION


def read(workdir: pathlib.Path) -> dict:
    """results.json of a workdir.

    Raises:
      UserError: there is none, it is not JSON, or it is of another schema version.
    """
    path = workdir / "results.json"
    try:
        results = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--workdir {workdir} has no results.json; `fer-jax train` writes it when it ends") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable as JSON ({error})") from None
    version = results.get("schema_version") if isinstance(results, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema_version {version!r}; it may be {SCHEMA_VERSION}")
    return results


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Makes the report of a workdir from its results.json, again if there is one.

    Returns:
      the path of the page.

    Raises:
      UserError: no results to report.
    """
    results = read(workdir)
    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    curve, confusions = None, {}
    if results["continual"]:
        curve = _save(figures.accuracy_curve(results), folder / "accuracy.png")
    for method, found in tables.by_method(results).items():
        counts = np.sum([run["final_confusion"] for run in found["runs"]], axis=0)
        figure = figures.confusion_matrix(counts, results["data"]["classes"])
        name = tables.METHOD_NAMES.get(method, method)
        confusions[name] = _save(figure, folder / f"confusion_{method}.png")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fer_jax.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("page.html").render(
        results=results,
        curve=curve,
        confusions=confusions,
        basic=tables.basic_table(results),
        metrics=tables.metrics_table(results),
        few_shot=tables.few_shot_table(results),
        times=tables.time_table(results),
    )
    page = folder / "index.html"
    page.write_text(text, encoding="utf-8")
    return page


def _save(figure: Figure, path: pathlib.Path) -> str:
    figure.savefig(path, dpi=120)
    return path.name
