"""The keys of a results.json, as docs/results_schema.md names them, and the smallest such file."""

SMALLEST = {"schema_version": 1, "seed": 0, "protocol": "", "config": {"methods": []}, "environment": {}, "basic": [],
            "data": {"name": "", "sha256": "", "classes": [], "n_base": 0}, "continual": {},
            "few_shot": {"estimates": {}, "rows": []}, "seconds": {}}  # fmt: skip

# Below these, keys are values of their own: a config's keys, a data set's own words, names of packages.
FREE = {"config", "data.metadata", "environment.packages", "merged.differ", "merged.environments[]",
        "comparison.metrics.COMPARED.to_reference.METHOD"}  # fmt: skip
# These map names to values: one documented line stands for all of them.
NAMED = {"continual": "METHOD", "few_shot.estimates": "SHOTS", "few_shot.estimates.SHOTS": "MEASURE",
         "seconds.continual": "METHOD", "basic[].stages": "STAGE", "continual.METHOD.metrics": "METRIC",
         "continual.METHOD.runs[].metrics": "METRIC", "comparison.metrics": "COMPARED",
         "comparison.metrics.COMPARED.to_reference": "METHOD"}  # fmt: skip


def keys(value, path: str = "") -> set[str]:
    """Dotted paths of every key under a value; `[]` stands for the entries of a list."""
    if isinstance(value, list):
        return set().union(*(keys(entry, f"{path}[]") for entry in value if isinstance(entry, dict)))
    if not isinstance(value, dict) or path in FREE:
        return set()
    found = set()
    for key, inner in value.items():
        name = f"{path}.{NAMED.get(path, key)}".lstrip(".")
        found |= {name} | keys(inner, name)
    return found
