"""Blocking work on a container's files, and when the descriptors that it works from may be closed."""

import asyncio
import threading

import pytest

from isod.host.offload import Offload
from isod_contract.errors import ContainerGone


async def test_it_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    offload = Offload("blog")
    assert await offload.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await offload.run(lambda: 1 // 0)


@pytest.mark.attack("C01")
async def test_closing_waits_for_work_that_nobody_waits_for_any_more() -> None:
    """Else a thread goes on from a number that is another container's root by then."""
    offload, goes_on, ended = Offload("blog"), threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait(20)
        ended.set()

    waiting = asyncio.create_task(offload.run(work))
    await asyncio.sleep(0.05)
    waiting.cancel()
    closing = asyncio.create_task(offload.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    goes_on.set()
    await asyncio.wait_for(closing, 20)
    assert ended.is_set()


async def test_after_closing_nothing_is_done() -> None:
    offload = Offload("blog")
    await offload.close()
    done: list[int] = []
    with pytest.raises(ContainerGone):
        await offload.run(lambda: done.append(1))
    assert not done
