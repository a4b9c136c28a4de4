"""Tiny runs of the studies of related systems, and a tree of rendered faces for those that take files."""

import argparse
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from fer_jax.data.facs_faces import categories
from studies.related import common, learning

TINY = {"size": 32, "widths": (4, 4), "epochs": 1}


def settings(study: common.Study, workdir: pathlib.Path, **changes: Any) -> argparse.Namespace:
    """The options of a tiny run of one seed."""
    known = {name: value for name, value in TINY.items() if name in study.options}
    return argparse.Namespace(**{"seeds": 1, "workdir": workdir, "config": None, **study.options, **known, **changes})


def row(study: common.Study, workdir: pathlib.Path, **changes: Any) -> dict[str, float]:
    """The row of a tiny run, which has every number that the study's statements and table need."""
    found = common.run(study, settings(study, workdir, **changes))
    rows = found["rows"]
    assert all(np.isfinite(list(rows[0].values())))
    if changes.get("config") is None:
        assert len(found["claims"]) == len(study.claims)
        assert len(found["controls"]) == len(study.controls)
        assert found["shown"] == study.shown
    assert found["verdict"] == "cannot tell"  # of one seed
    return rows[0]


def config_of_files(folder: pathlib.Path, classes: tuple[int, ...], people: int, pictures: int) -> str:
    """A config that reads rendered faces from files: folders of classes, names that begin with the person's."""
    which = learning.cells(range(people), classes, pictures)
    shown = learning.rendered(learning.sampled(0, which), 32)
    for (person, category, number), picture in zip(which, shown, strict=True):
        place = folder / "faces" / categories.NAMES[category]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{person:02d}_{number}.png")
    config = folder / "config.py"
    config.write_text(f"""
import runpy
def get_config():
    config = runpy.run_path({str(pathlib.Path(__file__).parents[2] / "configs" / "smoke.py")!r})["get_config"]()
    del config["data"]
    config.data = dict(
        name="image_folder", dir={str(folder / "prepared")!r}, manual_dir={str(folder / "faces")!r}, image_size=32,
        n_base=2, exclude=(), base_classes=(), on_bad_image="error", subject_pattern=r"(?P<subject>\\d+)_",
        labels_csv="", residency="auto",
    )
    return config
""")
    return str(config)
