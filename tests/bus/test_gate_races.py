"""Many callers at once, each asked about under its own name, and callers that leave at every moment of their call."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from attacker import Attack
from isod_contract import names
from isod_contract.actions import MANAGE
from isod_side import ALICE, BOB, YES, FakePolkit, IsodSide, call, until
from isod_wire import RemoteError, Variant

RELOAD = ("Reload", "a{sv}", [{}])


@pytest.mark.attack("C05")
async def test_each_of_a_thousand_questions_is_about_its_own_caller(
    isod: IsodSide, polkit: FakePolkit, attempts: Callable[..., int]
) -> None:
    """S05, CVE-2013-4288: a subject that is mixed up, or that another can become, answers for somebody else."""
    polkit.at_once = YES
    clients = [await isod.client(uid) for uid in (ALICE, BOB) * 10]
    asked: Counter[str] = Counter()
    for _ in range(attempts(1000) // 20):
        callers = random.choices(clients, k=20)
        asked.update(client.unique_name for client in callers)
        await asyncio.gather(*(call(client, *RELOAD, allow_interactive=True) for client in callers))
    assert Counter(polkit.subjects) == asked
    assert polkit.asked == {("system-bus-name", MANAGE.id)}


@pytest.mark.attack("C06")
async def test_callers_that_leave_at_any_moment_leave_nothing(
    isod: IsodSide, polkit: FakePolkit, attack: Attack, attempts: Callable[..., int]
) -> None:
    """S06, CVE-2021-3560: an error about a name that has vanished was once taken for uid 0."""
    polkit.at_once = YES
    calls = (
        ("Reload", "a{sv}", [{}]),
        ("Run", "sasa{sv}", ["blog", ["true"], {}]),
        ("ListContainers", "", []),
        ("Subscribe", "", []),
    )
    count = attempts(5000, 400)

    async def come_and_go(number: int) -> None:
        client = await asyncio.to_thread(attack, ALICE)
        member, signature, body = calls[number % len(calls)]
        client.call(names.BUS_NAME, member, signature, body, path=names.ROOT_PATH, interface=names.MANAGER)
        await asyncio.sleep(random.uniform(0, 0.005))
        client.close()

    for number in range(count):
        await come_and_go(number)
    gate = isod.endpoint.gate
    await until(lambda: not gate._tasks)
    await until(lambda: not isod.endpoint.callers._lookups and not isod.endpoint.callers._uids)
    assert not gate._open
    assert not isod.prompts._open
    assert not isod.endpoint.subscriptions._subscribers
    # Whoever was served had credentials: nobody without any was ever taken for somebody.
    assert set(isod.reloads) <= {ALICE}
    assert {uid for uid, *_ in isod.launcher.launches} <= {ALICE}
    assert {record["uid"] for record in isod.audit.decisions(outcome="allowed")} <= {ALICE}


@pytest.mark.attack("C06")
async def test_a_yes_that_comes_after_the_end_does_nothing(isod: IsodSide, attempts: Callable[..., int]) -> None:
    """CVE-2021-3560: polkit answers yes each time, but only once it knows that the caller is gone."""
    polkit = await isod.start_polkit()
    polkit.at_once = None
    for _ in range(attempts(1000, 60)):
        client = await isod.client(ALICE)
        asking = asyncio.create_task(call(client, *RELOAD))
        await until(lambda: polkit.open)
        await client.close()
        await asyncio.gather(asking, return_exceptions=True)
        for cancellation in list(polkit.open):
            polkit.answer(polkit.open.pop(cancellation), YES)
    await until(lambda: not isod.endpoint.gate._tasks)
    assert not isod.reloads


@pytest.mark.attack("C07")
async def test_what_a_message_says_of_its_sender_is_not_believed(isod: IsodSide) -> None:
    """CVE-2018-1116, CVE-2019-7304: a uid that the caller himself has written."""
    bob = await isod.client(BOB)
    for options in (
        {"via": Variant("a{sv}", {"uid": Variant("u", ALICE), "pid": Variant("u", 1)})},
        {"uid": Variant("u", ALICE)},
        {"user": Variant("s", "root"), "owner": Variant("u", 0)},
    ):
        with pytest.raises(RemoteError):
            await call(bob, "Run", "sasa{sv}", ["blog", ["true"], options])
    assert not isod.launcher.launches
