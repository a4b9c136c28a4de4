"""Writes `report/index.html` of one workdir, or of several merged: one self-contained file, with figures beside it."""

import hashlib
import pathlib

from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError
from fer_jax.report import tables
from fer_jax.runs import files
from fer_jax.runs.results import read, restated, write_json
from fer_jax.sweeps import merge
from fer_jax.sweeps.cells import SWEEP

PACKAGE = pathlib.Path(__file__).parents[1]


def write(workdir: pathlib.Path, data: FaceArrays | None = None) -> pathlib.Path:
    """Writes the report of a workdir from its results.json and checkpoints; replaces an older report.

    Args:
      data: the run's data set if it is at hand; None reads it.

    Returns:
      the path of the page.

    Raises:
      UserError: no results to report.
    """
    return _render(restated(read(workdir)), workdir, data)


def refresh(workdir: pathlib.Path, data: FaceArrays | None = None) -> pathlib.Path:
    """Writes the report unless this code made one of the same results and no file of it is missing; see `write`."""
    page = workdir / "report" / "index.html"
    if page.is_file() and page.read_text(encoding="utf-8").endswith(_mark(workdir)):
        return page
    page = write(workdir, data)
    files.write(page, page.read_text(encoding="utf-8") + _mark(workdir))
    return page


def _mark(workdir: pathlib.Path) -> str:
    """Returns the last line of a page: a digest of the results, of this package, and of the names of the files here."""
    code = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".html", ".css", ".js"))
    names = sorted(path.name for path in (workdir / "report").iterdir())
    digest = hashlib.sha256(repr((workdir, names)).encode())
    for path in (workdir / "results.json", *code):
        digest.update(path.read_bytes())
    return f"\n<!-- made of {digest.hexdigest()} -->\n"


def write_merged(workdirs: list[pathlib.Path], out: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Merges the finished runs of workdirs and sweeps' folders into one results.json, and writes its report.

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
    """Prints which runs a merged report covers, which are missing, and where it is."""
    merged = results["merged"]
    n, missing = len(merged["runs"]), merged["missing"]
    print(f"merged:  {n} of {n + len(missing)} runs")
    for one in missing:
        print(f"missing: {one['workdir']}: {tables.state(one)}")
    for one in merged["uneven"]:
        print("uneven:  {method} has no run of fold {fold}, order {order}, seed {seed}; others have".format(**one))
    print(f"results: {page.parents[1] / 'results.json'}")
    print(f"report:  {page}")


def _render(results: dict, workdir: pathlib.Path, data: FaceArrays | None = None) -> pathlib.Path:
    from fer_jax.report import content  # Matplotlib takes a second, and a report that is retained needs none

    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    page = folder / "index.html"
    files.write(page, content.page(results, workdir, folder, data))
    return page
