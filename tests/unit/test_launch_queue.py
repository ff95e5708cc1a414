"""Whose turn it is among launches: bounds, order, and that nobody's place is lost or kept."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.queue import LaunchQueue
from isod.settings import Limits
from isod_contract import limits
from isod_contract.errors import LimitExceeded

ALICE, BOB = (1000, "blog"), (1001, "blog")
ELSEWHERE = (1000, "shop")


def queue(starting: int = 2, queued: int = 2) -> LaunchQueue:
    return LaunchQueue(Limits(launches_starting=starting, launches_queued=queued).of)


async def test_so_many_start_at_once_and_so_many_wait_in_their_order() -> None:
    turns = queue()
    places = [turns.join(ALICE) for _ in range(4)]
    assert [place.done() for place in places] == [True, True, False, False]
    with pytest.raises(LimitExceeded, match="4 launches of uid 1000 in container blog are under way"):
        turns.join(ALICE)
    turns.leave(ALICE, places[1])
    assert [place.done() for place in places] == [True, True, True, False]
    turns.leave(ALICE, places[0])
    assert places[3].done()


async def test_nobody_waits_for_another_user() -> None:
    turns = queue(starting=1, queued=0)
    turns.join(ALICE)
    with pytest.raises(LimitExceeded):
        turns.join(ALICE)
    assert turns.join(BOB).done()


async def test_hung_neighbour_launches_elsewhere_do_not_wait_for_those_into_a_silent_container() -> None:
    """A10: one silent container costs the others nothing, not even of the same user."""
    turns = queue(starting=1, queued=0)
    turns.join(ALICE)
    assert turns.join(ELSEWHERE).done()


async def test_who_gives_up_waiting_leaves_his_place() -> None:
    turns = queue(starting=1, queued=2)
    first, gives_up, last = (turns.join(ALICE) for _ in range(3))
    gives_up.cancel()
    turns.leave(ALICE, gives_up)
    turns.leave(ALICE, first)
    assert last.done()
    assert not last.cancelled()


async def test_one_that_is_cancelled_just_as_its_turn_comes_passes_it_on() -> None:
    turns = queue(starting=1, queued=2)
    first, cancelled, last = (turns.join(ALICE) for _ in range(3))
    cancelled.cancel()
    turns.leave(ALICE, first)
    turns.leave(ALICE, cancelled)
    assert last.done()


async def test_a_reload_that_allows_more_lets_more_in() -> None:
    now = Limits(launches_starting=1, launches_queued=4)
    turns = LaunchQueue(lambda _uid: now)
    places = [turns.join(ALICE) for _ in range(4)]
    now = Limits(launches_starting=3, launches_queued=4)
    turns.leave(ALICE, places[0])
    assert [place.done() for place in places] == [True, True, True, True]


async def test_uid_0_is_held_to_the_largest_values_alone() -> None:
    turns = queue(starting=1, queued=0)
    starting, queued = (limits.PER_UID[key].most for key in ("launches_starting", "launches_queued"))
    places = [turns.join((0, "blog")) for _ in range(starting + queued)]
    assert sum(place.done() for place in places) == starting
    with pytest.raises(LimitExceeded):
        turns.join((0, "blog"))


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "cancel"]), st.integers(0, 9)), max_size=60))
def test_whatever_happens_as_many_start_as_may(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        turns = queue(starting=2, queued=3)
        inside: list[asyncio.Future[None]] = []
        for step, which in steps:
            if step == "join":
                try:
                    inside.append(turns.join(ALICE))
                except LimitExceeded:
                    assert len(inside) == 5
            elif inside:
                place = inside.pop(which % len(inside))
                if step == "cancel":
                    place.cancel()
                turns.leave(ALICE, place)
            assert sum(place.done() for place in inside) == min(2, len(inside))
        for place in inside:
            turns.leave(ALICE, place)
        assert not turns._starting
        assert not turns._waiting

    asyncio.run(play())
