"""Workdirs in an object store: what an address is, and what reading one copies."""

import pathlib
import sys

import fsspec
import pytest

from fer_jax.errors import PassingError, UserError
from fer_jax.runs import remote
from tests.support.stores import MEMORY, emptied

ADDRESSES = {"gs://b/r": True, "s3://b/r": True, "memory://b/r": True, pathlib.Path("gs://b/r"): True,
             "runs/mine": False, "/tmp/a:b": False, pathlib.Path("~/x"): False, "C:/x": False}  # fmt: skip
PART = "checkpoints/fold0/kd_psmr/order0"


@pytest.fixture(autouse=True)
def store():
    """The memory file system, empty."""
    return emptied()


@pytest.mark.parametrize(("text", "expected"), ADDRESSES.items())
def test_an_address_is_told_from_a_path(text, expected):
    assert remote.is_remote(text) == expected


def test_an_address_that_pathlib_has_shortened_is_the_same():
    assert remote.Store(pathlib.Path("memory://b/r/")).url == "memory://b/r"


@pytest.mark.parametrize(("url", "said"), [
    ("gs://b/r", "--workdir gs://b/r needs gcsfs; install it with pip install"),
    ("s3://b/r", "--workdir s3://b/r needs s3fs; install it with pip install"),
    ("nowhere://b/r", "--workdir nowhere://b/r: Protocol not known: nowhere; it may be a folder, gs://BUCKET/NAME"),
])  # fmt: skip
def test_a_missing_package_and_an_unknown_kind_are_one_line(monkeypatch, url, said):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError) as error:
        remote.Store(url)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_files_of_a_step_belong_together_and_others_are_alone():
    paths = [f"{PART}/12/state/d/34", f"{PART}/12/meta/metadata", f"{PART}.now/0/x", "checkpoints/forms.json",
             "results.json", "calibration/0/x"]  # fmt: skip
    assert remote.grouped(paths) == {
        f"{PART}/12": paths[:2],
        f"{PART}.now/0": paths[2:3],
        **{path: [path] for path in paths[3:]},
    }
    assert [remote.is_whole(unit, there) for unit, there in remote.grouped(paths).items()] == [False, False] + [
        True
    ] * 3


def test_a_copy_to_read_has_small_files_at_once_and_the_newest_whole_step_when_asked(store):
    for path in ("config.json", "owner.json", "report/index.html", "calibration/a.json", f"{PART}/9/a",
                 f"{PART}/9/{remote.MARK}", f"{PART}/10/a", f"{PART}/10/{remote.MARK}", f"{PART}/11/a"):  # fmt: skip
        store.pipe_file(f"/b/run/{path}", path.encode())
    folder = remote.readable(f"{MEMORY}/run")
    assert files(folder) == ["calibration/a.json", "config.json"]
    remote.complete(folder / PART)
    assert files(folder) == ["calibration/a.json", f"{PART}/10/a", f"{PART}/10/{remote.MARK}", "config.json"]
    # What a command writes there goes back, and messages name the store.
    (folder / "report").mkdir()
    (folder / "report" / "new.html").write_text("new")
    remote.publish(folder / "report")
    assert store.cat_file("/b/run/report/new.html") == b"new"
    assert remote.named(folder / "report") == f"{MEMORY}/run/report"


def files(folder: pathlib.Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_are_read_where_they_are(tmp_path):
    assert remote.readable(str(tmp_path)) == tmp_path
    remote.complete(tmp_path)
    remote.publish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_told():
    with pytest.raises(UserError, match=f"--workdir {MEMORY}/none is not that of a run: it has no config.json"):
        remote.readable(f"{MEMORY}/none")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(FileNotFoundError("no bucket"), UserError), (PermissionError("no right"), UserError),
     (type("NoCredentialsError", (Exception,), {})("none"), UserError), (ConnectionError("no net"), PassingError),
     (type("HttpError", (Exception,), {})("503"), PassingError)],
)  # fmt: skip
def test_what_a_store_raises_is_a_mistake_or_passes(monkeypatch, raised, kind):
    def find(self, path):
        raise raised

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "find", find)
    with pytest.raises(UserError) as error:
        remote.readable(f"{MEMORY}/run")
    assert type(error.value) is kind
    assert str(error.value).startswith(f"--workdir {MEMORY}/run cannot be read (")
