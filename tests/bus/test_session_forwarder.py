"""What passes through isod-session, and what it keeps to itself."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from desktop import APP_PATH, Desktop, call, running_desktop, started, until
from isod_contract import names
from isod_wire import SESSION_CAPS, SYSTEM_BUS_CAPS, MatchRule, Message, RemoteError, Variant, connect


@pytest_asyncio.fixture
async def desktop(tmp_path: Path) -> AsyncIterator[Desktop]:
    async with running_desktop(tmp_path) as made:
        yield made


async def test_calls_go_to_isod_as_they_are(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    values = [Variant("a{sv}", {"x": Variant("(iasd)", [1, ["a", ""], 0.5])}), "é\n", ["a", "--", ""]]
    isod.answers["GetAll"] = lambda asked: isod.connection.reply(asked, "a{sv}s", [{"X": values[0]}, "ü"])
    path = names.container_path("Blog-1")
    with await call(client, "GetAll", "vsas", values, path=path, interface=names.PROPERTIES) as reply:
        assert (reply.signature, reply.body) == ("a{sv}s", [{"X": values[0]}, "ü"])
    (received,) = isod.named("GetAll")
    assert (received.path, received.interface, received.signature) == (path, names.PROPERTIES, "vsas")
    assert received.body == values
    assert not received.allow_interactive


async def test_the_leave_to_ask_is_passed_on(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Reload", "a{sv}", [{}], allow_interactive=True)).close()
    assert isod.named("Reload")[0].allow_interactive


async def test_descriptors_pass_both_ways_and_none_stays(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    assert desktop.process is not None
    fd_directory = Path(f"/proc/{desktop.process.pid}/fd")
    ours, theirs = os.pipe()
    isod.answers["OpenLog"] = lambda asked: isod.connection.reply(asked, "h", [0], [theirs])
    isod.answers["Broken"] = lambda asked: isod.connection.reply_error(asked, "a.b", "c")

    async def once() -> None:
        with await call(client, "OpenLog", "a{sv}", [{}], path=APP_PATH, interface=names.APP) as reply:
            received = reply.take_fd(reply.body[0])
            os.write(received, b"x")
            os.close(received)
        assert os.read(ours, 2) == b"x"
        options = {"stdin": Variant("h", 1), "stdout": Variant("h", 0)}
        (await call(client, "Run", "sasa{sv}", ["blog", ["true"], options], fds=[theirs, ours])).close()
        run = isod.named("Run")[-1]
        assert (run.body[2]["stdin"], run.body[2]["stdout"]) == (Variant("h", 1), Variant("h", 0))
        for given, arrived in zip((theirs, ours), isod.fds[-2:], strict=True):
            assert os.path.sameopenfile(given, arrived)
        with pytest.raises(RemoteError):
            await call(client, "Broken", "h", [0], fds=[ours])

    await once()
    before = len(os.listdir(fd_directory))
    for _ in range(5):
        await once()
    await until(lambda: len(os.listdir(fd_directory)) <= before)
    os.close(ours)
    os.close(theirs)


async def test_errors_come_back_word_for_word(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    isod.answers["GetContainer"] = lambda asked: isod.connection.reply_error(
        asked, names.BUS_NAME + ".Error.NoSuchContainer", "no container 'x'"
    )
    with pytest.raises(RemoteError) as caught:
        await call(client, "GetContainer", "s", ["x"])
    assert (caught.value.name, caught.value.text) == (names.BUS_NAME + ".Error.NoSuchContainer", "no container 'x'")


@pytest.mark.attack("C23")
@pytest.mark.parametrize(
    ("member", "interface", "signature", "body"),
    [
        ("Run", names.MANAGER, "sasa{sv}", ["blog", ["true"], {}]),
        ("Start", names.CONTAINER, "a{sv}", [{}]),
        ("Stop", names.CONTAINER, "a{sv}", [{"force": Variant("b", True)}]),
    ],
)
async def test_who_asked_is_claimed_by_us_not_by_him(
    desktop: Desktop, member: str, interface: str, signature: str, body: list[Any]
) -> None:
    isod, client = await started(desktop)
    forged = Variant("a{sv}", {"pid": Variant("u", 1), "unit": Variant("s", "init.scope")})
    for options in (body[-1], {**body[-1], "via": forged}):
        (await call(client, member, signature, [*body[:-1], options], interface=interface)).close()
        received = isod.named(member)[-1].body[-1]
        assert received["via"].value["pid"] == Variant("u", os.getpid())
        assert received["via"].value["unit"].signature == "s"
        assert {key: value for key, value in received.items() if key != "via"} == body[-1]


async def test_other_calls_get_no_claim(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Reload", "a{sv}", [{}])).close()
    (await call(client, "History", "a{sv}", [{}])).close()
    assert isod.named("Reload")[0].body == isod.named("History")[0].body == [{}]


async def test_a_malformed_run_is_isods_to_refuse(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Run", "i", [3])).close()
    assert isod.named("Run")[0].body == [3]


async def test_calls_of_one_caller_keep_their_order(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    calls = [call(client, "GetApp", "s", [str(number)]) for number in range(50)]
    for reply in await asyncio.gather(*calls):
        reply.close()
    assert [received.body[0] for received in isod.named("GetApp")] == [str(number) for number in range(50)]


@pytest.mark.attack("C23")
async def test_the_session_is_not_for_callers_of_the_session_bus_to_register(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    before = len(isod.sessions)
    with pytest.raises(RemoteError, match=r"Unsupported: .*system bus only"):
        await call(client, "RegisterSession", "a{sv}", [{}])
    assert len(isod.sessions) == before


async def test_one_caller_cannot_end_the_signals_of_all(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    for member in ("Subscribe", "Unsubscribe", "Subscribe"):
        (await call(client, member)).close()
    assert len(isod.named("Subscribe")) == 1
    assert isod.named("Unsubscribe") == []


async def test_signals_of_isod_reach_every_listener(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    listener = await desktop.client()
    heard: list[list[Message]] = [[], []]
    for connection, messages in zip((client, listener), heard, strict=True):
        await connection.add_match(MatchRule(sender=names.BUS_NAME), messages.append)
    destination = isod.named("Subscribe")[0].sender
    properties = {"State": Variant("s", "running")}
    isod.connection.emit(names.ROOT_PATH, names.MANAGER, "AppAdded", "o", [APP_PATH], destination=destination)
    change = [names.APP, properties, []]
    isod.connection.emit(APP_PATH, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", change, destination=destination)
    isod.connection.emit(APP_PATH, names.APP, "Exited", "ii", [7, 0], destination=destination)
    await until(lambda: [len(messages) for messages in heard] == [3, 3])
    for messages in heard:
        assert [(message.member, message.body) for message in messages] == [
            ("AppAdded", [APP_PATH]),
            ("PropertiesChanged", [names.APP, properties, []]),
            ("Exited", [7, 0]),
        ]


async def test_signals_of_others_do_not(desktop: Desktop) -> None:
    """Any user of the host can send a signal to a unique name of the system bus."""
    isod, client = await started(desktop)
    assert desktop.system is not None
    heard: list[Message] = []
    await client.add_match(MatchRule(sender=names.BUS_NAME), heard.append)
    destination = isod.named("Subscribe")[0].sender
    mallory = await connect(desktop.system.address, caps=SYSTEM_BUS_CAPS)
    mallory.emit(APP_PATH, names.APP, "Exited", "ii", [0, 0], destination=destination)
    await mallory.close()
    isod.connection.emit(APP_PATH, names.APP, "Exited", "ii", [7, 0], destination=destination)
    await until(lambda: heard)
    assert [signal.body for signal in heard] == [[7, 0]]


@pytest.mark.attack("C23")
@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
async def test_it_works_for_its_own_user_only(desktop: Desktop) -> None:
    isod, _ = await started(desktop)
    other = await connect(desktop.session.socket_as(65534), caps=SESSION_CAPS, external_uid=65534)
    with pytest.raises(RemoteError, match="AccessDenied"):
        await call(other, "ListApps")
    await other.close()
    assert isod.named("ListApps") == []
