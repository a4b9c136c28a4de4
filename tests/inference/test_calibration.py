"""Temperature and calibration error by hand, and that both are kept for the very model they are of."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from fer_jax import protocol as protocols
from fer_jax.inference import calibration, trained

EVERY = np.ones(3, bool)


def test_calibration_error_by_hand():
    p = np.asarray([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    # Bins of .2: {.9, .9}, one right of two; {.6} right; {.7} wrong. (2 · .4 + .4 + .7) / 4, the last with .6 ≤ .8.
    found = calibration.expected_calibration_error(p, np.asarray([0, 1, 0, 0]), bins=5)
    assert found == pytest.approx((2 * 0.4 + 0.4 + 0.7) / 4)
    assert calibration.expected_calibration_error(np.eye(2), np.asarray([0, 1])) == 0
    with pytest.raises(ValueError, match="at least one example"):
        calibration.expected_calibration_error(p[:0], np.zeros(0, int))


def test_the_temperature_that_made_the_labels_is_found():
    generator = np.random.default_rng(0)
    logits = 3 * generator.standard_normal((20_000, 3))
    p = np.exp(calibration.log_probabilities(logits, EVERY, 2.5))
    labels = (p.cumsum(1) < generator.random((len(p), 1))).sum(1)
    found = calibration.fit_temperature(logits, labels, EVERY)
    assert found == pytest.approx(2.5, rel=0.05)
    before, after = (calibration.negative_log_likelihood(logits, labels, EVERY, t) for t in (1, found))
    assert after < before
    scaled = np.exp(calibration.log_probabilities(logits, EVERY, found))
    assert calibration.expected_calibration_error(scaled, labels) < 0.01
    np.testing.assert_array_equal(scaled.argmax(1), logits.argmax(1))


def test_unknown_classes_have_no_probability():
    found = np.exp(calibration.log_probabilities(np.asarray([[0.0, 0.0, 9.0]]), np.asarray([True, True, False])))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0]])
    with pytest.raises(ValueError, match="at least one example"):
        calibration.fit_temperature(np.zeros((0, 3)), np.zeros(0, int), EVERY)


def test_a_calibration_is_kept_for_its_model_alone(tiny_run, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "calibration")
    model = trained.restore(run)
    found = calibration.of(model)
    assert found["validation"]["images"] == found["test"]["images"] == 18
    what = {key: found["validation"][key] for key in ("people", "shared_with")}
    assert what == {"people": 2, "shared_with": None}
    nll = [found["validation"][when]["negative_log_likelihood"] for when in ("before", "after")]
    assert nll[1] <= nll[0]
    assert [path.name for path in (run / "calibration").iterdir()] == ["fold0-kd_psmr-order0.json"]
    monkeypatch.setattr(calibration, "measure", lambda model, data: {"temperature": 7.0})
    assert calibration.of(model) == json.loads(json.dumps(found))
    other = dataclasses.replace(model, params=jax.tree.map(lambda x: x + 1, model.params))
    assert calibration.of(other) == {"temperature": 7.0}


@pytest.mark.parametrize(("protocol", "shared"), [("published", "test"), ("stratified", "training")])
def test_what_it_was_fitted_on_is_read_off_the_split(tiny_run, tiny_data, monkeypatch, protocol, shared):
    found = protocols.split(tiny_data.subject, 0, 6, protocol, None, tiny_data.label)
    monkeypatch.setattr(calibration, "load_data", lambda trained, data: (tiny_data, found))
    measured = calibration.measure(trained.restore(tiny_run))
    assert measured["validation"]["shared_with"] == shared
    assert calibration.fitted_on(measured).startswith(f"{len(found.validation)} {'test ' * (shared == 'test')}images")


def test_a_finished_run_has_its_calibration(tiny_run, monkeypatch):
    there = tiny_run / "calibration" / "fold0-kd_psmr-order0.json"
    assert there.is_file()
    monkeypatch.setattr(calibration, "measure", lambda *arguments: pytest.fail("it was measured again"))
    found = calibration.of(trained.restore(tiny_run))
    assert found == json.loads(there.read_text())["calibration"]
    assert found["validation"]["images"] == 18


@pytest.mark.parametrize("origin", [{"data_sha256": "other"}, None])
def test_without_the_data_probabilities_are_not_calibrated(tiny_run, tmp_path, logged, origin):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "calibration")
    (run / "origin.json").unlink()
    if origin:
        (run / "origin.json").write_text(json.dumps(origin))
    assert calibration.of(trained.restore(run)) == {"temperature": 1.0}
    said = "has changed since it was trained on" if origin else f"--workdir {run} has no origin.json"
    assert "probabilities are not calibrated: " in logged.text
    assert said in logged.text
    assert not (run / "calibration").exists()


def test_scores_of_any_scale_are_calibrated_alike():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)) + 1.5 * np.eye(3)[labels]
    known = np.ones(3, bool)
    one, large = (calibration.fit_temperature(scale * logits, labels, known) for scale in (1.0, 300.0))
    assert large == pytest.approx(300 * one, rel=1e-3)
