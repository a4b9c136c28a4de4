"""Who may ask: links that open the page once, and the browsers that came by one, each with its pictures and draft."""

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Callable

import numpy as np

from fer_jax.inference.predict import Predictor
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

    pictures: by keys that the server made.
    teaching: the job that it started last, if any. draft: the model that the job made, until accepted or discarded.
    """

    bucket: Bucket
    pictures: dict[str, Picture] = dataclasses.field(default_factory=dict)
    teaching: Teaching | None = None
    draft: Predictor | None = None

    def collect(self, picture: Picture) -> str:
        """Adds a face; returns its key.

        Raises:
          Refusal: 409, there are as many as can be taught at once.
        """
        if len(self.pictures) >= MOST_IMAGES:
            raise Refusal(409, f"there are {MOST_IMAGES} pictures already; teach these, or remove some")
        key = secrets.token_hex(8)
        self.pictures[key] = picture
        return key


class Visitors:
    """The browsers that may ask, and the link that lets the next one in.

    Args:
      tell: is given each new link's token. A link works once; whoever uses it makes the next one.
    """

    def __init__(self, limits: Limits, tell: Callable[[str], None]):
        self._limits, self._tell = limits, tell
        self._by_digest: dict[str, Visitor] = {}
        self._token = ""

    def invite(self) -> None:
        """Makes a new link, which replaces the one before."""
        self._token = secrets.token_urlsafe(24)
        self._tell(self._token)

    def enter(self, token: str) -> str:
        """Takes a link's token; returns the key that the browser shows from then on.

        Raises:
          Refusal: 403, the link was used before or never was one.
        """
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise Refusal(403, "this link was used before, or is none; the terminal shows the next one")
        self.invite()
        key = secrets.token_urlsafe(32)
        while len(self._by_digest) >= self._limits.browsers:
            del self._by_digest[next(iter(self._by_digest))]
        self._by_digest[_digest(key)] = Visitor(Bucket(self._limits.per_second, self._limits.burst))
        return key

    def of(self, key: str) -> Visitor:
        """Returns the browser that shows a key, and counts its request.

        Raises:
          Refusal: 401, none has it; 429, it asked too often.
        """
        visitor = self._by_digest.get(_digest(key))
        if visitor is None:
            raise Refusal(401, "open the link that the terminal shows; it works once, in one browser")
        visitor.bucket.take()
        return visitor


def _digest(key: str) -> str:
    # Looked up by digest, so that the time it takes tells nothing of the keys.
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
