"""The server as a process: a thousand requests of which a third is hostile, two browsers that teach, and kills.

Also what is left when nobody can read the link.
"""

import collections
import contextlib
import http.client
import io
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.support import served

pytestmark = pytest.mark.slow
REQUESTS, CLIENTS = 1000, 8
PICTURES = [served.encoded(image) for image in served.portraits(6)]
LARGE = served.encoded(np.zeros((4000, 4990, 3), np.uint8))  # just below 20 megapixels, and without a face


def bomb() -> bytes:
    """A GIF of some bytes that says it has four thousand million pixels."""
    return (
        b"GIF89a"
        + b"\xff\xff\xff\xff"
        + b"\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02L\x01\x00;"
    )


def cut_off(client: served.Client) -> int:
    """A body that ends before its length; no answer is waited for."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {client.cookie}\r\nContent-Type: image/jpeg\r\n"
        connection.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode() + PICTURES[0][:1000])
    return 0


def half_a_head(client: served.Client) -> int:
    """A request whose headers do not end; no answer is waited for."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(f"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {client.cookie}".encode())
    return 0


def scans(passes: int = 200_000) -> bytes:
    """A progressive JPEG of four million pixels and so many passes over all of them."""
    file = io.BytesIO()
    Image.new("L", (2000, 2000)).save(file, "JPEG", progressive=True, quality=1)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + passes * content[last:-2] + content[-2:]


def garbage(client: served.Client) -> int:
    """Bytes that are no HTTP."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(os.urandom(8) + b"\x00\r\n\r\n")
        return int(connection.recv(100).split()[1])


SCANS = scans()


def name(text: str):
    return lambda c: c.teach(text, ["0123456789abcdef"]).status


# What a request does, and the status that it must get.
FRIENDLY = [
    (lambda c: c.picture("/predict", PICTURES[0]).status, 200),
    (lambda c: c.picture("/predict", PICTURES[1]).status, 200),
    (lambda c: c.picture("/predict?model=first", PICTURES[2]).status, 200),
    (lambda c: c.picture("/explain", PICTURES[3]).status, 200),
    (lambda c: c.picture("/predict", LARGE).status, 200),
    (lambda c: c.ask("GET", "/models").status, 200),
    (lambda c: c.ask("GET", "/model").status, 200),
    (lambda c: c.ask("GET", "/teach").status, 200),
    (lambda c: c.ask("GET", "/").status, 200),
    (lambda c: c.ask("GET", "/app.js").status, 200),
]
HOSTILE = [
    (lambda c: c.picture("/predict", PICTURES[0], "text/html").status, 415),
    (lambda c: c.ask("POST", "/predict", PICTURES[0]).status, 415),
    (lambda c: c.picture("/predict", b"<?php system($_GET['x']); ?>").status, 422),
    (lambda c: c.picture("/predict", PICTURES[0][:3000]).status, 422),
    (lambda c: c.picture("/teach/pictures", b"\x89PNG\r\n\x1a\n" + os.urandom(400)).status, 422),
    (lambda c: c.picture("/explain", bomb(), "image/gif").status, 422),
    (lambda c: c.picture("/predict", bytes(10_000_001)).status, 413),
    (lambda c: c.picture("/predict", SCANS).status, 422),
    (lambda c: c.ask("HEAD", "/?token=none").status, 403),
    (lambda c: c.ask("GET", "/model?modle=first").status, 400),
    (lambda c: c.ask("POST", "/teach/accept").status, 400),
    (lambda c: c.ask("POST", "/teach/discard?model=first").status, 409),
    (half_a_head, 0),
    (lambda c: served.Client(c.port).picture("/predict", PICTURES[0]).status, 401),
    (lambda c: served.Client(c.port, c.cookie[:-1] + "!").ask("GET", "/models").status, 401),
    (lambda c: c.ask("GET", "/?token=../../etc/passwd").status, 403),
    (lambda c: c.ask("POST", "/teach/accept", Origin="https://evil.example").status, 403),
    (lambda c: c.ask("POST", "/predict", PICTURES[0], Origin="null", Content_Type="image/jpeg").status, 403),
    (lambda c: c.ask("GET", "/model", Host="evil.example").status, 400),
    (lambda c: c.picture("/predict?model=../../../../etc/passwd", PICTURES[0]).status, 404),
    (lambda c: c.ask("GET", "/model?model=%2e%2e%2f%2e%2e%2fconfig.json").status, 404),
    (lambda c: c.ask("GET", "/../../../../etc/passwd").status, 404),
    (lambda c: c.ask("GET", "/%2e%2e/%2e%2e/etc/passwd").status, 404),
    (lambda c: c.ask("DELETE", "/teach/pictures/..%2f..%2f..%2fconfig.json").status, 404),
    (name("../../../../escaped"), 422),
    (name("/etc/cron.d/escaped"), 422),
    (name("a\x00b"), 422),
    (name("con\n"), 422),
    (lambda c: c.ask("POST", "/teach", b"[" * 16_000, Content_Type="application/json").status, 400),
    (lambda c: c.ask("POST", "/teach", b"x" * 20_000, Content_Type="application/json").status, 413),
    (lambda c: c.ask("TRACE", "/models").status, 405),
    (lambda c: c.picture("/explain?class=%00&face=-1&variant=../x", PICTURES[0]).status, 422),
    (lambda c: c.ask("GET", "/models", X="y" * 40_000).status, 431),
    (cut_off, 0),
    (garbage, 400),
]  # fmt: skip


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def within(tiny_run, tmp_path):
    """A folder with a copy of the run, in which a server works."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path


def collected(client: served.Client, count: int = 3) -> list[str]:
    return [client.picture("/teach/pictures", one).json["key"] for one in PICTURES[:count]]


def lesson(client: served.Client) -> None:
    """Teaches a class, and discards it and its pictures."""
    keys = collected(client)
    assert client.teach("smirk", keys).status == 202
    assert client.taught()["state"] == "done"
    assert client.decide("discard").status == 200
    assert {client.ask("DELETE", f"/teach/pictures/{key}").status for key in keys} == {200}


def test_a_thousand_requests_of_eight_browsers_a_third_of_them_hostile(within):
    with served.Server(within / "run", within=within) as server:
        clients = [server.client() for _ in range(CLIENTS)]
        teacher = server.client()
        lesson(teacher)
        before = files(within)
        wrong, done, sizes, lessons = collections.Counter(), [], [], []
        lock = threading.Lock()

        def visit(i: int) -> None:
            rng = np.random.default_rng(i)
            for k in range(REQUESTS // CLIENTS):
                kinds = HOSTILE if k % 3 == 2 else FRIENDLY
                which = int(rng.integers(len(kinds)))
                ask, expected = kinds[which]
                told = ask(clients[i])
                with lock:
                    done.append(kinds is HOSTILE)
                    if told != expected:
                        wrong[(kinds is HOSTILE, which, told, expected)] += 1
                    if len(done) % 100 == 0:
                        sizes.append(server.megabytes())

        def go_on_teaching() -> None:
            while len(done) < REQUESTS:
                lesson(teacher)
                lessons.append(server.megabytes())

        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            taught = pool.submit(go_on_teaching)
            list(pool.map(visit, range(CLIENTS)))
            taught.result()
        assert wrong == {}
        assert (len(done), sum(done)) == (REQUESTS, 328)
        assert server.process.poll() is None
        # From the first three hundred on, when everything has been asked once, it grows no more.
        assert max([*sizes[3:], lessons[-1]]) < 1.1 * sizes[2], (sizes, lessons)
        assert len(lessons) >= 2
        assert files(within) == before
        assert clients[0].picture("/predict", PICTURES[0]).status == 200


def test_of_two_browsers_that_teach_at_once_one_is_told_busy(within):
    with served.Server(within / "run", within=within) as server:
        clients = [server.client() for _ in range(2)]
        keys = [collected(client) for client in clients]
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(lambda i: clients[i].teach(f"class {i}", keys[i]), range(2)))
        assert sorted(one.status for one in told) == [202, 503]
        busy = next(i for i in range(2) if told[i].status == 503)
        assert told[busy].json["error"].startswith("busy: a class is being taught")
        assert told[busy].headers["retry-after"]
        # Questions are answered meanwhile.
        assert clients[busy].picture("/predict", PICTURES[0]).status == 200
        assert clients[busy].ask("GET", "/teach").json == {"state": "idle"}
        assert clients[1 - busy].taught()["state"] == "done"
        other = clients[1 - busy].ask("GET", "/teach").json["key"]
        assert clients[busy].ask("POST", f"/teach/accept?model={other}").status == 409
        assert clients[busy].teach(f"class {busy}", keys[busy]).status == 202
        assert clients[busy].taught()["state"] == "done"
        stored = [client.decide("accept").json["model"] for client in clients]
        assert len(set(stored)) == 2
        assert len(clients[0].ask("GET", "/models").json["models"]) == 3
        assert sorted(path.name for path in (within / "run" / "taught").iterdir()) == ["1", "2"]


class Told:
    """What a workdir with a taught model answers, whatever is killed in it since."""

    def __init__(self, client: served.Client):
        assert client.teach("smirk", collected(client)).status == 202
        assert client.taught()["state"] == "done"
        self.key = client.decide("accept").json["model"]
        self.answer = self.asked(client, self.key)

    def asked(self, client: served.Client, key: str) -> dict:
        told = client.picture(f"/predict?model={key}", PICTURES[5])
        assert told.status == 200
        return told.json

    def check(self, client: served.Client) -> list[str]:
        """Checks that the model is there as it was; returns the names of those beside it, each of which answers."""
        first, own, *more = client.ask("GET", "/models").json["models"]
        assert (first["key"], own["key"]) == ("first", self.key)
        assert self.asked(client, self.key) == self.answer
        for one in more:
            self.asked(client, one["key"])
        return [one["name"] for one in more]


def test_a_kill_at_any_step_of_teaching_or_storing_loses_nothing(within):
    workdir = within / "run"
    with served.Server(workdir, within=within) as server:
        told = Told(server.client())
    before, states = files(workdir), []
    for step in range(1, 6):  # of what the progress tells, from reading the data to fitting the temperature
        with served.Server(workdir, within=within) as server:
            client = server.client()
            assert told.check(client) == []
            assert client.teach("wink", collected(client)).status == 202
            while (now := client.ask("GET", "/teach").json)["state"] == "running" and len(now["lines"]) < step:
                time.sleep(0.03)  # a browser may ask so often
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            states.append(now["state"])
        assert files(workdir) == before
    assert states.count("running") >= 3, states  # a last step may be over before it is seen
    stored = []
    for delay in (0.0, 0.01, 0.04):
        with served.Server(workdir, within=within) as server:
            client = server.client()
            assert told.check(client) == stored
            assert client.teach("wink", collected(client)).status == 202
            assert client.taught()["state"] == "done"
            threading.Timer(delay, server.process.kill).start()
            with contextlib.suppress(OSError, http.client.HTTPException):
                client.decide("accept")
            server.process.wait()
        after = files(workdir)
        assert {path: after[path] for path in before} == before
        with served.Server(workdir, within=within) as server:
            assert (stored := told.check(server.client())) == len(stored) * ["+ wink"]


@pytest.mark.parametrize("closed", [">&-", "| true"])
def test_a_link_that_nobody_can_read_is_one_line(within, closed):
    command = f"{sys.executable} -m fer_jax.cli.main serve --workdir run --cropped --port 0 {closed}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=within, stdout=subprocess.DEVNULL, text=True,
                          stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(served.ROOT)})  # fmt: skip
    *_, last = done.stderr.splitlines()
    assert done.returncode == 2
    assert last.startswith("fer-jax: standard output cannot be written to (")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
