"""What the study of `fer-jax teach` rests on: the same pictures and people as the few-shot phase, and fair means."""

import json
import subprocess
import sys

import pytest

from fer_jax import metrics
from studies import record
from studies import teach as study


def test_estimates_are_over_base_models():
    rows = [
        {"seed": seed, "new": 0.1 * seed, "known": 0.5, "known_before": 0.6, "harmonic": one, "few_shot": 0.5}
        for seed in (1, 2) for one in (0.4, 0.6 + 0.2 * seed)
    ]  # fmt: skip
    found = study.summary(rows)
    assert found["difference"]["mean"] == pytest.approx((0.1 + 0.2) / 2)
    assert (found["new"]["mean"], found["harmonic"]["n"]) == (pytest.approx(0.15), 2)


@pytest.mark.slow
def test_the_whole_study_on_few_people(tmp_path):
    small = ["data.n_subjects=30", "basic.body.max_epochs=2", "few_shot.draws=1"]
    command = ["--out", str(tmp_path / "teach.json"), "--workdir", str(tmp_path / "runs"), "--seeds", "1"]
    command += [word for one in small for word in ("--set", one)]
    subprocess.run([sys.executable, "-m", "studies.teach", *command], cwd=record.ROOT, check=True)
    found = json.loads((tmp_path / "teach.json").read_text())
    assert len(found["rows"]) == 15
    assert len({row["class"] for row in found["rows"]}) == 15
    assert len(found["seconds"]) == 3
    # One base model, so one accuracy before; after two epochs it is near chance, and what teaching changes is noise.
    assert len({row["known_before"] for row in found["rows"]}) == 1
    assert all(
        row["harmonic"] == pytest.approx(metrics.harmonic_mean(row["known"], row["new"])) for row in found["rows"]
    )
    (run,) = (tmp_path / "runs").glob("*/seed10/results.json")
    phase = json.loads(run.read_text())["few_shot"]["rows"]
    by_class = {row["class"]: (row["base_accuracy"], row["new_class_accuracy"]) for row in phase}
    assert all(
        row["few_shot"] == pytest.approx(metrics.harmonic_mean(*by_class[row["class"]])) for row in found["rows"]
    )
