"""Metrics and statistics of a results.json made again from the accuracy matrices in it; nothing else of it changes.

    python -m studies.recompute docs/results/compare.json

For files of an older version, which lack metrics or have other statistics; nothing is trained.
"""

import argparse
import json
import pathlib

import numpy as np

from fer_jax import statistics
from fer_jax.runs import results
from fer_jax.sweep import merge


def recompute(found: dict) -> dict:
    """The same results with the metrics of every run, their estimates and the comparison computed anew."""
    continual = {}
    for method, entry in found["continual"].items():
        runs = [{**run, "metrics": {**run["metrics"], **_metrics(run)}} for run in entry["runs"]]
        continual[method] = {**entry, "runs": runs, "metrics": results.estimates(runs)}
    if "merged" in found:
        comparison = statistics.compare(continual, reference=merge.reference(continual))
    else:
        comparison = statistics.compare(continual, found["seed"])
    return {**found, "continual": continual, "comparison": comparison}


def _metrics(run: dict) -> dict[str, float]:
    if len(run["trained_steps"]) < len(run["accuracy_matrix"]):
        return {}
    a = np.asarray(run["accuracy_matrix"], np.float64)  # null becomes NaN
    return results.matrix_metrics(a, np.asarray(run["learned_at"]), np.asarray(run["test_counts"]))


def main() -> None:
    """Rewrites the files named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=pathlib.Path, nargs="+", metavar="FILE")
    for path in parser.parse_args().files:
        results.write_json(path, recompute(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
