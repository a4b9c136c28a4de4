"""A store's folder has one writer; one that died does not have it for ever."""

import json
import os
import subprocess
import sys
import time

import pytest

from fer_jax.errors import PassingError, UserError
from fer_jax.runs import lease
from fer_jax.runs.lease import Lease, Lost
from fer_jax.runs.remote import Store
from fer_jax.runs.workdir import InUse
from tests.support.stores import MEMORY, emptied

RUN = f"{MEMORY}/run"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    """The memory file system, empty."""
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    return emptied()


def owned(store, **changes) -> None:
    """Writes an owner on another machine that was seen 100 seconds ago."""
    there = {"host": "elsewhere", "process": 7, "token": "theirs", "time": time.time() - 100, "ended": False}
    store.pipe_file("/b/run/owner.json", json.dumps({**there, **changes}).encode())


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_an_owner_keeps_others_out_until_it_ends(store):
    first, second = Lease(Store(RUN)), Lease(Store(RUN))
    assert first.take() is None
    with pytest.raises(InUse, match=rf"{RUN} is in use by another run \(process {os.getpid()} on \S+, seen 0 s ago"):
        second.take()
    first.renew()
    first.end()
    assert not store.exists("/b/run/owner.json")
    assert second.take() is None


@pytest.mark.parametrize(("changes", "free"), [
    ({}, False),
    ({"time": 1000}, False),  # its clock is ahead
    ({"time": -lease.STALE_SECONDS - 9}, True),
    ({"ended": True}, True),
    ({"host": os.uname().nodename, "process": gone()}, True),
    ({"host": os.uname().nodename, "process": os.getppid(), "time": -9}, False),
    ({"host": os.uname().nodename, "process": os.getpid()}, False),  # perhaps number 1 of another container
])  # fmt: skip
def test_what_is_over_is_taken_over(store, changes, free):
    owned(store, **{**changes, "time": time.time() + changes.get("time", 0)})
    if not free:
        with pytest.raises(InUse, match="is in use by another run"):
            Lease(Store(RUN)).take()
        assert b"theirs" in store.cat_file("/b/run/owner.json")
        return
    mine = Lease(Store(RUN))
    assert mine.take() == "theirs"
    mine.check()


def test_it_waits_for_an_owner_of_another_machine_alone(store, monkeypatch):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if seconds:
            owned(store, ended=True)

    monkeypatch.setattr(time, "sleep", sleep)
    owned(store)
    assert Lease(Store(RUN)).take(wait=60) == "theirs"
    assert waited == [5.0, lease.SETTLE_SECONDS]
    owned(store, host=os.uname().nodename, process=os.getppid())
    waited.clear()
    with pytest.raises(InUse):
        Lease(Store(RUN)).take(wait=60)
    assert waited == []


@pytest.mark.parametrize("how", ["taken", "removed"])
def test_a_lost_lease_is_neither_renewed_nor_ended(store, how):
    mine = Lease(Store(RUN))
    mine.take()
    if how == "taken":
        owned(store)
    else:
        store.rm_file("/b/run/owner.json")
    before = store.find("/b", detail=False), [store.cat_file(path) for path in store.find("/b")]
    for act in (mine.check, mine.renew, mine.end):
        with pytest.raises(Lost, match="now belongs to another run"):
            act()
    assert before == (store.find("/b", detail=False), [store.cat_file(path) for path in store.find("/b")])


def test_an_owner_that_is_over_stays_until_there_is_another(store, monkeypatch):
    """Without one the next run would take what the machine of the last owner has for older than the store."""
    owned(store, ended=True)
    pipe_file, calls = type(store).pipe_file, []

    def once(*arguments, **named):
        calls.append(arguments)
        if len(calls) > 1:
            raise ConnectionError("the network is down")
        return pipe_file(*arguments, **named)

    monkeypatch.setattr(type(store), "pipe_file", once)
    with pytest.raises(ConnectionError, match="the network is down"):
        Lease(Store(RUN)).take()
    assert b"theirs" in store.cat_file("/b/run/owner.json")


def test_a_store_that_does_not_answer_is_no_owner(store, monkeypatch):
    mine = Lease(Store(RUN))

    def refuse(*arguments, **named):
        raise PermissionError("no right")

    monkeypatch.setattr(type(store), "pipe_file", refuse)
    with pytest.raises(PermissionError, match="no right"):
        mine.take()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"owner": "me"}', b'{"time": 0, "ended": false}'])
def test_an_owner_that_is_not_of_a_run_is_refused_in_one_line(store, content):
    store.pipe_file("/b/run/owner.json", content)
    with pytest.raises(UserError, match=r"holds an owner\.json that is not of a run, which has host") as e:
        Lease(Store(RUN)).take()
    assert not isinstance(e.value, PassingError)
    assert "\n" not in str(e.value)
    assert store.cat_file("/b/run/owner.json") == content
