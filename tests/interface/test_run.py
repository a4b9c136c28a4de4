"""A run as arrays: what its files hold, and what its model answers."""

import pathlib
import shutil

import numpy as np
import pytest

import fer_jax as fj
from fer_jax.errors import UserError
from fer_jax.inference import trained

ROOT = pathlib.Path(__file__).parents[2]
OLD = ROOT / "tests" / "fixtures" / "workdir_0450aeb"  # two methods on one order, three increments


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(OLD, workdir)
    return fj.load_run(workdir)


def test_metrics_and_accuracies_are_those_of_the_results(run):
    assert run.methods == ("kd_psmr", "fer_jax.ingredients.random_alone")
    assert len(run.class_names) == 9
    found = run.metrics("kd_psmr")
    assert found["final_accuracy"].shape == (1,)
    entry = run.results["continual"]["kd_psmr"]["runs"][0]
    assert found["final_accuracy"][0] == entry["metrics"]["final_accuracy"]
    a = run.accuracy("kd_psmr", order=0)
    assert a.shape == (4, 9)
    assert np.isnan(a[0, 6:]).all()
    assert not np.isnan(a[3]).any()


def test_a_metric_that_an_entry_lacks_is_nan(run):
    entries = [{"metrics": {"final_accuracy": 0.5, "forgetting": 0.1}}, {"metrics": {"final_accuracy": 0.25}}]
    results = {"config": {"methods": ["joint"]}, "continual": {"joint": {"runs": entries}}}
    found = fj.Run(run.workdir, results).metrics("joint")
    np.testing.assert_array_equal(found["final_accuracy"], [0.5, 0.25])
    np.testing.assert_array_equal(found["forgetting"], [0.1, np.nan])


def test_confusions_and_memory_are_those_of_the_checkpoints(run):
    confusions = run.confusions("kd_psmr")
    assert list(confusions) == [0, 1, 2, 3]
    entry = run.results["continual"]["kd_psmr"]["runs"][0]
    np.testing.assert_array_equal(confusions[3], entry["final_confusion"])
    # Each step's accuracies are its confusions' diagonal.
    for step, counts in confusions.items():
        known = counts.sum(1) > 0
        np.testing.assert_allclose(
            (counts.diagonal() / counts.sum(1).clip(1))[known], run.accuracy("kd_psmr")[step][known]
        )
    memory = run.memory("kd_psmr")
    assert list(memory) == [1, 2, 3]
    assert [(memory[3][c] >= 0).sum() for c in range(6)] == [entry["exemplars_per_class"][-1]] * 6


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda run: run.metrics("kd_psm"), "method is 'kd_psm'; it may be one of kd_psmr, fer_jax.ingredients"),
        (lambda run: run.accuracy("kd_psmr", fold=0, order=3), "has no entry of kd_psmr with fold 0, order 3"),
        (lambda run: run.to_dataframe("basic"), "phase is 'basic'; it may be continual or few_shot"),
        (lambda run: run.predict(np.zeros((2, 9, 9, 3), np.uint8)), r"they may be uint8[N, 32, 32, 3]"),
        (lambda run: run.features(np.zeros((2, 32, 32, 3))), r"images are float64[2, 32, 32, 3]; they may be"),
        (lambda run: fj.load_run(run.workdir / "none"), "has no results.json"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_may_be(run, asked, said):
    if "phase" in said:
        pytest.importorskip("pandas")
    with pytest.raises(UserError) as error:
        asked(run)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_without_its_checkpoints_a_run_says_so(run, tmp_path):
    shutil.copy(OLD / "results.json", tmp_path)
    with pytest.raises(UserError, match=r"the checkpoints of kd_psmr in .* are not there"):
        fj.load_run(tmp_path).confusions("kd_psmr")


def test_features_and_predictions_of_arrays_are_the_models(run):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    probabilities = run.predict(images, "kd_psmr")
    assert probabilities.shape == (3, 9)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    model = trained.restore(run.workdir, "kd_psmr")
    np.testing.assert_array_equal(probabilities.argmax(1), trained.scores(model, images).argmax(1))
    np.testing.assert_array_equal(run.features(images, "kd_psmr"), trained.features(model, images))


def test_a_table_has_a_row_for_each_method_and_entry(run):
    pytest.importorskip("pandas")
    table = run.to_dataframe()
    assert list(table["method"]) == list(run.methods)
    assert list(table["final_accuracy"]) == [run.metrics(method)["final_accuracy"][0] for method in run.methods]
    shots = run.to_dataframe("few_shot")
    assert len(shots) == len(run.results["few_shot"]["rows"])
    assert {"class", "shots", "accuracy"} <= set(shots.columns)
