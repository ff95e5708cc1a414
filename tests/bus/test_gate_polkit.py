"""polkit's questions on a real bus: only an explicit yes, to somebody who is still there, lets anything happen."""

import asyncio
from typing import Any

import pytest

from isod.host import polkit as polkit_adapter
from isod_contract import names
from isod_side import (
    ALICE,
    BOB,
    CHALLENGE,
    DISMISSED,
    NO,
    ROOT,
    YES,
    FakePolkit,
    IsodSide,
    call,
    refused,
    until,
)
from isod_wire import Connection, ConnectionLost, RemoteError

# Reload is the one call that the gate itself asks polkit about; the core asks through the same door.
RELOAD = ("Reload", "a{sv}", [{}])
MANAGE = "org.isoctl1.manage"


async def test_uid_0_is_not_asked(isod: IsodSide, polkit: FakePolkit) -> None:
    polkit.at_once = NO
    await call(await isod.client(ROOT), *RELOAD)
    assert isod.reloads == [ROOT]
    assert not polkit.subjects


@pytest.mark.attack("C05")
async def test_a_yes_is_one_about_the_bus_name_of_the_caller(
    isod: IsodSide, polkit: FakePolkit, alice: Connection
) -> None:
    """CVE-2013-4288: a pid may be another's by the time that polkit looks."""
    polkit.prompted = YES
    await call(alice, *RELOAD, allow_interactive=True)
    assert isod.reloads == [ALICE]
    assert set(polkit.subjects) == {alice.unique_name}
    [record] = isod.audit.decisions()
    assert (record["outcome"], record["rule"]) == ("allowed", f"polkit {MANAGE}")


async def test_an_answer_that_polkit_remembers_opens_no_prompt(
    isod: IsodSide, polkit: FakePolkit, alice: Connection
) -> None:
    polkit.at_once = YES
    await asyncio.gather(*(call(alice, *RELOAD, allow_interactive=True) for _ in range(8)))
    assert len(isod.reloads) == len(polkit.subjects) == 8


@pytest.mark.attack("C05")
@pytest.mark.parametrize(
    ("at_once", "prompted", "name", "words"),
    [
        (NO, YES, "NotPermitted", f"polkit refused {MANAGE}"),
        (CHALLENGE, NO, "NotPermitted", f"polkit refused {MANAGE}"),
        (CHALLENGE, DISMISSED, "NotPermitted", f"the password prompt for {MANAGE} was dismissed"),
        (CHALLENGE, CHALLENGE, "NoAuthentication", "no polkit agent runs in your session"),
    ],
    ids=["no at once", "wrong password", "dismissed", "no agent"],
)
async def test_anything_but_a_yes_is_a_no_that_says_why(
    isod: IsodSide, polkit: FakePolkit, alice: Connection, at_once: Any, prompted: Any, name: str, words: str
) -> None:
    polkit.at_once, polkit.prompted = at_once, prompted
    found, text = await refused(alice, *RELOAD, allow_interactive=True)
    assert found == name
    assert words in text
    assert not isod.reloads
    [record] = isod.audit.decisions()
    assert (record["outcome"], record["error"]) == ("refused", f"org.isoctl1.Error.{name}")


@pytest.mark.attack("C05")
async def test_a_message_that_allows_no_prompt_gets_none(isod: IsodSide, polkit: FakePolkit, alice: Connection) -> None:
    polkit.prompted = YES
    name, text = await refused(alice, *RELOAD)
    assert name == "NoAuthentication"
    assert "the call does not allow interactive authorisation" in text
    assert not isod.reloads


@pytest.mark.attack("C05")
async def test_without_polkit_the_answer_is_no(isod: IsodSide, alice: Connection) -> None:
    name, text = await refused(alice, *RELOAD, allow_interactive=True)
    assert name == "NoAuthentication"
    assert "polkit does not answer; see `systemctl status polkit`" in text
    assert not isod.reloads


@pytest.mark.attack("C05")
@pytest.mark.parametrize("signature", ["b", "(bb)", ""])
async def test_an_answer_of_another_shape_is_no_yes(
    isod: IsodSide, polkit: FakePolkit, alice: Connection, signature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"b": [True], "(bb)": [[True, True]], "": []}[signature]
    monkeypatch.setattr(polkit, "answer", lambda asked, _: polkit.connection.reply(asked, signature, body))
    assert (await refused(alice, *RELOAD, allow_interactive=True))[0] == "NoAuthentication"
    assert not isod.reloads


@pytest.mark.attack("C05")
async def test_a_polkit_that_is_silent_is_given_up(
    isod: IsodSide, polkit: FakePolkit, alice: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polkit_adapter, "POLKIT_CHECK_TIMEOUT_SEC", 0.2)
    polkit.at_once = None
    name, text = await refused(alice, *RELOAD, allow_interactive=True)
    assert (name, "polkit does not answer" in text) == ("NoAuthentication", True)
    await until(lambda: polkit.cancelled)
    assert not isod.reloads


async def test_a_prompt_that_nobody_answers_is_taken_away(
    isod: IsodSide, polkit: FakePolkit, alice: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polkit_adapter, "_PROMPT_SEC", 0.2)
    name, text = await refused(alice, *RELOAD, allow_interactive=True)
    assert (name, "was not answered in time" in text) == ("NotPermitted", True)
    await until(lambda: polkit.cancelled)
    assert polkit.cancelled == list(polkit.open)
    assert not isod.reloads


@pytest.mark.attack("C06")
async def test_who_leaves_takes_the_prompt_along(isod: IsodSide, polkit: FakePolkit, alice: Connection) -> None:
    """CVE-2021-3560: the answer about a caller who is gone must not count, whatever it is."""
    asked = asyncio.create_task(call(alice, *RELOAD, allow_interactive=True))
    await until(lambda: polkit.open)
    await alice.close()
    with pytest.raises(ConnectionLost):
        await asked
    await until(lambda: polkit.cancelled)
    for prompt in polkit.open.values():
        polkit.answer(prompt, YES)
    await until(isod.audit.decisions)
    assert [record["outcome"] for record in isod.audit.decisions()] == ["refused"]
    assert not isod.reloads


@pytest.mark.attack("C15")
async def test_prompts_of_a_uid_are_bounded_over_all_its_connections(
    isod: IsodSide, polkit: FakePolkit, alice: Connection
) -> None:
    others = [await isod.client(ALICE) for _ in range(2)]
    asked = [asyncio.create_task(call(client, *RELOAD, allow_interactive=True)) for client in (alice, others[0])]
    await until(lambda: len(polkit.open) == 2)
    name, text = await refused(others[1], *RELOAD, allow_interactive=True)
    assert name == "LimitExceeded"
    assert f"2 password prompts of uid {ALICE} are open already" in text
    bob = asyncio.create_task(call(await isod.client(BOB), *RELOAD, allow_interactive=True))
    await until(lambda: len(polkit.open) == 3)
    for prompt in polkit.open.values():
        polkit.answer(prompt, DISMISSED)
    for done in await asyncio.gather(*asked, bob, return_exceptions=True):
        assert isinstance(done, RemoteError)
    polkit.prompted = YES
    await call(others[1], *RELOAD, allow_interactive=True)
    assert isod.reloads == [ALICE]


async def test_other_calls_go_on_while_a_prompt_is_open(isod: IsodSide, polkit: FakePolkit, alice: Connection) -> None:
    asked = asyncio.create_task(call(alice, *RELOAD, allow_interactive=True))
    await until(lambda: polkit.open)
    assert await call(alice, "ListContainers")
    assert (await call(alice, "Run", "sasa{sv}", ["blog", ["true"], {}]))[0].startswith(names.APP_PATH_PREFIX)
    for prompt in polkit.open.values():
        polkit.answer(prompt, YES)
    await asked
