"""What isod tells of itself on SIGUSR1."""

import asyncio
import socket
import time

from isod import counters


def test_the_longest_turn_counts_and_waiting_does_not() -> None:
    async def work() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, counters.MeasuredLoop)
        loop.selector.longest_turn_sec()
        await asyncio.sleep(0.3)
        waited = loop.selector.longest_turn_sec()
        time.sleep(0.2)  # noqa: ASYNC251 - holding the loop is what is measured
        await asyncio.sleep(0)
        held = loop.selector.longest_turn_sec()
        await asyncio.sleep(0)
        return [waited, held, loop.selector.longest_turn_sec()]

    with asyncio.Runner(loop_factory=counters.MeasuredLoop) as runner:
        waited, held, after = runner.run(work())
    assert held[0] >= 0.2
    assert held[1] < held[0]
    assert max(waited[0], after[0]) < held[0]


async def test_counters_are_of_this_process() -> None:
    before = counters.read([], [], 0)
    with socket.socket():
        task = asyncio.create_task(asyncio.sleep(60))
        now = counters.read([], [], 0)
    task.cancel()
    assert (now["fds"], now["tasks"]) == (before["fds"] + 1, before["tasks"] + 1)
    assert (now["containers"], now["apps"]) == (0, 0)
