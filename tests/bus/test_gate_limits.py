"""How many calls and subscriptions a user may have, and that whatever is over is refused at once."""

import asyncio
import contextlib
import pwd
import time
from itertools import cycle, islice
from typing import Any

import pytest

from attacker import CALL, DESTINATION, INTERFACE, MEMBER, PATH, Attack, raw_message
from isod.bus.objects.app import AppObject
from isod.settings import Limits
from isod_contract import names
from isod_side import ALICE, ALICES_APP, BOB, ROOT, FakeApp, IsodSide, call, refused, until
from isod_wire import Connection, RemoteError, WireError

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
async def test_uids_that_are_one_users_have_the_limits_of_one_uid(isod: IsodSide, bob: Connection) -> None:
    """Second attack, 4: whoever has subordinate uids (subuid(5)) had as many shares as those are."""
    isod.limits = Limits(calls_burst=16, calls_per_sec=1)
    uids = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (ROOT, BOB)][:4]
    if isod.bus.kind == "dbus-broker":
        uids = [100_000 + number for number in range(20)]
    else:
        # It turns away who has no account on the host.
        with pytest.raises(WireError):
            await isod.client(100_000)
    isod.shares = dict.fromkeys(uids, uids[0])
    refusals = []
    clients = [await isod.client(uid) for uid in uids]
    for client in islice(cycle(clients), 20):
        try:
            await call(client, "Introspect", interface="org.freedesktop.DBus.Introspectable")
        except RemoteError as error:
            refusals.append(error.text)
    assert 2 <= len(refusals) <= 4
    assert refusals[-1] == "limit reached: more than 1 calls per second"
    await call(bob, "Subscribe")
    # A range that changes meanwhile leaves nothing counted for ever.
    isod.shares.clear()
    await asyncio.sleep(0.05)  # what floods is shed unread for 10 ms
    await call(clients[1], "Subscribe")


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


def many_apps(isod: IsodSide, count: int) -> None:
    argv = ("sh", "-c", "x" * 60)
    isod.apps.all += [FakeApp(f"{number:032x}", ALICE, argv=argv, started_usec=number + 2) for number in range(count)]


@pytest.mark.attack("C15")
async def test_long_answers_count_by_their_size(isod: IsodSide, alice: Connection, bob: Connection) -> None:
    """F17: 3,000 lists of 240 KiB each were as cheap as 3,000 pings, and held others for 3.5 s."""
    many_apps(isod, 320)
    lists = 0
    text = ""
    while not text and lists < 100:
        try:
            # each another page, so that none was made before
            await call(alice, "ListAppsAfter", "ts", [1, f"{lists:032x}"])
        except RemoteError as error:
            text = error.text
        lists += 1
    assert 5 < lists < 40
    assert "400 KiB of answers per second" in text
    assert await call(bob, "ListApps")
    # It is reading that is too much, nothing else of hers.
    assert await call(alice, "Run", "sasa{sv}", ["blog", ["true"], {}])
    own = {"path": names.app_path(ALICES_APP), "interface": names.PROPERTIES}
    assert await call(alice, "GetAll", "s", [names.APP], **own)
    isod.limits = Limits(calls_burst=65536, calls_per_sec=10_000)
    await asyncio.sleep(0.5)
    assert await call(alice, "ListAppsAfter", "ts", [1, ""])


async def test_a_list_is_made_once_for_as_long_as_nothing_changes(isod: IsodSide, alice: Connection) -> None:
    many_apps(isod, 320)
    made: list[str] = []
    listed = AppObject.listed

    def counted(self: AppObject, app: Any) -> Any:
        made.append(app.id)
        return listed(self, app)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppObject, "listed", counted)
        first = await call(alice, "ListApps")
        count = len(made)
        for _ in range(100):
            assert await call(alice, "ListApps") == first
        assert len(made) == count
        isod.apps.all[-1].state = "exited"
        isod.endpoint.subscriptions.app_changed(isod.apps.all[-1], frozenset({"State"}))
        assert await call(alice, "ListApps") != first


async def test_pages_have_every_app_once_and_in_order(isod: IsodSide, alice: Connection) -> None:
    """F11: what did not fit into one message was nowhere."""
    many_apps(isod, 1000)
    found: list[str] = []
    after, more = [0, ""], True
    pages = 0
    isod.limits = Limits(calls_burst=65536)
    while more:
        page, more = await call(alice, "ListAppsAfter", "ts", after)
        found += [values["Id"].value for _, values in page]
        after = [page[-1][1]["StartedUSec"].value, found[-1]]
        pages += 1
    assert pages > 2
    own = [app for app in isod.apps.all if app.owner_uid == ALICE]
    assert found == [app.id for app in sorted(own, key=lambda app: (app.started_usec, app.id))]


@pytest.mark.attack("C15")
async def test_a_reader_that_never_reads_holds_nobody(isod: IsodSide, bob: Connection, attack: Attack) -> None:
    """F17, R17: others wait less than a second."""
    many_apps(isod, 320)
    client = attack(ALICE)
    target = {PATH: names.ROOT_PATH, INTERFACE: names.MANAGER, MEMBER: "ListApps", DESTINATION: names.BUS_NAME}
    message = raw_message(CALL, target, serial=7)
    client.sock.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError, OSError):
        while sent < 3000:
            client.sock.send(message)
            sent += 1
    assert sent > 50
    longest_sec = 0.0
    for _ in range(20):
        began_sec = time.monotonic()
        await call(bob, "ListContainers")
        longest_sec = max(longest_sec, time.monotonic() - began_sec)
    assert longest_sec < 1.0
