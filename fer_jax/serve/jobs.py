"""One question at a time for the model, with a short queue; one teaching at a time, with none."""

import asyncio
import dataclasses
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fer_jax.errors import UserError, first_line
from fer_jax.inference.predict import Predictor
from fer_jax.runs.progress import log
from fer_jax.serve.limits import Refusal

Answer = TypeVar("Answer")


class Queue:
    """Runs functions one at a time on a thread of its own.

    Args:
      waiting: how many may wait behind the one that runs.
    """

    def __init__(self, waiting: int):
        self._most, self._there = 1 + waiting, 0
        self._thread = ThreadPoolExecutor(1, "ask")

    async def run(self, function: Callable[[], Answer]) -> Answer:
        """Returns what a function returns, when its turn has come.

        Raises:
          Refusal: 503, too many wait.
        """
        if self._there >= self._most:
            raise Refusal(503, f"busy: {self._there} questions are before this one; try again", retry_after=1)
        self._there += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        finally:
            self._there -= 1

    def close(self) -> None:
        """Waits for the function that runs; those behind it are dropped."""
        self._thread.shutdown(cancel_futures=True)


@dataclasses.dataclass
class Teaching:
    """A class that is being taught.

    name: the class's. model: key of the model that it builds on. pictures: keys of those that it is learned from.
    key: what requests name the model by that is made, until it is accepted or discarded. draft: that model.
    state: running, done, failed, accepted or discarded. lines: what was done so far, the last one in progress.
    result: what the page is told of a model that is done. problem: why it failed, one line.
    """

    name: str
    model: str
    pictures: tuple[str, ...] = ()
    key: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    draft: Predictor | None = None
    state: str = "running"
    lines: list[str] = dataclasses.field(default_factory=list)
    result: dict = dataclasses.field(default_factory=dict)
    problem: str | None = None

    def settle(self, state: str) -> None:
        """Ends the wait for a decision: accepted or discarded."""
        self.state, self.draft = state, None


Work = Callable[[Callable[[str], None]], tuple[Predictor | None, dict]]


class Teacher:
    """Teaches one class at a time, on a thread of its own, so that questions are answered meanwhile."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, "teach")
        self._turn = threading.Lock()

    def prepare(self, work: Callable[[], object]) -> None:
        """Runs something before the first class is taught, which waits for it; what it raises is passed over."""
        self._thread.submit(work)

    def start(self, teaching: Teaching, work: Work) -> None:
        """Starts to teach; `work` is given what to tell its progress to, and returns the model and the result.

        Raises:
          Refusal: 503, another class is being taught.
        """
        if not self._turn.acquire(blocking=False):
            raise Refusal(
                503, "busy: a class is being taught, and one is at a time; try again when it is done", retry_after=5
            )
        self._thread.submit(self._teach, teaching, work)

    def _teach(self, teaching: Teaching, work: Work) -> None:
        try:
            teaching.draft, teaching.result = work(teaching.lines.append)
            teaching.state = "done"  # the last, since other threads go by it
        except Exception as error:  # whatever it is, the next one gets its turn and the browser is told
            if not isinstance(error, UserError | OSError):
                log.exception("teaching %s failed", teaching.name)
            teaching.problem, teaching.state = first_line(error), "failed"
        finally:
            self._turn.release()

    def close(self) -> None:
        """Waits for the class that is being taught."""
        self._thread.shutdown()
