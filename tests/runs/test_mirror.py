"""A run that writes to an object store can be continued from there whenever it ends, on another machine, too."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import fsspec
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.config import ConfigError
from fer_jax.errors import Interrupted, PassingError, UserError
from fer_jax.runs import lease, mirror, remote
from fer_jax.runs.checkpoints import Checkpoints
from fer_jax.runs.lease import Lease, Lost
from fer_jax.runs.mirror import Mirror, working
from fer_jax.runs.remote import MARK, Store
from studies import chaos
from tests.support.stores import MEMORY, emptied

RUN, PART = f"{MEMORY}/run", "checkpoints/fold0/kd_psmr/order0"


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """The memory file system, empty; nothing is uploaded but when a test says so."""
    monkeypatch.setenv(mirror.FOLDER, str(tmp_path / "here"))
    monkeypatch.setattr(mirror, "PUSH_SECONDS", 1e6)
    monkeypatch.setattr(mirror, "RENEW_SECONDS", 1e6)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    return emptied()


def elsewhere(monkeypatch, folder: pathlib.Path) -> None:
    """What comes next runs on another machine, where the one of before is known to be dead."""
    monkeypatch.setenv(mirror.FOLDER, str(folder))
    monkeypatch.setattr(lease, "_over", lambda there: True)


def save(folder: pathlib.Path, number: int, text: str) -> None:
    """Writes a step as Orbax does: under another name first."""
    step = folder / PART / str(number)
    unfinished = step.with_name(f"{number}.orbax-checkpoint-tmp-1")
    for name in ("state/d/0", "meta/metadata"):
        (unfinished / name).parent.mkdir(parents=True)
        (unfinished / name).write_text(text)
    unfinished.rename(step)


def steps(folder: pathlib.Path) -> dict[int, set[str]]:
    """What the files of every step say, of which each has two."""
    found = {}
    for step in (folder / PART).glob("*"):
        texts = [path.read_text() for path in step.rglob("*") if path.is_file()]
        assert len(texts) == 2
        found[int(step.name)] = set(texts)
    return found


def test_a_folder_is_used_as_it_is(tmp_path):
    with working(str(tmp_path / "run")) as (folder, check):
        check()
        assert folder == tmp_path / "run"
    assert not folder.exists()


def test_a_run_goes_to_the_store_and_comes_back_from_there(store, monkeypatch, tmp_path):
    with working(RUN) as (folder, check):
        with Checkpoints(folder / PART, newest=2) as part:
            for number in range(3):
                part.save(number, {"a": jnp.arange(3.0) + number}, {"n": number})
        (folder / "config.json").write_text("{}")
        (folder / ".lock").touch()
        check()
    assert not list((tmp_path / "here").iterdir())
    assert not store.exists("/b/run/owner.json")
    assert not store.exists("/b/run/.lock")
    with working(RUN) as (folder, check):
        with Checkpoints(folder / PART) as part:
            step = part.latest({"a": np.zeros(3, np.float32)})
        assert (step.number, step.meta) == (2, {"n": 2})
        np.testing.assert_array_equal(step.state["a"], [2, 3, 4])
        puts = recorded(monkeypatch)
    assert puts == []
    with Checkpoints(remote.readable(RUN) / PART) as part:
        assert part.steps() == [2]
        assert part.glance(2)[0] == {"n": 2}


def recorded(monkeypatch) -> list[str]:
    """Notes what is uploaded from now on."""
    found, put = [], Store.put

    def noting(self, paths, folder):
        found.extend(paths)
        put(self, paths, folder)

    monkeypatch.setattr(Store, "put", noting)
    return found


def test_what_did_not_change_is_not_uploaded_again(monkeypatch):
    there = Mirror(Store(RUN), 0.0)
    begun(there.folder)
    there.push()
    puts = recorded(monkeypatch)
    there.push()
    assert puts == []
    (there.folder / "config.json").write_text("{ }")
    there.push()
    assert puts == ["config.json"]


def test_a_step_that_goes_once_it_is_listed_gets_no_mark(store, monkeypatch, tmp_path):
    there = Mirror(Store(RUN), 0.0)
    begun(there.folder)
    upload = Mirror._upload

    def upload_config(self, unit, version):  # which comes between the list and the step
        upload(self, unit, version)
        shutil.rmtree(there.folder / PART / "0")

    monkeypatch.setattr(Mirror, "_upload", upload_config)
    there.push()
    assert store.find("/b/run") == ["/b/run/config.json", "/b/run/owner.json"]
    elsewhere(monkeypatch, tmp_path / "next")
    assert steps(Mirror(Store(RUN), 0.0).folder) == {}


def test_steps_are_uploaded_in_the_order_in_which_they_were_made(monkeypatch):
    there = Mirror(Store(RUN), 0.0)
    for number in (11, 2, 10, 9):
        save(there.folder, number, "")
    puts = recorded(monkeypatch)
    there.push()
    assert [path for path in puts if path.endswith("metadata")] == [f"{PART}/{n}/meta/metadata" for n in (2, 9, 10, 11)]


# What a run does between two uploads. Step 0 comes again with other content, as that of a fit in progress does.
def begun(folder):
    (folder / "config.json").write_text("{}")
    save(folder, 0, "first")


def replaced(folder):
    shutil.rmtree(folder / PART / "0")
    save(folder, 0, "second")
    save(folder, 1, "one")


def finished(folder):
    save(folder, 2, "two")
    shutil.rmtree(folder / PART / "0")
    (folder / "results.json").write_text("of step 2")


def killed_at(number: int, monkeypatch, tmp_path) -> int | None:
    """Runs to the store's operation of this number; returns how many uploads were whole, None if it was not reached."""
    memory, left, whole = fsspec.get_filesystem_class("memory"), [number], 0
    with monkeypatch.context() as patch:
        for name in ("pipe_file", "put_file", "rm_file"):
            patch.setattr(memory, name, counting(getattr(memory, name), left))
        # Stores remove several files in an order of their own.
        patch.setattr(memory, "rm", lambda self, paths: [self.rm_file(path) for path in sorted(paths)])
        patch.setenv(mirror.FOLDER, str(tmp_path / f"killed{number}"))
        try:
            there = Mirror(Store(RUN), 0.0)
            for act in (begun, replaced, finished):
                act(there.folder)
                there.push()
                whole += 1
        except Killed:
            return whole
    return None


def test_a_kill_at_any_operation_leaves_what_can_be_continued(monkeypatch, tmp_path):
    for number in range(100):
        emptied()
        whole = killed_at(number, monkeypatch, tmp_path)
        with monkeypatch.context() as patch:
            elsewhere(patch, tmp_path / f"next{number}")
            there = Mirror(Store(RUN), 0.0)
            found = steps(there.folder)
            assert all(len(texts) == 1 for texts in found.values())  # none is a mixture, or part of one
            # Nothing that was there is lost before what follows it is there. The fit in progress may be.
            assert max(found, default=-1) >= {0: -1, 1: -1, 2: 1, 3: 2, None: 2}[whole]
            if (there.folder / "results.json").exists():
                assert found[2] == {"two"}
            if found:
                assert (there.folder / "config.json").exists()
            # What is left over is gone after the next upload.
            there.push()
            left = {path for path in unmarked() if PART in path}
            assert left == {f"/b/run/{PART}/{n}/{name}" for n in found for name in ("state/d/0", "meta/metadata")}
        if whole is None:
            return
    pytest.fail("it never ended")


def counting(act, left: list[int]):
    """The act, so long as some operations are left."""

    def counted(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return act(*arguments, **named)

    return counted


def unmarked() -> list[str]:
    return [path for path in fsspec.filesystem("memory").find("/b/run") if not path.endswith(MARK)]


def failing(act) -> pathlib.Path:
    """Runs something in the folder of a run that then fails; returns the folder."""
    with contextlib.suppress(RuntimeError), working(RUN) as (folder, _):
        act(folder)
        raise RuntimeError
    return folder


def test_what_the_same_machine_has_more_is_kept_and_what_another_wrote_is_not_lost(store, monkeypatch, tmp_path):
    folder = failing(begun)
    assert store.cat_file(f"/b/run/{PART}/0/state/d/0") == b"first"
    save(folder, 1, "more")  # as if it could not have been uploaded
    puts, found = recorded(monkeypatch), []
    failing(lambda folder: found.append(steps(folder)))
    assert found == [{0: {"first"}, 1: {"more"}}]
    assert puts == ["config.json", f"{PART}/1/meta/metadata", f"{PART}/1/state/d/0"]
    save(folder, 2, "more")
    with monkeypatch.context() as patch:
        elsewhere(patch, tmp_path / "there")
        with working(RUN) as (there, _):
            assert steps(there) == {0: {"first"}, 1: {"more"}}
            save(there, 2, "theirs")
    with working(RUN) as (folder, _):
        assert steps(folder) == {0: {"first"}, 1: {"more"}, 2: {"theirs"}}


def test_an_upload_that_fails_is_one_line_and_keeps_the_folder(store, monkeypatch):
    def refuse(self, paths, folder):
        raise ConnectionError("the network is down")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", refuse)
        with pytest.raises(PassingError) as error, working(RUN) as (folder, _):
            begun(folder)
    assert str(error.value) == (
        f"--workdir {RUN} cannot be uploaded to (ConnectionError: the network is down); everything is in {folder}, and "
        "the same command on this machine goes on"
    )
    # It says more than that everything is saved; but not more than what a run failed of.
    for raised, told in ((Interrupted(signal.SIGTERM, saved=True), PassingError), (ValueError("mine"), ValueError)):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", refuse)
            patch.setattr(lease, "_over", lambda there: True)
            with pytest.raises(told), working(RUN):
                raise raised
            assert steps(folder) == {0: {"first"}}
    monkeypatch.setattr(lease, "_over", lambda there: True)
    with working(RUN):
        pass
    assert store.cat_file(f"/b/run/{PART}/0/state/d/0") == b"first"


def down(*arguments, **named):
    raise ConnectionError("the network is down")


def test_a_run_that_does_not_begin_leaves_what_could_not_be_uploaded(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", down)
        with pytest.raises(PassingError), working(RUN) as (folder, _):
            begun(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "units", down)
        with pytest.raises(PassingError, match="cannot be used"):
            working(RUN).__enter__()
    with working(RUN) as (folder, _):
        assert steps(folder) == {0: {"first"}}


def test_the_config_is_uploaded_first(monkeypatch):
    puts = recorded(monkeypatch)
    with working(RUN) as (folder, _):
        for name in ("a.json", "b.json", "origin.json", "progress.jsonl", "config.json", "y.json", "z.json"):
            (folder / name).write_text("{}")
        begun(folder)
    assert puts[0] == "config.json"


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_folder_that_was_emptied_empties_no_store(store, when):
    folder = failing(begun)
    if when == "before":
        shutil.rmtree(folder)
    else:
        with pytest.raises(UserError, match="was emptied while a run used it; memory://b/run keeps"), working(RUN):
            shutil.rmtree(folder)
    with working(RUN) as (folder, _):
        assert steps(folder) == {0: {"first"}}
    assert store.cat_file(f"/b/run/{PART}/0/state/d/0") == b"first"


def test_a_store_that_recovers_is_told_of_once(store, monkeypatch, logged):
    failing, put = [True], Store.put

    def sometimes(self, paths, folder):
        if failing[0]:
            raise ConnectionError("the network is down")
        put(self, paths, folder)

    monkeypatch.setattr(Store, "put", sometimes)
    monkeypatch.setattr(mirror, "PUSH_SECONDS", 0.01)
    with working(RUN) as (folder, _):
        begun(folder)
        time.sleep(0.1)
        failing[0] = False
    assert len([r for r in logged.records if "cannot be written to at the moment (ConnectionError" in r.message]) == 1
    assert store.exists(f"/b/run/{PART}/0/{MARK}")


def test_a_run_that_lost_the_folder_ends_and_writes_nothing_more(store, monkeypatch):
    monkeypatch.setattr(mirror, "PUSH_SECONDS", 0.01)

    def go_on():
        with working(RUN) as (folder, check):
            store.rm_file("/b/run/owner.json")
            Lease(Store(RUN)).take()
            begun(folder)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                time.sleep(0.02)
                check()

    with pytest.raises(Lost, match="now belongs to another run"):
        go_on()
    assert store.find("/b/run") == ["/b/run/owner.json"]


def test_a_mistake_before_the_run_leaves_nothing(store, tmp_path):
    with pytest.raises(ConfigError, match=f"--workdir {RUN} holds other files"), working(RUN) as (folder, _):
        raise ConfigError(f"--workdir {folder} holds other files")
    assert store.find("/b") == []
    assert list((tmp_path / "here").iterdir()) == []


def test_a_folder_of_other_files_is_refused_before_anything_is_downloaded(store, monkeypatch, tmp_path):
    store.pipe_file("/b/run/photo.jpg", b"mine")
    monkeypatch.setattr(Store, "get", down)
    with pytest.raises(UserError, match=f"--workdir {RUN} holds other files; it may be") as error:
        working(RUN).__enter__()
    assert not isinstance(error.value, PassingError)
    assert store.find("/b") == ["/b/run/photo.jpg"]
    assert not (tmp_path / "here").exists()


def test_a_mistake_leaves_a_finished_run_as_it_was(store, tmp_path):
    with working(RUN) as (folder, _):
        begun(folder)
    before = store.find("/b")
    with pytest.raises(ConfigError), working(RUN):
        raise ConfigError("it is of another config")
    assert store.find("/b") == before
    assert list((tmp_path / "here").iterdir()) == []


def test_a_bucket_that_is_not_there_is_a_mistake(monkeypatch):
    def missing(*arguments, **named):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", missing)
    with pytest.raises(UserError, match=r"cannot be used .FileNotFoundError: The specified bucket") as error:
        working(RUN).__enter__()
    assert not isinstance(error.value, PassingError)


# The command, with uploads as soon as there is something.
EAGER = "import sys\nfrom fer_jax.runs import mirror\nmirror.PUSH_SECONDS = 0.2\nfrom fer_jax.cli import main\n" \
        "sys.exit(main.main())"  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_ends_on_another_machine_as_an_undisturbed_one(tiny_config, tiny_run, tmp_path):
    """Its store is a folder, by fsspec's own file system: memory goes with a process."""
    bucket = tmp_path / "bucket" / "run"
    command = [sys.executable, "-c", EAGER, "train", "--config", str(chaos.SMOKE), "--workdir", f"file://{bucket}",
               f"--config.data.dir={tiny_config.data.dir}", "--save-every", "0"]  # fmt: skip

    def start(machine: str) -> subprocess.Popen:
        there = {"FSSPEC_FILE": json.dumps({"auto_mkdir": True}), mirror.FOLDER: str(tmp_path / machine)}
        log = (tmp_path / f"{machine}.txt").open("w")
        return subprocess.Popen(command, env={**os.environ, **there}, stdout=log, stderr=log)

    with start("one") as process:
        while len(list(bucket.rglob(f"order*/*/{MARK}"))) < 2:
            assert process.poll() is None, (tmp_path / "one.txt").read_text()
            time.sleep(0.05)
        process.kill()
    assert not (bucket / "results.json").exists()
    with start("two") as process:
        assert process.wait(timeout=900) == 0, (tmp_path / "two.txt").read_text()
    assert f"file://{bucket} was written to by process" in (tmp_path / "two.txt").read_text()
    # What is there, without the empty folders that stores do not have.
    for path in [path for path in bucket.rglob("*") if path.is_file()]:
        copy = tmp_path / "ended" / path.relative_to(bucket)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    assert chaos.same(tmp_path / "ended", tiny_run)
    assert not list((tmp_path / "two").iterdir())
