"""Work in threads of isod-session whose result nobody waits for any more."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from isod_session.threads import in_thread


async def test_its_result_is_given() -> None:
    assert await in_thread(divmod, 7, 2, undo=lambda _result: pytest.fail("it was taken")) == (3, 1)


async def test_its_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0, undo=lambda _result: pytest.fail("there is none"))


async def test_what_a_thread_opened_for_who_left_is_closed() -> None:
    """A compositor's connection stayed open when isod-session had just turned to another one."""
    begun, go_on, undone = threading.Event(), threading.Event(), threading.Event()
    opened: list[int] = []

    def opens() -> int:
        begun.set()
        go_on.wait(10)
        opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        return opened[0]

    def undo(fd: int) -> None:
        os.close(fd)
        undone.set()

    task = asyncio.create_task(in_thread(opens, undo=undo))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not undone.is_set()
    go_on.set()
    assert await asyncio.to_thread(undone.wait, 10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


async def test_what_was_opened_just_before_they_left_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Event()

    async def done_and_not_taken(body: Callable[[], None]) -> None:
        body()
        done.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "to_thread", done_and_not_taken)
    undone: list[int] = []
    task = asyncio.create_task(in_thread(int, "7", undo=undone.append))
    await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [7]


@pytest.mark.parametrize("is_short", [False, True], ids=["threads are busy", "there can be no thread"])
async def test_work_that_never_began_owns_nothing(monkeypatch: pytest.MonkeyPatch, is_short: bool) -> None:
    """Who left while all threads were busy left a descriptor open; one without a thread had its number closed later."""
    go_on, begun = threading.Event(), threading.Event()
    worked: list[int] = []
    let_go: list[bool] = []
    executor = ThreadPoolExecutor(max_workers=1)
    asyncio.get_running_loop().set_default_executor(executor)

    def busy() -> None:
        begun.set()
        go_on.wait(10)

    with monkeypatch.context() as short:
        if is_short:
            short.setattr(threading.Thread, "start", _no_thread)
        else:
            executor.submit(busy)
            assert begun.wait(10)
        task = asyncio.create_task(
            in_thread(worked.append, 7, undo=lambda _: pytest.fail("it was done"), unbegun=lambda: let_go.append(True))
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(RuntimeError if is_short else asyncio.CancelledError):
            await task
    assert let_go == [True]
    go_on.set()
    await asyncio.to_thread(int)
    assert worked == []


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
