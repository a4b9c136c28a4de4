"""The report: numbers as they are in results.json, pictures that are there, missing parts left out."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from fer_jax import statistics
from fer_jax.report import content, drawing, figures, page, tables
from fer_jax.runs import results as runs_results
from fer_jax.runs.names import percent_header

PICTURES = ("accuracy", "orders", "differences", "forgetting")


@pytest.fixture
def results(tiny_run):
    return json.loads((tiny_run / "results.json").read_text())


def test_the_page_has_the_numbers_and_its_pictures(tiny_run, results, tmp_path):
    shutil.copy(tiny_run / "results.json", tmp_path)
    text = page.write(tmp_path).read_text()
    for method in results["continual"].values():
        assert tables.percent(method["metrics"]["final_accuracy"]) in text
    for estimates in results["few_shot"]["estimates"].values():
        assert tables.percent(estimates["harmonic_mean"]) in text
    # Without checkpoints: the figures over all methods, and what results.json alone has.
    assert len(re.findall(r"<svg [^>]*role=.img", text)) == 4
    assert "<img" not in text
    assert text.count("The curves are left out") == len(results["config"]["methods"])
    assert text.count("Only the last step is shown") == len(results["config"]["methods"])
    assert "Faces are not shown: --workdir" in text
    for name in (*PICTURES, *(f"{kind}_{m}" for kind in ("confusion", "matrix") for m in results["continual"])):
        with Image.open(tmp_path / "report" / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5
        assert (tmp_path / "report" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert results["data"]["sha256"][:16] in text
    assert "never saw" in text


def test_the_page_of_a_run_has_what_its_checkpoints_hold(tiny_run, results):
    text = (tiny_run / "report" / "index.html").read_text()
    # Training curves beside the figures over all methods; every class in the memory, and every class that is looked at.
    n_methods, n_classes = len(results["config"]["methods"]), len(results["data"]["classes"])
    assert len(re.findall(r"<svg [^>]*role=.img", text)) == 4 + n_methods
    pictures = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', text)
    assert len(pictures) >= 2 * n_classes
    for picture, alt in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert np.asarray(image.convert("L")).std() > 5
        assert any(name in alt for name in results["data"]["classes"])
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [len(one["steps"]) for one in found] == [
        len(m["runs"][0]["trained_steps"]) for m in tables.by_method(results).values()
    ]
    assert "are left out" not in text
    # Nothing is fetched: whatever the page names lies in it.
    named = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert named
    assert all(name.startswith(("data:", "#")) for name in named)


@pytest.mark.slow
def test_merged_runs_are_looked_up_in_their_workdirs(tiny_run, results, tmp_path):
    _, path = page.write_merged([tiny_run], tmp_path / "merged")
    text = path.read_text()
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [len(one["steps"]) for one in found] == [
        len(m["runs"][0]["trained_steps"]) for m in tables.by_method(results).values()
    ]
    assert "The curves are left out" not in text
    assert "exemplars of every class after every step" in text
    # Memory's faces and the gallery are of the chosen run, read from its own workdir.
    alts = re.findall(r'<img src="data:image/webp;base64,[^"]+" alt="([^"]+)"', text)
    assert sum("under its guided and its plain map" in alt for alt in alts) == len(results["data"]["classes"])
    assert sum("stored after" in alt for alt in alts) >= len(results["data"]["classes"])
    assert "the report of each has the command" in text


@pytest.mark.slow
def test_text_of_the_user_is_escaped(results, tmp_path):
    results["data"]["name"] = "<script>alert(1)</script>"
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = page.write(tmp_path).read_text()
    assert "<script>" not in text
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)
    assert "&lt;script&gt;" in text


@pytest.mark.slow
def test_a_run_without_few_shots_and_a_single_run(results, tmp_path):
    results["few_shot"] = {"estimates": {}, "rows": []}
    for found in results["continual"].values():
        found["runs"] = found["runs"][:1]
    results["data"]["metadata"] = {}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = page.write(tmp_path).read_text()
    assert "Few shots" not in text
    assert "(n = 1)" in text


def test_one_method_alone_and_none_at_all(results, tmp_path):
    results["config"]["methods"] = ["joint"]
    results["comparison"]["metrics"] = {}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = page.write(tmp_path).read_text()
    assert "In the end joint training (upper bound) names" in text
    assert 'href="#compared"' not in text
    assert 'href="#forgetting"' not in text
    results["config"]["methods"], results["continual"] = [], {}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = page.write(tmp_path).read_text()
    assert "Test accuracy of the base model" in text
    assert "<svg" not in text
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert targets <= set(re.findall(r'id="([^"]+)"', text))


def test_the_maps_stand_there_with_what_they_stand(tiny_run):
    text = " ".join((tiny_run / "report" / "index.html").read_text().split())
    said = re.search(r"Of these maps the guided ones (.*?), the plain ones (.*?); 0 is right", text)
    assert said
    assert all(re.search(r"keep a rank correlation of -?[01]\.\d\d|are all constant", one) for one in said.groups())


def test_percent_by_hand():
    independent = {"mean": 0.4312, "low": 0.4, "high": 0.46249, "n": 3}
    assert tables.percent(independent) == "43.1 [40.0, 46.2] (n = 3)"
    assert tables.percent({"mean": 0.5, "low": None, "high": None, "n": 1}) == "50.0 (n = 1)"
    over = {**independent, "n": 6, "base_models": 2, "lowest": 0.3, "highest": 0.5}
    assert tables.percent(over) == "43.1 [40.0, 46.2] (n = 2, range 30.0 to 50.0)"
    assert tables.percent({**over, "n": 2}) == "43.1 [40.0, 46.2] (n = 2)"
    one = {**over, "low": None, "high": None, "n": 3, "base_models": 1}
    assert tables.percent(one) == "43.1 (range 30.0 to 50.0)"
    assert tables.percent({**one, "n": 1}) == "43.1 (n = 1)"
    assert tables.percent(None) == "–"
    assert percent_header([one, {**one, "n": 1}], "class orders") == "%, mean (range over 3 class orders)"
    several = "%, mean [95 % interval over n base models] (range over class orders)"
    assert percent_header([one, over], "class orders") == several
    assert percent_header([{**one, "n": 1}], "class orders") == "%, n base models"


def test_a_page_of_one_base_model_shows_ranges_and_says_why_there_is_no_p_value(tiny_run):
    text = " ".join((tiny_run / "report" / "index.html").read_text().split())
    assert "%, mean (range over 2 class orders)" in text
    assert "Mean, and range over class orders." in text
    assert "95 % interval" not in text
    assert "No p-values are given:" in text
    assert "Wilcoxon" not in text


def test_a_page_of_old_results_has_the_new_metrics(results, tmp_path):
    for entry in results["continual"].values():
        entry["metrics"] = {"final_accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 2}}
        for run in entry["runs"]:
            run["metrics"] = {k: v for k, v in run["metrics"].items() if not k.startswith(("macro", "mean_class"))}
    results["comparison"] = {"reference": "kd_psmr", "metrics": {"final_accuracy": {"ranks": {}}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = page.write(tmp_path).read_text()
    assert "macro-F1, final" in text
    assert "mean class recall, mean over t ≥ 1" in text
    assert "macro-F1, mean over t ≥ 1" not in text
    assert "[40.0, 60.0]" not in text


def test_methods_are_compared_best_first():
    def entry(values: list[float], metric: str = "final_accuracy") -> dict:
        runs = [{"order": o, "seed": s, "fold": 0, "metrics": {metric: v + s / 10}}
                for s in (0, 1) for o, v in enumerate(values)]  # fmt: skip
        return {"runs": runs, "metrics": runs_results.estimates(runs)}

    continual = {"kd_psmr": entry([0.3, 0.5]), "icarl": entry([0.5, 0.7])}
    merged = {
        "merged": {"methods": list(continual)},
        "continual": continual,
        "comparison": statistics.compare(continual),
    }
    header, rows = tables.comparison_table(merged, "final_accuracy")
    assert header[0].startswith("final accuracy, all classes, %, mean [95 % interval over n base models]")
    assert rows == [
        ["iCaRL: 65.0 [1.5, 128.5] (n = 2, range 55.0 to 75.0)", "20.0 [20.0, 20.0] (n = 2, range 20.0 to 20.0)"],
        ["KD + PSMR (the paper): 45.0 [-18.5, 108.5] (n = 2, range 35.0 to 55.0)", "–"],
    ]
    # Less forgetting is better.
    merged["continual"] = {"kd_psmr": entry([0.3], "forgetting"), "icarl": entry([0.5], "forgetting")}
    assert tables.comparison_table(merged, "forgetting")[1][0][0].startswith("KD + PSMR")
    merged["merged"]["methods"] = ["icarl"]
    assert tables.comparison_table(merged, "forgetting") == ([], [])


def test_a_few_of_many_methods_are_highlighted_and_the_others_are_named_where_the_pointer_rests():
    def run(last: float) -> dict:
        return {"order": 0, "seed": 0, "fold": 0, "trained_steps": [0, 1], "learned_at": [0, 1],
                "accuracy_matrix": [[1.0, None], [last, last]], "test_counts": [1, 1],
                "metrics": {"final_accuracy": last}}  # fmt: skip

    names = ["lwf", "ewc", "er", "icarl", "derpp", "wa", "bic", "gdumb", "kd_psmr", "finetune", "joint"]
    runs = {name: [run(i / 20)] for i, name in enumerate(names)}
    continual = {name: {"runs": some, "metrics": runs_results.estimates(some)} for name, some in runs.items()}
    results = {"merged": {"methods": names}, "continual": continual, "data": {"metadata": None}, "config": {}}
    shown = figures.highlighted(results)
    assert shown == ["lwf", "kd_psmr", "finetune", "joint", "gdumb", "bic"]
    figure = figures.accuracy_curve(results)
    lines = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert sum(line.get_color() == drawing.GREY for line in figure.axes[0].lines) == len(names) - len(shown)
    assert lines["5 others"] == drawing.GREY
    text = io.StringIO()
    figure.savefig(text, format="svg")
    svg = drawing.inline(text.getvalue(), "accuracy", "curves")
    assert all(f"<title>{name}</title>" in svg for name in ("EWC", "iCaRL", "DER++", "weight aligning"))
    assert "<title>LwF</title>" not in svg
    assert figures.highlighted({**results, "merged": {"methods": names[:6]}}) == names[:6]


def test_long_tables_are_folded_and_short_ones_are_not():
    text = content.environment().from_string(
        "{% import 'macros.html' as show with context %}{{ show.table((['a'], rows), 'all of them') }}"
    )
    assert "<details>" not in text.render(rows=[["x"]] * 12)
    assert "<details><summary>all of them: 13 rows</summary>" in text.render(rows=[["x"]] * 13)


def test_a_band_is_an_interval_over_base_models_or_a_range_over_orders():
    # Two orders of one base model whose accuracy is .4 and .8 at the last step; another base model reaches .6 in both.
    def run(order: int, seed: int, last: float) -> dict:
        return {"order": order, "seed": seed, "fold": 0, "trained_steps": [0, 1], "learned_at": [0, 1],
                "accuracy_matrix": [[1.0, None], [last, last]], "test_counts": [1, 1],
                "metrics": {"average_incremental_accuracy": last}}  # fmt: skip

    def drawn(runs: list[dict]) -> np.ndarray:
        continual = {"er": {"runs": runs, "metrics": runs_results.estimates(runs)}}
        results = {"merged": {"methods": ["er"]}, "continual": continual,
                   "data": {"metadata": None}, "config": {}}  # fmt: skip
        (band,) = figures.accuracy_curve(results).axes[0].collections
        corners = band.get_paths()[0].vertices
        return corners[corners[:, 0] == 2, 1]

    one = [run(0, 0, 0.4), run(1, 0, 0.8)]
    assert (drawn(one).min(), drawn(one).max()) == (0.4, 0.8)
    # Base models' means are .6 and .6: an interval of no width, however far the orders lie apart.
    np.testing.assert_allclose(drawn([*one, run(0, 1, 0.6), run(1, 1, 0.6)]), 0.6)


def test_the_report_says_whether_the_trunk_ran_in_every_step():
    config = {"methods": ["kd_psmr", "icarl", "joint"], "continual.cut": "conv5", "joint.cut": "conv5"}
    results = {"continual": dict.fromkeys(("kd_psmr", "icarl", "icarl (network)", "joint"))}

    def said(views, **changes) -> str:
        return tables.trunk_use({**results, "config": {**config, "feature_cache.views": views, **changes}})

    cached = "Continual learning read 8 cached views of each image, the frozen trunk's output for them"
    assert said(None) == ""
    assert said(0, **{"joint.cut": "input"}).startswith("Continual learning was exact")
    assert said(8) == f"{cached}."
    assert said(8, **{"joint.cut": None}) == "", "runs of another cut each, merged"
    other = said(8, **{"joint.cut": "input"})
    assert other.startswith(cached)
    assert other.endswith("exact, trained as a whole on images augmented anew: joint training (upper bound).")
    assert said(8, **{"methods": ["joint"], "joint.cut": "input"}) == said(0)


def test_the_time_of_searches_is_that_of_each_model_once():
    runs = {"runs": [{"search": {"seconds": 2.0, "tried": [{}]}}, {"search": {"seconds": 3.0, "tried": [{}]}}]}
    of = {"icarl": runs, "icarl (network)": runs, "ncm": {"runs": [{"search": {"tried": []}}]}}
    assert tables.search_seconds({"continual": of}) == 5.0
    assert tables.search_seconds({"continual": {"er": {"runs": [{"search": {"tried": [{}]}}]}}}) is None


def test_shots_come_in_order():
    one = {"new_class_accuracy": statistics.estimate({("a", None, 0): 0.0})}
    _, rows = tables.few_shot_table({"few_shot": {"estimates": {"all": one, "10": one, "1": one}}})
    assert [row[0] for row in rows] == ["1 shot", "10 shots", "all shots"]


def test_the_curve_is_the_pooled_accuracy_of_trained_steps():
    run = {
        "trained_steps": [0, 2],
        "accuracy_matrix": [[0.5, None, None], [None, None, None], [0.2, 0.4, 0.9]],
        "learned_at": [0, 2, 1],
        "test_counts": [10, 20, 10],
    }
    known, accuracy = figures.seen_accuracy(run)
    np.testing.assert_array_equal(known, [1, 3])
    np.testing.assert_allclose(accuracy, [0.5, (2 + 8 + 9) / 40])


def test_the_bayes_curve_is_that_of_the_orders_that_were_run(results):
    metadata = {"bayes": {"class_orders": [[0, 1], [1, 0]], "by_order_and_step": [[1.0, 0.9, 0.8], [1.0, 0.7, 0.8]]}}
    small = {
        "data": {"metadata": metadata, "n_base": 2},
        "continual": {"kd_psmr": {"runs": [{"class_order": [3, 2]}]}},
    }
    np.testing.assert_allclose(figures.bayes_curve(small), [1.0, 0.7, 0.8])
    small["continual"]["kd_psmr"]["runs"].append({"class_order": [2, 3]})
    np.testing.assert_allclose(figures.bayes_curve(small), [1.0, 0.8, 0.8])
    # Fewer classes than the table was made for: no curve rather than a wrong one.
    assert figures.bayes_curve(results) is None


def test_unknown_people_and_files_left_out_are_said(results, tmp_path):
    results["data"]["metadata"] = {"split_by": "image", "notes": ["subjects are unknown"],
                                   "skipped": [{"file": "a.jpg", "problem": "it is empty"}]}  # fmt: skip
    results["data"]["subjects"] = None
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = " ".join(page.write(tmp_path).read_text().split())
    assert "images of unknown subjects" in text
    assert "1 files were left out as bad. Note: subjects are unknown." in text
    assert "Every accuracy here is on images that training and selection never saw" in text


def test_a_report_is_retained_until_something_of_it_changes(tiny_run, results, tmp_path, monkeypatch):
    drawn, template = [], tmp_path / "package" / "page.html"
    template.parent.mkdir()
    template.write_text("before")

    def draw(results, workdir, folder, data):
        (folder / "accuracy.png").write_bytes(b"picture")
        drawn.append(data)
        return f"<p>{len(drawn)}</p>"

    monkeypatch.setattr(content, "page", draw)
    monkeypatch.setattr(page, "PACKAGE", template.parent)
    workdir = tmp_path / "run"
    workdir.mkdir()
    shutil.copy(tiny_run / "results.json", workdir)

    def again() -> bool:
        n = len(drawn)
        path = page.refresh(workdir, "data")
        assert f"<p>{len(drawn)}</p>" in path.read_text()
        assert len(drawn) <= n + 1
        return len(drawn) > n

    assert again()
    assert not again()
    (workdir / "results.json").write_text(json.dumps({**results, "seed": 99}))
    assert again()
    for name in ("index.html", "accuracy.png"):
        (workdir / "report" / name).unlink()
        assert again()
    template.write_text("after")
    assert again()
    page.write(workdir)  # the command `report`, perhaps without the data
    assert again()
    workdir = workdir.rename(tmp_path / "moved")  # the page names its folder
    assert again()
    assert not again()
    assert set(drawn) == {"data", None}
