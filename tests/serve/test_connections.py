"""A connection that keeps the server waiting is ended, whatever it is waiting for; one that goes on is not."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from fer_jax.serve.connections import protocol
from fer_jax.serve.limits import Limits

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
LARGE = 30_000_000  # bytes that no socket's buffer takes whole
LIMITS = Limits(head_seconds=0.3, answer_seconds=0.3, connections=4)


async def app(scope, receive, send):
    body = bytes(LARGE) if scope["path"] == "/large" else b"well"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port():
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=protocol(LIMITS), log_config=None, lifespan="off", ws="none",
                                           limit_concurrency=LIMITS.connections))  # fmt: skip
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


@contextlib.contextmanager
def connected(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def ended(connection) -> bool:
    """Waits until the server ends a connection, and says whether it did so without an answer."""
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def answer(connection) -> bytes:
    connection.sendall(HEAD + b"\r\n")
    return connection.recv(1000)


def test_a_connection_without_a_request_ends(port):
    with connected(port) as silent, connected(port) as slow:
        slow.sendall(HEAD)
        assert ended(silent)
        assert ended(slow)


def test_one_byte_after_the_other_wins_no_time(port):
    with connected(port) as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            connection.sendall(HEAD)
            while time.monotonic() < began + 10:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < began + 10


def test_a_second_head_that_does_not_end_is_waited_for_no_longer_than_the_first(port):
    with connected(port) as connection:
        assert answer(connection).endswith(b"well")
        connection.sendall(HEAD)
        assert ended(connection)


def test_an_answer_that_nobody_reads_ends(port):
    with connected(port) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        read = 0
        with contextlib.suppress(ConnectionError):
            while some := connection.recv(1_000_000):
                read += len(some)
        assert read < LARGE


def test_who_asks_again_in_time_is_answered(port):
    with connected(port) as connection:
        for _ in range(5):
            assert answer(connection).endswith(b"well")
            time.sleep(0.15)  # longer than the limit in all


def test_silent_connections_hold_the_server_for_no_longer_than_that(port):
    with contextlib.ExitStack() as stack:
        for _ in range(2 * LIMITS.connections):
            stack.enter_context(connected(port))
        with connected(port) as connection:
            assert b"503" in answer(connection)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with connected(port) as connection:
                if answer(connection).endswith(b"well"):
                    return
            time.sleep(0.05)
        pytest.fail("the server is still busy")
