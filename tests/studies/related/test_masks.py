"""What lies under the mask does not show, and a mask that is too small would let it; ceilings, and tiny runs."""

import numpy as np
import pytest

from fer_jax.data.facs_faces import categories
from studies.related import learning, masks
from tests.support import related


def seen_of_hidden_units(monkeypatch, edge: float) -> float:
    """How much masked pictures change without the units that the mask should cover: the largest mean difference."""
    monkeypatch.setattr(masks, "EDGE", edge)
    which = learning.cells(range(4), (0, 4, 7, 15))
    shown = learning.sampled(0, which)
    hidden = ~np.isin(categories.UNITS, masks.SEEN)
    bare = shown._replace(action_units=np.where(hidden, 0, shown.action_units).astype(np.float32))
    covered = [masks.masked(learning.rendered(one, 48), shown.nuisance).astype(float) for one in (shown, bare)]
    return float(np.abs(covered[0] - covered[1]).mean((1, 2, 3)).max())


def test_what_lies_under_the_mask_does_not_show(monkeypatch):
    assert seen_of_hidden_units(monkeypatch, masks.EDGE) < 0.05  # grey levels, of 255
    assert seen_of_hidden_units(monkeypatch, 0.35) > 0.5  # a mask below the nose


def test_both_masks_cover_as_much_and_follow_the_head():
    which = learning.cells(range(3), (0,))
    shown = learning.sampled(0, which)
    plain = np.zeros((3, 48, 48, 3), np.uint8)
    below, above = (masks.masked(plain, shown.nuisance, upside) for upside in (False, True))
    counts = [(one == masks.COLOUR).all(-1).sum((1, 2)).tolist() for one in (below, above)]
    assert counts[0] == counts[1]
    assert len(set(counts[0])) > 1
    assert (below[:, -1] == masks.COLOUR).all()
    assert (above[:, 0] == masks.COLOUR).all()
    assert not below[:, 0].any()
    everywhere = masks.masked(plain, None)
    np.testing.assert_array_equal(everywhere[0], everywhere[2])


def test_the_ceilings_are_those_of_the_units_above_the_mask():
    assert masks.SEEN == (1, 2, 4, 5, 6, 7, 9)
    assert masks.ceilings() == pytest.approx({"21": 0.419, "six": 0.973}, abs=5e-4)


def test_a_tiny_run(tmp_path):
    row = related.row(masks.STUDY, tmp_path, people=3, pictures=1, tune=1)
    assert row["all: six above"] == pytest.approx(row["all: masked, six"] - masks.ceilings()["six"])


def test_files_take_the_place_of_rendered_faces(tmp_path):
    config = related.config_of_files(tmp_path, (0, 1, 4), people=6, pictures=1)
    row = related.row(masks.STUDY, tmp_path / "runs", config=config, tune=1)
    assert set(row) == {f"{arm}: {view}" for arm in masks.ARMS for view in ("plain", "masked", "upside down")}
