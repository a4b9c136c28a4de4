"""What a browser may send: how large, how often, and what is refused with which status. Knows no web framework."""

import dataclasses
import time
from collections.abc import Callable


class Refusal(Exception):
    """An answer other than success: its HTTP status, one line that says why, and seconds until to try again."""

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one server.

    picture_bytes, json_bytes: of a request's body. picture_pixels: width × height, told before a picture is decoded.
    scans: of a progressive JPEG, each of which is a pass over all of its pixels.
    head_seconds, upload_seconds: for a request's head, and for its whole body. answer_seconds: for reading an answer.
    connections: at once, of all browsers. per_second, burst: requests of one browser.
    waiting: questions in the queue for the model. faces: answered in one picture. browsers: remembered at once.
    """

    picture_bytes: int = 10_000_000
    json_bytes: int = 16_384
    picture_pixels: int = 20_000_000
    scans: int = 32
    head_seconds: float = 10.0
    upload_seconds: float = 30.0
    answer_seconds: float = 30.0
    connections: int = 64
    per_second: float = 40.0
    burst: int = 80
    waiting: int = 16
    faces: int = 8
    browsers: int = 32


class Bucket:
    """Counts requests: `burst` at once, then `per_second`."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._seen = float(burst), clock()

    def take(self) -> None:
        """Takes one request.

        Raises:
          Refusal: 429, there were too many.
        """
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._seen) * self._per_second)
        self._seen = now
        if self._left < 1:
            raise Refusal(429, "too many requests; wait a second", retry_after=1)
        self._left -= 1
