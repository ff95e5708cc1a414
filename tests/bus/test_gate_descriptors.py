"""Descriptors that come with calls: bounded, owned by somebody at every moment, and closed whatever happens."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from isod_contract import limits, names
from isod_contract.errors import UnsafeFd
from isod_side import IsodSide, call, refused, until
from isod_wire import Connection, Variant

BLOG = names.container_path("blog")
RUN = ("sasa{sv}", ["blog", ["true"], {}])


def _refusals(fds: int) -> list[tuple[str, str, list[Any], dict[str, Any]]]:
    first = {name: Variant("h", index) for index, name in enumerate(("stdin", "stdout", "stderr", "lifetime")[:fds])}
    return [
        ("Run", "sasa{sv}", ["absent", ["true"], first], {}),
        ("Run", "sasa{sv}", ["blog", [], first], {}),
        ("Run", "sasa{sv}", ["blog", ["true"], {**first, "colour": Variant("s", "red")}], {}),
        ("Run", "sasa{sv}", ["blog", ["true"], {**first, "stdin": Variant("h", 200)}], {}),
        ("Run", "sas", ["blog", ["true"]], {}),
        ("Walk", "sasa{sv}", ["blog", ["true"], first], {}),
        ("ListContainers", "", [], {}),
        ("GetAll", "s", [names.MANAGER], {"interface": names.PROPERTIES}),
        ("Run", "sasa{sv}", ["blog", ["true"], first], {"path": "/nowhere"}),
        ("Run", "sasa{sv}", ["blog", ["true"], first], {}),
    ]


@pytest.mark.attack("C12")
async def test_a_thousand_messages_with_descriptors_leave_none_behind(
    isod: IsodSide, alice: Connection, count_fds: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13, 5.2: dbus-next leaks what it receives; a root daemon without descriptors serves nobody."""
    isod.launcher.fault = UnsafeFd(argument="stdin", reason="a regular file")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        await call(alice, "ListContainers")
        before = count_fds()
        for _ in range(100):
            calls = [
                call(alice, member, signature, body, fds=(null,) * 4, **where)
                for member, signature, body, where in _refusals(4)
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(answer, Exception) for answer in answers) == 8
        await call(alice, "ListContainers")
        await until(lambda: count_fds() == before)
    finally:
        os.close(null)


@pytest.mark.attack("C12")
async def test_more_descriptors_than_a_call_may_have_are_refused_and_closed(
    isod: IsodSide, alice: Connection, count_fds: Callable[[], int]
) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        before = count_fds()
        name, text = await refused(alice, "Run", *RUN, fds=(null,) * (limits.MESSAGE_FDS_MAX + 1))
        assert (name, text) == ("InvalidArgument", f"message: has more than {limits.MESSAGE_FDS_MAX} file descriptors")
        await until(lambda: count_fds() == before)
    finally:
        os.close(null)


@pytest.mark.attack("C12")
async def test_one_descriptor_named_twice_becomes_two_and_unnamed_ones_are_closed(
    isod: IsodSide, alice: Connection, count_fds: Callable[[], int]
) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        before = count_fds()
        options = {"stdout": Variant("h", 0), "stderr": Variant("h", 0)}
        await call(alice, "Run", "sasa{sv}", ["blog", ["true"], options], fds=(null, null))
        taken = isod.launcher.launches[0][3]
        assert taken.stdout != taken.stderr
        assert taken.stdin is None
        await until(lambda: count_fds() == before)
    finally:
        os.close(null)


async def test_a_log_is_handed_over_and_not_kept(
    isod: IsodSide, alice: Connection, count_fds: Callable[[], int]
) -> None:
    before = count_fds()
    reply = await alice.call(names.BUS_NAME, BLOG, names.CONTAINER, "OpenLog", "a{sv}", [{}], expect="h")
    with reply, os.fdopen(reply.take_fd(reply.body[0])) as log:
        assert log.read() == "a line\n"
    await until(lambda: count_fds() == before)
