"""Mistakes of `fer-jax serve` are one line, told before a model is read."""

import errno
import io
import socket
import sys

import pytest

from fer_jax.cli import main, serve
from fer_jax.errors import UserError


def said(capsys, *arguments: str) -> str:
    assert main.main(["serve", "--workdir", "none", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "65536"], "--port is 65536; it may be a number from 0 to 65535"),
        (["--port", "-1"], "--port is -1; it may be a number from 0 to 65535"),
        (["--host", "203.0.113.1"], "--host 203.0.113.1 --port 8000 cannot be listened at ("),
        (["--host", "no host"], "--host no host --port 8000 cannot be listened at ("),
        (["--host", "a..b"], "--host a..b --port 8000 cannot be listened at ("),
        (["--prt", "1"], "--prt is not an argument of serve"),
        (["--port", "0"], "--workdir none is not that of a run: it has no config.json"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, told):
    assert told in said(capsys, *arguments)


def test_a_port_that_is_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told = said(capsys, "--port", str(port))
    assert f"--port {port} cannot be listened at (Address already in use); it may be others, and --port 0" in told


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_package_that_is_not_installed_is_one_line(capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    told = said(capsys, "--port", "0")
    assert f"serve needs {package}; install it with pip install -e '.[serve]'" in told


class TestLinks:
    """The first link must be seen; without the others the server goes on."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def test_a_link_is_printed(self, capsys):
        links = serve._Links("http://here")
        links("a")
        links("b")
        assert capsys.readouterr() == ("open http://here/?token=a\nopen http://here/?token=b\n", "")

    @pytest.mark.parametrize("closed", [None, Closed()])
    def test_a_first_link_that_nobody_can_read_is_a_mistake(self, monkeypatch, closed):
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(UserError, match=r"^standard output cannot be written to \(.*\), where the link is shown"):
            serve._Links("http://here")("a")

    def test_one_that_comes_later_is_said_once(self, monkeypatch, logged):
        links = serve._Links("http://here")
        links("a")
        monkeypatch.setattr(sys, "stdout", self.Closed())
        for token in "bc":
            links(token)
        assert logged.text.count("no further link can be shown") == 1
