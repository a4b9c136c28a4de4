"""A server of `fer-jax serve` in a process of its own, browsers of it without a screen, and a camera's picture."""

import http.client
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
from typing import NamedTuple

import numpy as np
import skimage.data
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]


class Told(NamedTuple):
    """An answer: its status, its headers, its body as it came and as JSON, where it is."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """A browser that came by a link, one connection a request."""

    def __init__(self, port: int, cookie: str = ""):
        self.port, self.cookie = port, cookie

    def enter(self, link: str) -> "Client":
        told = self.ask("GET", "/?" + urllib.parse.urlsplit(link).query)
        assert told.status == 200, told
        self.cookie = told.headers["set-cookie"].partition(";")[0]
        return self

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Told:
        """Headers are named with _ for -; one that is None is left out."""
        given = {"Cookie": self.cookie or None}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {k: v for k, v in given.items() if v is not None})
            reply = connection.getresponse()
            return Told(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def picture(self, path: str, body: bytes, kind: str = "image/jpeg") -> Told:
        return self.ask("POST", path, body, Content_Type=kind)

    def teach(self, name: str, keys: list[str], query: str = "") -> Told:
        body = json.dumps({"class": name, "pictures": keys}).encode()
        return self.ask("POST", f"/teach{query}", body, Content_Type="application/json")

    def decide(self, how: str) -> Told:
        """Accepts or discards the model that waits."""
        return self.ask("POST", f"/teach/{how}?model={self.ask('GET', '/teach').json['key']}")

    def taught(self, seconds: float = 120) -> dict:
        """What is told once a class is no longer being taught."""
        until = time.monotonic() + seconds
        while (told := self.ask("GET", "/teach").json)["state"] == "running":
            assert time.monotonic() < until, told
            time.sleep(0.1)
        return told


class Server:
    """The command, until the block ends.

    Args:
      within: the folder that it works in, and that has its home and its temporary files; None is this process's.
    """

    def __init__(self, workdir: pathlib.Path, *arguments: str, within: pathlib.Path | None = None):
        command = [sys.executable, "-m", "fer_jax.cli.main", "serve", "--workdir", str(workdir), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        if within is not None:
            environment |= {"HOME": str(within), "TMPDIR": str(within)}
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=within, env=environment
        )
        self.link = self.next_link()
        self.port = int(re.search(r":(\d+)/", self.link)[1])

    def next_link(self) -> str:
        """The link that the terminal shows; each works once."""
        line = self.process.stdout.readline()
        assert line.startswith("open "), line
        return line.split()[1]

    def client(self) -> Client:
        client = Client(self.port).enter(self.link)
        self.link = self.next_link()
        return client

    def megabytes(self) -> float:
        """Of memory that the process has now."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()


def portraits(count: int, side: int = 480) -> list[np.ndarray]:
    """Pictures u8[side, side, 3] of one face, each a little farther to the side and brighter."""
    whole = np.asarray(Image.fromarray(skimage.data.astronaut()[:400, 40:440]).resize((side, side)))
    return [np.clip(np.roll(whole, 3 * i, axis=1).astype(int) + 2 * i, 0, 255).astype(np.uint8) for i in range(count)]


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def video(path: pathlib.Path, images: list[np.ndarray]) -> pathlib.Path:
    """Writes pictures u8[H, W, 3] as what Chromium takes for a camera (Y4M, 4:2:0)."""
    height, width = images[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for image in images:
            planes = np.asarray(Image.fromarray(image).convert("YCbCr"))
            file.write(b"FRAME\n" + planes[..., 0].tobytes())
            file.writelines(planes[::2, ::2, i].tobytes() for i in (1, 2))
    return path
