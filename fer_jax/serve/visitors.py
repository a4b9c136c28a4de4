"""Who may ask: links that open the page once, and the browsers that came by one, each with its pictures and draft."""

import dataclasses
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable

import numpy as np

from fer_jax.inference.teach import MOST_IMAGES
from fer_jax.serve.jobs import Teaching
from fer_jax.serve.limits import Bucket, Limits, Refusal


@dataclasses.dataclass(frozen=True)
class Picture:
    """A face u8[S, S, 3] that a browser collected, and the SHA-256 of the picture that it was in."""

    digest: str
    face: np.ndarray


@dataclasses.dataclass
class Visitor:
    """A browser: its requests, the faces that it collected, and what it teaches.

    teaching: the class that it taught last, or teaches, if any.
    """

    bucket: Bucket
    teaching: Teaching | None = None
    _pictures: dict[str, Picture] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)  # several threads collect and read

    def pictures(self) -> dict[str, Picture]:
        """Returns the faces that are collected now, by keys that the server made."""
        with self._lock:
            return dict(self._pictures)

    def collect(self, picture: Picture) -> str:
        """Adds a face; returns its key.

        Raises:
          Refusal: 409, there are as many as can be taught at once.
        """
        with self._lock:
            if len(self._pictures) >= MOST_IMAGES:
                raise Refusal(409, f"there are {MOST_IMAGES} pictures already; teach these, or remove some")
            key = secrets.token_hex(8)
            self._pictures[key] = picture
            return key

    def remove(self, *keys: str) -> int:
        """Removes faces; returns how many of them were there."""
        with self._lock:
            return sum(self._pictures.pop(key, None) is not None for key in keys)


class Visitors:
    """The browsers that may ask, and the link that lets the next one in.

    Args:
      tell: is given each new link's token, which works by then. A link works once; whoever uses it makes the next one.
    """

    def __init__(self, limits: Limits, tell: Callable[[str], None]):
        self._limits, self._tell = limits, tell
        self._by_digest: dict[str, Visitor] = {}  # the one that asked last is the last one
        self._token = ""

    def invite(self) -> None:
        """Makes a new link, which replaces the one before."""
        self._token = secrets.token_urlsafe(24)
        self._tell(self._token)

    def check(self, token: str) -> None:
        """Checks that a token is that of the link, and leaves it to be used.

        Raises:
          Refusal: 403, the link was used before or never was one.
        """
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise Refusal(403, "this link was used before, or is none; the terminal shows the next one")

    def enter(self, token: str, key: str = "") -> str:
        """Takes a link's token; returns the key that the browser shows from then on.

        Args:
          key: what the browser shows already, if anything; if it is known, it stays, with its pictures.

        Raises:
          Refusal: as `check`.
        """
        self.check(token)
        if self._used(key) is None:
            key = secrets.token_urlsafe(32)
            while len(self._by_digest) >= self._limits.browsers:
                del self._by_digest[next(iter(self._by_digest))]
            self._by_digest[_digest(key)] = Visitor(Bucket(self._limits.per_second, self._limits.burst))
        self.invite()
        return key

    def of(self, key: str) -> Visitor:
        """Returns the browser that shows a key, and counts its request.

        Raises:
          Refusal: 401, none has it; 429, it asked too often.
        """
        visitor = self._used(key)
        if visitor is None:
            raise Refusal(401, "open the link that the terminal shows; it works once, in one browser")
        visitor.bucket.take()
        return visitor

    def _used(self, key: str) -> Visitor | None:
        """Returns the browser that shows a key, or None, and puts it behind all that asked before it."""
        visitor = self._by_digest.pop(_digest(key), None)
        if visitor is not None:
            self._by_digest[_digest(key)] = visitor
        return visitor


def _digest(key: str) -> str:
    # Looked up by digest, so that the time it takes tells nothing of the keys.
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
