"""The command: every mistake is one line and exit code 2, and writes nothing."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from fer_jax.cli import main, train
from fer_jax.config.file import read_config
from tests.support import cfee_tree

ROOT = pathlib.Path(__file__).parents[2]
QUICKSTART = str(ROOT / "configs" / "quickstart.py")


def test_help_imports_no_jax():
    """Which takes a second, and reads the environment before the command has set it."""
    said = "import sys, fer_jax.cli.main as m; m.parser(); print({'jax', 'numpy', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("trian", 2)])
def test_the_package_as_a_module_is_the_command(capsys, argument, code):
    done = subprocess.run([sys.executable, "-m", "fer_jax", argument], check=False, capture_output=True, text=True)
    with pytest.raises(SystemExit) as stop:
        main.main([argument])
    there = capsys.readouterr()
    assert (done.returncode, done.stdout, done.stderr) == (stop.value.code, there.out, there.err)
    assert done.returncode == code
    assert "fer-jax" in done.stdout + done.stderr


def test_a_reader_that_ends_early_is_no_error():
    """As `head` does, which reads some lines and goes."""
    command = [sys.executable, "-m", "fer_jax", "config", "--config", QUICKSTART]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == main.EXIT_NO_READER


def run(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and what went to stderr."""
    try:
        code = main.main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config.continual.learning_rte=1", "config.continual.learning_rte does not exist; did you mean"),
        ("--config.nonsense=1", "config.nonsense does not exist"),
        ("--config.data.image_size=0", "config.data.image_size is 0; it may be a whole number from 8 to 1024"),
        ("--config.data.name=cfe", "config.data.name: 'cfe' does not exist; it may be one of facs_faces, cfee"),
        ("--config.data.image_size=big", "config.data.image_size is 'big'; it may be a whole number from 8 to 1024"),
        ("--config.seed", "--config.seed has no value; write --config.seed=VALUE"),
        ("--config.continual.cut=conv9_block1", "config.continual.cut is 'conv9_block1'; it may be one of input,"),
        ("--config.data.exclude=('bored',)", "config.data.exclude has ['bored']; classes are happy"),
        ("--config.memory.share=0.001", "config.memory.share is 0.001; of 168 training images in fold 0 that is less"),
        ("--confg.seed=1", "--confg.seed=1 is not an argument of train"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_and_writes_nothing(capsys, tmp_path, monkeypatch, override, said):
    if "exclude" in override or "share" in override:
        # Known only with the data there: the smallest data set there is.
        override = (override, "--config.data.n_subjects=10", "--config.data.image_size=32",
                    f"--config.data.dir={tmp_path / 'tfds'}")  # fmt: skip
    else:
        override = (override,)
    workdir = tmp_path / "run"
    code, said_there = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(workdir), *override)
    lines = [line for line in said_there.splitlines() if line.startswith("fer-jax: ")]
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]
    assert not workdir.exists()


def test_a_key_that_the_file_leaves_out_may_be_overridden(tmp_path):
    path = tmp_path / "shared.py"
    path.write_text(
        f"import runpy\nconfig = runpy.run_path({QUICKSTART!r})['get_config']()\n"
        "def get_config():\n    config.data.seed = config.get_ref('seed')\n    return config\n"
    )
    overrides = ["--config.basic.objective=mine", "--config.basic.terms=(('centre', 0.5),)", "--config.seed=3"]
    config = read_config([f"--config={path}", *overrides])
    assert (config.basic.objective, config.basic.terms) == ("mine", (("centre", 0.5),))
    assert config.few_shot.terms == ()
    # What the file ties together stays tied.
    assert config.data.seed == 3


def test_weights_that_do_not_fit_are_one_line_and_write_nothing(capsys, tmp_path):
    workdir, small = tmp_path / "run", ROOT / "tests" / "reference" / "small_weights_legacy.h5"
    for weights, said in (
        (small, f"config.model.weights {small} does not fit: "),
        (tmp_path / "none.h5", f"config.model.weights {tmp_path / 'none.h5'}: no such file"),
        (tmp_path, f"config.model.weights {tmp_path}: is a folder"),
    ):
        code, told = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(workdir),
                         f"--config.model.weights={weights}", f"--config.data.dir={tmp_path / 'tfds'}")  # fmt: skip
        assert (code, len(told.splitlines())) == (2, 1)
        assert said in told
        assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_does_not_exist_is_one_line_and_writes_nothing(capsys, tmp_path):
    workdir = tmp_path / "run"
    code, told = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(workdir), "--tracker", "tensorbord")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "'tensorbord' does not exist; it may be one of tensorboard, mlflow, wandb, or the dotted path" in told
    assert not workdir.exists()


def test_damaged_and_other_weights_of_a_transformer_are_one_line_and_write_nothing(capsys, tmp_path):
    reference = ROOT / "tests" / "reference"
    whole, cut, header = reference / "torch_zip.pth", tmp_path / "cut.pth", tmp_path / "long.safetensors"
    cut.write_bytes(whole.read_bytes()[:-100])
    header.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    for weights, said in (
        (whole, "has no patches of a vision transformer; it may have one of patch_embed.proj.weight, "),
        (cut, "is no PyTorch file of tensors: "),
        (header, f"is no safetensors file: its header says that it has {2**40} bytes; it may have up to 2"),
        (tmp_path / "none.pth", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        code, told = run(capsys, "train", "--config", str(ROOT / "configs" / "vit.py"), "--workdir",
                         str(tmp_path / "run"), f"--config.model.weights={weights}")  # fmt: skip
        assert (code, len(told.splitlines())) == (2, 1)
        assert f"config.model.weights {weights}" in told
        assert said in told
        assert set(tmp_path.iterdir()) == {cut, header}


def test_a_mistake_in_a_config_file_is_one_line(capsys, tmp_path):
    workdir = str(tmp_path / "run")
    for text, said in (
        ("def get_config(:\n", "invalid syntax"),
        ("import nothing_of_this_name\n", "nothing_of_this"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def get_config():\n    raise ValueError('set $FACES')\n", "ValueError: set $FACES"),
        ("def get_config():\n    pass\n", "get_config returns NoneType; it may return a ConfigDict"),
    ):
        path = tmp_path / "broken.py"
        path.write_text(text)
        code, told = run(capsys, "train", "--config", str(path), "--workdir", workdir)
        assert (code, len(told.splitlines())) == (2, 1)
        assert said in told
    code, told = run(capsys, "train", "--config", str(tmp_path / "none.py"), "--workdir", workdir)
    assert (code, len(told.splitlines())) == (2, 1)
    assert "none.py: no such file" in told
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == ["broken.py"]


def test_folders_that_cannot_be_written_are_one_line(capsys, tmp_path, tiny_config, tiny_data):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    code, told = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(file / "run"))
    assert (code, len(told.splitlines())) == (2, 1)
    assert f"lies under {file}, which is a file" in told
    code, told = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(tmp_path / "run"),
                     f"--config.data.dir={file}")  # fmt: skip
    assert code == 2
    assert str(file) in told.splitlines()[-1]
    assert "Traceback" not in told
    workdir = tmp_path / "odd"
    workdir.mkdir()
    (workdir / "config.json").write_text("[]")
    code, told = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(workdir))
    assert (code, len(told.splitlines())) == (2, 1)
    assert "is not what fer-jax train wrote there" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "odd"]


def test_mistakes_in_ones_own_faces_are_one_line_and_write_nothing(capsys, tmp_path):
    root, workdir = tmp_path / "cfee", tmp_path / "run"
    train = ["train", "--config", str(ROOT / "configs" / "cfee.py"), "--workdir", str(workdir),
             f"--config.data.manual_dir={root}", f"--config.data.dir={tmp_path / 'tfds'}",
             "--config.data.image_size=32"]  # fmt: skip

    def told(*overrides) -> str:
        code, said = run(capsys, *train, *overrides)
        lines = [line for line in said.splitlines() if line.startswith("fer-jax: ")]
        assert (code, len(lines)) == (2, 1)
        assert "Traceback" not in said
        assert not workdir.exists()
        return lines[0]

    assert f"config.data.manual_dir {root} does not exist" in told()
    cfee_tree.write_tree(root, cfee_tree.noise(4))
    picture = root / "CFEE_Database_230" / "Group1" / "Images1" / "02_101_IMG_1000.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:100])
    assert "02_101_IMG_1000.jpg: it cannot be decoded" in told()
    picture.write_bytes(whole)
    said = told("--config.protocol.n_folds=5", "--config.protocol.folds=(0,)")
    assert "config.protocol.n_folds is 5; it may be at most the number of subjects, 4" in said
    assert "config.data.base_classes has ['bored']" in told(
        "--config.data.base_classes=('bored','sad')", "--config.data.n_base=2"
    )


def test_missing_arguments_are_told(capsys, tmp_path):
    assert run(capsys, "train", "--config", QUICKSTART)[0] == 2
    assert run(capsys, "learn")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "fer-jax: argument COMMAND: invalid choice: 'trian' (choose from "),
        (
            ["train", "--workdir", "x"],
            "fer-jax: train: the following arguments are required: --config; --help says more",
        ),
        (["predict", "--workdir", "x", "a.png", "--top", "few"], "fer-jax: predict: argument --top: invalid int value"),
        (["data", "prepare", "--config", "x"], "fer-jax: data prepare: the following arguments are required: --out"),
        (
            ["sweep", "--config", "x", "--workdir", "x", "--save-every", "-1"],
            "fer-jax: sweep: argument --save-every: is",
        ),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(capsys, arguments, said):
    code, told = run(capsys, *arguments)
    assert (code, len(told.splitlines())) == (2, 1)
    assert told.startswith(said)


def test_without_arguments_the_commands_are_listed_by_purpose(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([])
    told = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"\n{purpose}:\n" in told for purpose in main.PURPOSES)
    assert all(f"\n  {name} " in told for name in main.COMMANDS)
    # Each of them with what it is for, and once.
    assert told.count("run an experiment, or go on with it") == 1


def test_a_workdir_of_another_config_is_one_line(capsys, tiny_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(tiny_run, workdir)
    before = sorted(workdir.rglob("*"))
    code, said = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(workdir))
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "is of another config" in said
    assert "data.n_subjects 12 there, 230 here" in said
    assert sorted(workdir.rglob("*")) == before


def test_report_of_nothing_of_noise_and_of_another_version(capsys, tmp_path):
    code, said = run(capsys, "report", "--workdir", str(tmp_path))
    assert (code, len(said.splitlines())) == (2, 1)
    assert "has no results.json" in said
    for text, expected in (("{", "not readable as JSON"), ('{"schema_version": 99}', "schema_version 99; it may be 1")):
        (tmp_path / "results.json").write_text(text)
        code, said = run(capsys, "report", "--workdir", str(tmp_path))
        assert (code, len(said.splitlines())) == (2, 1)
        assert expected in said
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_what_cannot_be_compared_is_one_line_and_writes_nothing(capsys, tiny_run, tmp_path):
    results = json.loads((tiny_run / "results.json").read_text())
    results["data"]["classes"][-1] = "bored"
    (tmp_path / "results.json").write_text(json.dumps(results))
    for arguments, expected in (
        (["--against", str(tmp_path)], "only one of them has the class bored"),
        (["--against", str(tmp_path / "none")], "none has no results.json"),
        (["--against", str(tiny_run)], "is the same workdir"),
        (["--against", str(tmp_path), "--out", str(tmp_path / "results.json")], "results.json is a file; it may be a"),
        (["--workdir", str(tmp_path), "--against", str(tmp_path)], "--against goes with one --workdir"),
    ):
        code, said = run(capsys, "report", "--workdir", str(tiny_run), *arguments)
        assert (code, len(said.splitlines())) == (2, 1)
        assert expected in said
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert not (tiny_run / "against").exists()


def test_training_ends_with_where_the_time_went_and_where_to_look(capsys, tiny_run):
    results = json.loads((tiny_run / "results.json").read_text())
    results["seconds"]["basic"], results["seconds"]["few_shot"] = 60.0, 0.0
    results["seconds"]["continual"] = dict.fromkeys(results["seconds"]["continual"], 10.0)
    train._tell(results, tiny_run)
    time, *others = capsys.readouterr().out.splitlines()
    total = 60 + 10 * len(results["config"]["methods"])
    assert time.startswith(f"time:    {total} s: basic 60 s, continual, KD + PSMR (the paper) 10 s")
    assert "few-shot" not in time
    assert [line.split(":")[0] for line in others] == ["results", "report", "next"]


def test_an_interruption_before_training_is_one_line(capsys, tmp_path, monkeypatch):
    from fer_jax import experiment

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", interrupted)
    code, said = run(capsys, "train", "--config", QUICKSTART, "--workdir", str(tmp_path / "run"))
    assert code == 130
    assert said == "fer-jax: interrupted\n"
