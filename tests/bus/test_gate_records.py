"""Each refusal of each method leaves exactly one record: made from the contract, so that a new method is in it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from isod_contract import errors, limits, names
from isod_contract.methods import METHODS, Access, Method
from isod_contract.options import wire_options
from isod_side import ALICE, ALICES_APP, BOB, IsodSide, call, until
from isod_wire import Connection, RemoteError, Variant

# By a method's argument: what fits, for alice.
FITTING: dict[str, Any] = {
    "name": "blog",
    "container": "blog",
    "id": ALICES_APP,
    "action": "run",
    "argv": ["true"],
    "signal": 15,
    "after-usec": 0,
    "after-id": "",
    "resources": ["gpu"],
    "grants": {"gpu": Variant("s", "render")},
}
OF_NOBODY: dict[str, Any] = {"name": "absent", "container": "absent", "id": "f" * 32}
WRONG: dict[str, list[Any]] = {
    "name": ["../x"],
    "container": ["../x", ""],
    "id": ["f"],
    "action": ["dance"],
    "argv": [[], [""], ["x" * (limits.ARGUMENT_BYTES_MAX + 1)]],
    "signal": [0, 65, -1],
    "grants": [{"gpu": Variant("i", 5)}, {"gpu": Variant("as", ["render"])}],
}
SEEN = (Access.SEE, Access.USE, Access.MANAGE, Access.GRANT, Access.DISPLAY)


class Case(NamedTuple):
    """One call that must be refused."""

    method: Method
    kind: str
    signature: str
    body: list[Any]
    by: str = "alice"
    fds: int = 0


def fitting(method: Method, **other: Any) -> list[Any]:
    """Give arguments that fit, but for `other`."""
    given = {**FITTING, **other}
    return [given.get(arg.name, {}) for arg in method.args]


def cases(method: Method) -> Iterator[Case]:
    signature = method.in_signature
    yield Case(method, "signature", "x", [1])
    yield Case(method, "descriptors", signature, fitting(method), fds=limits.MESSAGE_FDS_MAX + 1)
    for arg in method.args:
        for value in WRONG.get(arg.name, ()):
            yield Case(method, f"wrong {arg.name}", signature, fitting(method, **{arg.name: value}))
    if method.options is not None:
        yield Case(method, "unknown option", signature, [*fitting(method)[:-1], {"nosuch": Variant("s", "")}])
        for key, wire in wire_options(method.options).items():
            odd = Variant("x", 1) if wire.signature != "x" else Variant("s", "")
            yield Case(method, f"type of {key}", signature, [*fitting(method)[:-1], {key: odd}])
    if method.access in SEEN or method.access is Access.OWN:
        yield Case(method, "somebody else's", signature, fitting(method), by="bob")
        if {arg.name for arg in method.args} & OF_NOBODY.keys():
            yield Case(method, "nobody's", signature, fitting(method, **OF_NOBODY))
    if method.access is Access.ADMIN:
        yield Case(method, "no administrator", signature, fitting(method))


ALL = [case for method in METHODS for case in cases(method)]


def path_of(method: Method) -> str:
    paths = {names.CONTAINER: names.container_path("blog"), names.APP: names.app_path(ALICES_APP)}
    return paths.get(method.interface, names.ROOT_PATH)


@pytest.fixture
def isod(isod: IsodSide) -> IsodSide:
    """One that tells each record at once."""
    isod.endpoint.gate._decisions._paced._interval_sec = 0.0
    return isod


@pytest.mark.attack("C46")
async def test_each_refusal_of_each_method_is_exactly_one_record(
    isod: IsodSide, alice: Connection, bob: Connection
) -> None:
    """A11, B5: a malformed Grant was refused after the gate had left the record to the core, so there was none."""
    assert {case.method for case in ALL} == set(METHODS)
    assert len(ALL) > 100
    null = os.open("/dev/null", os.O_RDONLY)
    clients = {"alice": (alice, ALICE), "bob": (bob, BOB)}
    for case in ALL:
        client, uid = clients[case.by]
        before = len(isod.audit.records)
        with pytest.raises(RemoteError) as refusal:
            await call(
                client,
                case.method.name,
                case.signature,
                case.body,
                path=path_of(case.method),
                interface=case.method.interface,
                fds=[null] * case.fds,
            )
        told = isod.audit.records[before:]
        shown = (case.method.name, case.kind, refusal.value.name, told)
        assert len(told) == 1, shown
        assert (told[0]["uid"], told[0]["outcome"], told[0]["error"]) == (uid, "refused", refusal.value.name), shown
        assert str(told[0]["method"]).endswith(f".{case.method.name}"), shown
    os.close(null)


@pytest.mark.attack("C46")
async def test_what_a_handler_refuses_is_exactly_one_record(isod: IsodSide, alice: Connection) -> None:
    """Of the methods that the core decides about it writes the record itself, see test_permission and test_grants."""
    refusals = (
        errors.InvalidArgument(argument="x", reason="y"),
        errors.LimitExceeded(reason="x"),
        errors.UnsafeFd(argument="stdin", reason="x"),
        errors.NotPermitted(reason="x"),
        errors.NotGranted(resource="x", container="blog", reason="y"),
    )
    own = {"path": names.container_path("blog"), "interface": names.CONTAINER}
    for error in refusals:
        isod.containers.fault = isod.launcher.fault = error
        for member, arguments, where in (
            ("OpenLog", ("a{sv}", [{}]), own),
            ("GetUsage", (), own),
            ("Run", ("sasa{sv}", ["blog", ["true"], {}]), {}),
            ("Start", ("a{sv}", [{}]), own),
        ):
            before = len(isod.audit.records)
            with suppress(RemoteError):
                await call(alice, member, *arguments, **where)
                raise AssertionError(member)
            assert [record["error"] for record in isod.audit.records[before:]] == [error.name], member


@pytest.mark.attack("C46")
async def test_who_is_admitted_nowhere_makes_a_record_a_second_whatever_he_calls(isod: IsodSide) -> None:
    """A3: RegisterSession was allowed to anybody and left two records each time."""
    isod.endpoint.gate._decisions._paced._interval_sec = 4.0
    mallory = await isod.client(BOB)
    for container in isod.containers.all:
        container.uids = frozenset({ALICE})
    isod.apps.all = [app for app in isod.apps.all if app.owner_uid == ALICE]
    for _ in range(3):
        for method in METHODS:
            with suppress(RemoteError):
                await call(
                    mallory,
                    method.name,
                    method.in_signature,
                    fitting(method),
                    path=path_of(method),
                    interface=method.interface,
                )
    assert len(isod.audit.records) == 1
    await until(lambda: len(isod.audit.records) == 2)
    assert isod.audit.records[1]["suppressed"] > len(METHODS)
