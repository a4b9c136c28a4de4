"""Exit codes: 2 for a mistake of the user's, 75 for what passes by itself, 1 for the rest."""

import errno

import pytest

from fer_jax import config as configs
from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.config.file import read_config
from fer_jax.errors import PassingError, UserError, exit_code
from fer_jax.runs.checkpoints import CheckpointError
from fer_jax.runs.workdir import claim, locked
from studies import chaos


def saving(cause: Exception | None) -> CheckpointError:
    error = CheckpointError(f"could not save step 1: {cause}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("config.seed is -1"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "face.png"), 2),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "face.png"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "face.png"), 2),
        (OSError(errno.EROFS, "Read-only file system", "run"), 2),
        (OSError("cannot identify image file"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "run"), 75),
        (OSError(errno.EIO, "Input/output error", "run"), 75),
        (OSError(errno.ESTALE, "Stale file handle", "run"), 75),
        (PassingError("the workdir is in use"), 75),
        (saving(OSError(errno.ENOSPC, "No space left on device")), 75),
        (saving(OSError(errno.EACCES, "Permission denied")), 2),
        (saving(ValueError("UNKNOWN: write [OS error 28: No space left on device]")), 75),
        (saving(ValueError("UNKNOWN: open [OS error 30: Read-only file system]")), 2),
        (saving(None), 2),
        (FloatingPointError("the loss is not finite"), 1),
    ],
)
def test_what_passes_is_told_from_mistakes(error, code, monkeypatch, tmp_path, capsys):
    assert exit_code(error) == code

    def failing(*arguments, **named):
        raise error

    monkeypatch.setattr(experiment, "train", failing)
    assert main.main(["train", "--config", str(chaos.SMOKE), "--workdir", str(tmp_path / "run")]) == code
    assert capsys.readouterr().err.splitlines() == [f"fer-jax: {error}"]


def test_a_workdir_in_use_is_one_line_and_may_be_tried_again(tmp_path, capsys):
    run = tmp_path / "run"
    claim(run, configs.resolve(read_config([f"--config={chaos.SMOKE}"])), write=True)
    with locked(run):
        assert main.main(["train", "--config", str(chaos.SMOKE), "--workdir", str(run)]) == 75
    (told,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("fer-jax: "))
    assert "is in use by another run" in told
