"""The summary of a preparation, counts and names: `summary.json`."""

import json

from fer_jax.data import crop, listing
from fer_jax.data.images import printable
from fer_jax.data.prepare.folder import Journal

SUMMARY = "summary.json"


def reason(record: dict) -> str | None:
    """Returns why a person should look at a prepared picture; None where nothing is unsure."""
    if record["outcome"] == "not found":
        return "not found"
    if record["outcome"] != "found":
        return None
    if record["faces"] > 1:
        return "several found"
    return "low score" if record["score"] < crop.UNSURE else None


def summarise(journal: Journal, problems: listing.Problems) -> dict:
    """Returns the settings, the counts and the names behind them, without dates and places, so that equal folders have
    equal summaries.

    `found` counts every picture with a face; `several_found` and `low_score` are among them.
    """
    records = [journal.records[name] for name in sorted(journal.records)]
    pictures = [r for r in records if r["outcome"] != "copied"]
    unsure = {kind: [printable(r["file"]) for r in pictures if reason(r) == kind]
              for kind in ("not found", "several found", "low score")}  # fmt: skip
    counts = {
        "files": len(records),
        "copied": len(records) - len(pictures),
        "pictures": len(pictures),
        "found": sum(r["outcome"] == "found" for r in pictures),
        **{kind.replace(" ", "_"): len(names) for kind, names in unsure.items()},
        "unreadable": len(problems.skipped),
    }
    return {
        "settings": journal.settings,
        "counts": counts,
        **{kind.replace(" ", "_"): names for kind, names in unsure.items()},
        "unreadable": sorted(problems.skipped, key=lambda p: p["file"]),
    }


def as_json(summary: dict) -> bytes:
    """Returns the summary as the bytes of summary.json; equal summaries give equal bytes."""
    return (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode()
