"""Data sets as one: whose pictures train and test, what classes are called, and what is left out."""

import json

import ml_collections
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax import protocol
from fer_jax.cli import main
from fer_jax.data.load import load
from fer_jax.errors import UserError
from fer_jax.sweeps import cells
from tests.support import layouts

MAP = (("kdef/disgusted", "disgust"), ("jaffe/disgusted", "disgust"), ("afraid", "fear"), ("neutral", ""))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """KDEF, JAFFE and CK+ as it circulates, and where they are prepared."""
    root = tmp_path_factory.mktemp("several")
    for name in ("kdef", "jaffe", "ck48", "split_folders"):
        layouts.LAYOUTS[name][1](root / name)
    return root


def config(trees, test_on: str, class_map=MAP, more=(), **changes) -> ml_collections.ConfigDict:
    sets = [(name, (("name", kind), ("manual_dir", str(trees / name)))) for name, kind in
            (("kdef", "kdef"), ("jaffe", "jaffe"), ("ck48", "ckplus"), *more)]  # fmt: skip
    flat = {"data.name": "several", "data.dir": str(trees / "prepared"), "data.image_size": 16, "data.n_base": 2,
            "data.exclude": (), "data.sets": tuple(sets), "data.test_on": test_on, "data.class_map": class_map,
            **{f"data.{key}": value for key, value in changes.items()}}  # fmt: skip
    data = configs.complete(ml_collections.ConfigDict(configs.nested(flat))).data
    configs.check_data(data, ("name", "sets"))
    return data


def test_others_train_and_one_tests(trees, logged):
    data = load(config(trees, "jaffe"))
    # CK+ says fear, disgust and happy; anger, sadness and surprise are no classes of JAFFE's.
    assert data.class_names == ("fear", "angry", "disgust", "happy", "sad", "surprised")
    assert data.official_test.sum() == 36  # without JAFFE's six neutral ones
    assert [file.startswith("jaffe/") for file in data.files] == data.official_test.tolist()
    split = protocol.split(data.subject, 0, 3, "held_out", data.official_test, data.label)
    assert set(split.test) == set(np.flatnonzero(data.official_test))
    assert not set(data.subject[split.train]) & set(data.subject[split.test])
    # Three people of KDEF, six of CK+, three of JAFFE.
    assert len(np.unique(data.subject)) == 12
    assert data.metadata["images"] == {"kdef": 36, "jaffe": 36, "ck48": 18}
    assert "ck48: 24 images of classes of one side alone: anger, contempt, sadness, surprise" in logged.text


def test_the_map_makes_classes_one(trees):
    more = (("ck48/anger", "angry"), ("ck48/sadness", "sad"), ("ck48/surprise", "surprised"))
    data = load(config(trees, "ck48", (*MAP, *more)))
    assert data.class_names == ("fear", "angry", "disgust", "happy", "sad", "surprised")
    assert np.bincount(data.label[data.official_test]).tolist() == [6] * 6
    assert np.bincount(data.label[~data.official_test]).tolist() == [12] * 6
    # Without a test set all are folded, with the classes of all; contempt is CK+'s alone.
    data = load(config(trees, "", (*MAP, *more)))
    assert data.official_test is None
    assert data.class_names[-1] == "contempt"
    assert len(data.label) == 36 + 36 + 42


def test_case_matters_neither_in_a_sets_name_nor_in_a_class(trees):
    paths = {name: str(trees / name) for name in ("kdef", "jaffe")}
    sets = tuple((tag, (("name", tag.lower()), ("manual_dir", paths[tag.lower()]))) for tag in ("KDEF", "JAFFE"))
    changed = config(trees, "JAFFE", (("KDEF/Neutral", ""), ("jaffe/Afraid", "Terror"), ("KDEF/afraid", "terror")))
    changed.sets = sets
    data = load(changed)
    # JAFFE alone has neutral then.
    assert data.class_names == ("terror", "angry", "disgusted", "happy", "sad", "surprised")
    assert data.metadata["images"] == {"KDEF": 36, "JAFFE": 36}


def test_official_splits_of_the_parts(trees):
    """A set that is tested on tests on its official test images; one that is learned from leaves them out."""
    more = (("split_folders", "image_folder"),)
    data = load(config(trees, "jaffe", more=more))
    # Its classes are happy, sad, angry and neutral: three of the shared, 21 training and 6 validation images.
    assert data.metadata["images"]["split_folders"] == 27
    assert data.official_validation.sum() == 6
    data = load(config(trees, "split_folders", more=more))
    assert (data.official_test.sum(), data.metadata["images"]["split_folders"]) == (6, 6)


def test_two_words_for_one_expression_are_noted(trees, logged):
    load(config(trees, "jaffe"))
    assert "several: classes angry and anger may be one expression" in logged.text


@pytest.mark.slow
def test_each_in_turn_is_a_sweep(trees, tmp_path, tiny_config):
    """The command of docs/data.md: one run for each set that is tested on, and one report of all."""
    more = (("anger", "angry"), ("sadness", "sad"), ("surprise", "surprised"))
    flat = configs.flatten(tiny_config)
    flat = {key: value for key, value in flat.items() if not key.startswith(("data.", "model."))}
    flat |= {key: "input" for key in flat if key.endswith(".cut") and flat[key] != "head"}
    data = config(trees, "jaffe", (*MAP, *more), n_base=4)
    flat |= {f"data.{key}": value for key, value in data.to_dict().items()} | {
        "data.residency": "auto", "methods": ("finetune",), "few_shot.shots": (), "protocol.n_folds": 3,
        "protocol.folds": (0,), "protocol.n_orders": 1, "basic.head.max_epochs": 1, "basic.body.max_epochs": 1,
        "continual.max_epochs": 1, "model.name": "mlp", "model.widths": (8,), "model.hidden": (), "model.dropout": 0.0,
        "model.weights": "none", "model.input_range": "auto", "model.precision": "auto",
    }  # fmt: skip
    (tmp_path / "across.json").write_text(json.dumps(flat))
    (tmp_path / "across.py").write_text(
        "import json, pathlib, ml_collections\n"
        "from fer_jax import config\n"
        "def get_config():\n"
        "    flat = json.loads(pathlib.Path(__file__).with_suffix('.json').read_text())\n"
        "    return ml_collections.ConfigDict(config.nested(flat))\n"
    )
    command = ["sweep", "--config", str(tmp_path / "across.py"), "--workdir", str(tmp_path / "across")]
    assert main.main([*command, "--over", "data.test_on=kdef,jaffe,ck48"]) == 0
    for name in ("kdef", "jaffe", "ck48"):
        results = json.loads((cells.folder(tmp_path / "across", f"data.test_on={name}") / "results.json").read_text())
        assert results["data"]["classes"] == ["fear", "angry", "disgust", "happy", "sad", "surprised"]
        assert results["config"]["data.test_on"] == name
        log = cells.log_file(tmp_path / "across", f"data.test_on={name}").read_text()
        assert "several: 108 images, 6 classes, 12 subjects, 36 of the official test set" in log
    assert json.loads((tmp_path / "across" / "results.json").read_text())["data"]["classes"]
    assert (tmp_path / "across" / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_on": "jaffe", "class_map": (("happy", "joy"),)}, None),
        ({"sets": (("kdef", (("name", "kdef"),)),)}, r"config\.data\.sets is .*; it may be a tuple of at least 2"),
        ({"sets": (("a", (("name", "kdef"), ("part", "x"))), ("b", (("name", "jaffe"),)))},
         r"config\.data\.sets a: config\.data\.part is no key of data set kdef"),
        ({"sets": (("a", (("name", "facs_faces"),)), ("b", (("name", "jaffe"),)))},
         r"config\.data\.sets a: config\.data\.\w+ is missing"),
        ({"sets": (("a", (("name", 5),)), ("b", (("name", "jaffe"),)))}, r"config\.data\.sets is .*; it may be a"),
        ({"sets": (("a", (("name", None),)), ("b", (("name", "jaffe"),)))}, r"config\.data\.sets is .*; it may be a"),
        ({"sets": (("a", (("name", "kdef"), ("units.path", "x"))), ("b", (("name", "jaffe"),)))},
         r"config\.data\.sets is .*; it may be .* the set's own keys, without dots"),
        ({"sets": (("a", (("name", "digits"),)), ("b", (("name", "digits"),)))},
         r"config\.data\.sets a: config\.data\.image_size is 16; the pictures of digits are 8 × 8"),
        ({"test_on": "c"}, r"config\.data\.test_on is 'c'; it may be empty or one of kdef, jaffe, ck48"),
        ({"class_map": tuple((f"ck48/{c}", "") for c in layouts.CKPLUS[:-1]), "test_on": "ck48"},
         r"config\.data\.test_on ck48 shares 0 classes with the others \(none\); config\.data\.class_map may"),
        ({"class_map": (("kdef/afriad", "fear"),)},
         r"^config\.data\.class_map has 'kdef/afriad', which is no class; classes of kdef are afraid, angry, "),
        ({"class_map": (("kdeff/neutral", ""),)}, "'kdeff/neutral', which is no class; a set may be kdef, jaffe, ck48"),
        ({"class_map": (("neutrall", ""),)}, r"'neutrall', which is no class; classes are afraid, angry, .*, contempt"),
        ({"class_map": (("kdef/contempt", ""),)}, "'kdef/contempt', which is no class; classes of kdef are afraid"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(trees, changes, said):
    if said is None:
        assert "joy" in load(config(trees, **changes)).class_names
        return
    with pytest.raises(UserError, match=said) as error:
        load(config(trees, **{"test_on": "", **changes}))
    assert "\n" not in str(error.value)


def test_names_are_checked_with_the_whole_config(tiny_config, trees):
    settings = tiny_config.copy_and_resolve_references()
    settings.unlock()
    settings.data = config(trees, "jaffe")
    settings.data.update({"residency": "auto", "image_size": 32})
    configs.check(settings)
    settings.data.test_on = "affectnet"
    with pytest.raises(UserError, match=r"data\.test_on is 'affectnet'; it may be empty or one of kdef, jaffe, ck48"):
        configs.check(settings)
    settings.data.test_on = "jaffe"
    settings.data.class_map = (("neutral", ""), ("kdef/afraid", "fear"), ("Neutral", "calm"))
    with pytest.raises(UserError, match=r"data\.class_map has 'neutral' more than once; each class may be there once"):
        configs.check(settings)
    settings.data.class_map, settings.data.sets = (), (*settings.data.sets, ("KDEF", (("name", "kdef"),)))
    with pytest.raises(UserError, match=r"data\.sets has the names kdef, jaffe, ck48, KDEF; each may be there once"):
        configs.check(settings)
