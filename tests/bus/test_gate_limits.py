"""How many calls and subscriptions a user may have, and that whatever is over is refused at once."""

import asyncio

import pytest

from isod.settings import Limits
from isod_contract import names
from isod_side import ALICE, ROOT, IsodSide, call, refused, until
from isod_wire import Connection, RemoteError

BLOG = names.container_path("blog")


@pytest.mark.attack("C15")
async def test_open_calls_are_bounded_over_all_connections_of_a_uid(
    isod: IsodSide, alice: Connection, bob: Connection
) -> None:
    isod.limits = Limits(calls_open=16)
    isod.containers.hold.clear()
    clients = [alice, await isod.client(ALICE)]
    start = ("Start", "a{sv}", [{}])
    waiting = [
        asyncio.create_task(call(clients[turn % 2], *start, path=BLOG, interface=names.CONTAINER)) for turn in range(16)
    ]
    await until(lambda: len(isod.containers.calls) == 16)
    for client in (*clients, await isod.client(ALICE)):
        assert (await refused(client, "ListContainers"))[0] == "LimitExceeded"
    assert await call(bob, "ListContainers")
    assert await call(await isod.client(ROOT), "ListContainers")
    isod.containers.hold.set()
    await asyncio.gather(*waiting)
    assert await call(alice, "ListContainers")


@pytest.mark.attack("C15")
async def test_calls_that_come_before_it_is_known_who_calls_are_bounded(isod: IsodSide) -> None:
    client = await isod.client(ALICE)
    results = await asyncio.gather(*(call(client, "ListContainers") for _ in range(40)), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    assert 0 < len(errors) <= 32
    assert {getattr(error, "name", error) for error in errors} == {"org.isoctl1.Error.LimitExceeded"}
    assert await call(client, "ListContainers")


@pytest.mark.attack("C15")
async def test_calls_in_a_second_are_bounded_over_all_connections_of_a_uid(isod: IsodSide, bob: Connection) -> None:
    isod.limits = Limits(calls_burst=16, calls_per_sec=1)
    clients = [await isod.client(ALICE) for _ in range(2)]
    refusals = []
    for turn in range(40):
        try:
            await call(clients[turn % 2], "ListContainers")
        except RemoteError as error:
            refusals.append((error.name, error.text))
    # it may take a while here
    assert len(refusals) >= 8
    assert set(refusals) == {("org.isoctl1.Error.LimitExceeded", "limit reached: more than 1 calls per second")}
    assert await call(bob, "ListContainers")
    # a reload of the policy acts at once
    isod.limits = Limits(calls_burst=16, calls_per_sec=10_000)
    await asyncio.sleep(0.02)
    assert await call(clients[0], "ListContainers")


@pytest.mark.attack("C15")
async def test_subscribers_of_a_uid_are_bounded_and_a_place_is_free_again_when_one_leaves(isod: IsodSide) -> None:
    clients = [await isod.client(ALICE) for _ in range(3)]
    for client in clients[:2]:
        await call(client, "Subscribe")
        await call(client, "Subscribe")
    assert (await refused(clients[2], "Subscribe"))[0] == "LimitExceeded"
    await clients[0].close()
    await until(lambda: isod.sessions.gone)
    await call(clients[2], "Subscribe")
