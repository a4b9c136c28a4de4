"""How long a connection may be silent: uvicorn itself waits for ever for a request's head and for a slow reader.

uvicorn is imported when a server is made, since only the extra `serve` installs it.
"""

from typing import Any

from fer_jax.serve.limits import Limits


def protocol(limits: Limits) -> Any:
    """Returns the class that uvicorn makes for each connection: HTTP by h11, which ends those that keep it waiting.

    A connection may be without a request for `head_seconds` (after an answer uvicorn itself ends it sooner, if nothing
    comes at all), and may leave an answer unread for `answer_seconds`. What follows it must be the next request's head.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        _head = _answer = None  # timers

        def connection_made(self, transport):
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data):
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._expect_head()
            else:
                self._head = _ended(self._head)

        def _expect_head(self):
            # Not anew with each byte, or one a second would hold the connection for ever.
            self._head = self._head or self.loop.call_later(limits.head_seconds, self.transport.abort)

        def pause_writing(self):
            super().pause_writing()
            self._answer = self._answer or self.loop.call_later(limits.answer_seconds, self.transport.abort)

        def resume_writing(self):
            super().resume_writing()
            self._answer = _ended(self._answer)

        def connection_lost(self, exc):
            self._head, self._answer = _ended(self._head), _ended(self._answer)
            super().connection_lost(exc)

    return Impatient


def _ended(timer) -> None:
    if timer is not None:
        timer.cancel()
