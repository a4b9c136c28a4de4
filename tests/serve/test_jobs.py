"""One question at a time and a short queue; one teaching at a time, whatever becomes of it."""

import asyncio
import threading

import pytest

from fer_jax.errors import UserError
from fer_jax.serve.jobs import Queue, Teacher, Teaching
from fer_jax.serve.limits import Refusal


def test_questions_are_answered_one_at_a_time_in_order_and_a_full_queue_is_busy():
    queue, go, running, order = Queue(waiting=2), threading.Event(), [], []

    def question(i):
        running.append(i)
        assert len(running) == 1
        go.wait(10)
        order.append(i)
        running.remove(i)
        return i

    async def ask():
        asked = [asyncio.ensure_future(queue.run(lambda i=i: question(i))) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await queue.run(lambda: question(3))
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        assert refused.value.message == "busy: 3 questions are before this one; try again"
        go.set()
        assert await asyncio.gather(*asked) == [0, 1, 2]
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 / 0)
        assert await queue.run(lambda: question(4)) == 4

    asyncio.run(ask())
    queue.close()
    assert order == [0, 1, 2, 4]


def test_one_class_is_taught_at_a_time_and_a_failure_frees_the_turn(logged):
    teacher, go = Teacher(), threading.Event()
    first, second, third, fourth = (Teaching(name, "first") for name in ("a", "b", "c", "d"))

    def work(tell):
        tell("waiting")
        go.wait(10)
        return "a model", {"images": 1}

    def fails(error):
        def work(tell):
            raise error

        return work

    teacher.prepare(lambda: 1 / 0)
    teacher.start(first, work)
    with pytest.raises(Refusal) as refused:
        teacher.start(second, work)
    assert (refused.value.status, second.lines) == (503, [])
    go.set()
    with teacher._turn:
        pass
    assert (first.state, first.lines, first.draft, first.result) == ("done", ["waiting"], "a model", {"images": 1})
    first.settle("accepted")
    assert (first.state, first.draft) == ("accepted", None)
    assert len({one.key for one in (first, second, third, fourth)}) == 4
    teacher.start(third, fails(UserError("the data are gone")))
    with teacher._turn:
        pass
    assert (third.state, third.problem, logged.text) == ("failed", "the data are gone", "")
    teacher.start(fourth, fails(RuntimeError("a fault\nof two lines")))
    teacher.close()
    assert (fourth.state, fourth.problem) == ("failed", "a fault")
    assert "of two lines" in logged.text
