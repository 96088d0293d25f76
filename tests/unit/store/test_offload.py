"""Threads of the store's own."""

import asyncio
import threading
from functools import partial

import pytest

from posthouse.store.sqlite.offload import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads("test", 1)
    assert await threads(lambda: threading.current_thread().name) == "test-0"
    with pytest.raises(ZeroDivisionError):
        await threads(lambda: 1 // 0)
    threads.close()


async def test_calls_of_one_thread_keep_their_order() -> None:
    threads = Threads("test", 1)
    ran: list[int] = []
    await asyncio.gather(*(threads(partial(ran.append, n)) for n in range(100)))
    assert ran == list(range(100))
    threads.close()


async def test_several_threads_run_at_the_same_time() -> None:
    threads = Threads("test", 2)
    meeting = threading.Barrier(2, timeout=10)
    await asyncio.gather(threads(meeting.wait), threads(meeting.wait))
    threads.close()


async def test_who_stopped_waiting_disturbs_nobody() -> None:
    threads = Threads("test", 1)
    go = threading.Event()
    waiting = asyncio.ensure_future(threads(lambda: go.wait(10)))
    failing = asyncio.ensure_future(threads(lambda: 1 // 0))
    await asyncio.sleep(0)
    waiting.cancel()
    failing.cancel()
    go.set()
    assert await threads(lambda: 5) == 5
    threads.close()


def test_a_loop_that_ended_is_no_trouble() -> None:
    """A commit may outlive the loop when a process is told to stop at once."""
    threads = Threads("test", 1)
    go, gone = threading.Event(), threading.Event()

    async def leave() -> None:
        asyncio.ensure_future(threads(lambda: go.wait(10)))  # noqa: RUF006 - it is abandoned on purpose
        await asyncio.sleep(0)

    asyncio.run(leave())
    go.set()

    async def come_back() -> None:
        await threads(gone.set)

    asyncio.run(come_back())
    assert gone.is_set()
    threads.close()
