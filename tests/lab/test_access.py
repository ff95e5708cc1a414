"""Who may do what, on the real system bus: every method, for the owner, other users, one with no rights, and root."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import PurePath
from typing import Any

import pytest

from isod_contract import names
from isod_contract.errors import PREFIX
from isod_contract.methods import METHOD_INDEX, METHODS, PROPERTIES, Access, Method
from lab.access import OBJECTS, STANDARD, matrix, name_of, standard_name_of
from lab.apps import apps, run_app, wait_for_state
from lab.caller import Answer, BusCaller
from lab.machine import Lab
from lab.tree import USERS as UIDS

USERS = ("alice", "bob", "carol", "mallory", "nobody", "root")
STRANGERS = ("bob", "carol", "mallory", "nobody")
NOBODY_UID = 65534
MATRIX = matrix()
# Of the same length as what they stand for, and nowhere.
ABSENT = {"blog": "blag", "shared": "sharee"}
ABSENT_ID = "0" * 32
WINCH = 28  # a signal that ends nothing


@pytest.fixture(scope="module")
def callers(lab: Lab) -> Iterator[dict[str, BusCaller]]:
    with ExitStack() as stack:
        yield {user: stack.enter_context(BusCaller(lab, user)) for user in USERS}


class Target:
    """A container and an app in it, or what has such names and is not there."""

    def __init__(self, container: str, app_id: str) -> None:
        self.container = container
        self.app_id = app_id

    @property
    def absent(self) -> "Target":
        return Target(ABSENT[self.container], ABSENT_ID)

    def path(self, interface: str) -> str:
        paths = {names.CONTAINER: names.container_path(self.container), names.APP: names.app_path(self.app_id)}
        return paths.get(interface, names.ROOT_PATH)

    def without_names(self, text: str) -> str:
        path = names.container_path(self.container)
        return text.replace(self.app_id, "ID").replace(path, "PATH").replace(self.container, "NAME")

    def call(self, caller: BusCaller, method: Method) -> Answer:
        values: dict[str, Any] = {
            "container": self.container, "name": self.container, "id": self.app_id, "action": "run",
            "argv": ["true"], "signal": WINCH, "grants": {"gpu": ["s", "render"]}, "resources": ["gpu"],
            "after-usec": 0, "after-id": "",
        }  # fmt: skip
        body = [values.get(arg.name, {}) for arg in method.args]
        return caller.call(self.path(method.interface), method.interface, method.name, method.in_signature, *body)

    def call_standard(self, caller: BusCaller, interface: str, standard: tuple[str, str, str]) -> Answer:
        name = next(item.name for item in PROPERTIES if item.interface == interface)
        body = {"s": (interface,), "ss": (interface, name), "": ()}[standard[2]]
        return caller.call(self.path(interface), *standard, *body)


def verdict(answer: Answer) -> str:
    """What the matrix has for an answer."""
    return answer.error.removeprefix(PREFIX).removeprefix("org.freedesktop.DBus.Error.") or "ok"


@pytest.fixture(scope="module")
def alices(lab: Lab) -> Target:
    """A container that is alice's alone, and her app in it."""
    path = run_app(lab, "alice", "blog", "sleep", "4830")
    wait_for_state(lab, "alice", path, "running")
    return Target("blog", path.rsplit("/", 1)[1])


@pytest.fixture(scope="module")
def alices_in_shared(lab: Lab) -> Target:
    """A container that carol may use too, and alice's app in it, which has written a line."""
    path = run_app(lab, "alice", "shared", "sh", "-c", "echo alices-line; exec sleep 4831")
    wait_for_state(lab, "alice", path, "running")
    return Target("shared", path.rsplit("/", 1)[1])


@pytest.mark.attack("C07")
@pytest.mark.parametrize("user", STRANGERS)
@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_others_reach_nothing_of_alices(
    callers: dict[str, BusCaller], alices: Target, user: str, method: Method
) -> None:
    """S07: the default is no, and "not yours" is told in the very words, and by the error, of "not there"."""
    answer = alices.call(callers[user], method)
    assert verdict(answer) == MATRIX[name_of(method)][user]
    if method.access in (Access.ANYONE, Access.SESSION):
        assert "4830" not in answer.text
        if method.name != "History":  # what he asked for himself stands there: the test below
            assert alices.container not in answer.text
            assert alices.app_id not in answer.text
        return
    twin = alices.absent.call(callers[user], method)
    assert alices.without_names(answer.text) == alices.absent.without_names(twin.text)


@pytest.mark.attack("C07")
@pytest.mark.parametrize("user", STRANGERS)
@pytest.mark.parametrize("interface", [names.CONTAINER, names.APP])
@pytest.mark.parametrize("standard", STANDARD, ids=lambda standard: standard[1])
def test_others_inspect_nothing_of_alices(
    callers: dict[str, BusCaller], alices: Target, user: str, interface: str, standard: tuple[str, str, str]
) -> None:
    answer = alices.call_standard(callers[user], interface, standard)
    twin = alices.absent.call_standard(callers[user], interface, standard)
    row = MATRIX[standard_name_of(*standard[:2], interface)]
    assert verdict(answer) == row[user]
    for owner in ("alice", "root"):
        assert verdict(alices.call_standard(callers[owner], interface, standard)) == row[owner]
    assert alices.without_names(answer.text) == alices.absent.without_names(twin.text)


@pytest.mark.attack("C30")
@pytest.mark.parametrize("user", ["bob", "mallory"])
def test_introspection_shows_others_no_object_of_alices(
    callers: dict[str, BusCaller], alices: Target, user: str
) -> None:
    for prefix in (names.CONTAINER_PATH_PREFIX, names.APP_PATH_PREFIX):
        path = prefix.rstrip("/")
        shown = callers[user].call(path, names.INTROSPECTABLE, "Introspect")
        hers = callers["alice"].call(path, names.INTROSPECTABLE, "Introspect")
        for label in (alices.container, alices.app_id):
            assert label not in shown.text
        assert alices.container in hers.text or alices.app_id in hers.text


@pytest.mark.attack("C30")
@pytest.mark.parametrize("user", STRANGERS)
def test_a_history_tells_of_others_things_what_it_tells_of_nothing(
    lab: Lab, callers: dict[str, BusCaller], alices: Target, user: str
) -> None:
    """The record of a refusal is its own asker's, and says no more than the refusal did."""
    caller = callers[user]
    words = {target: secrets.token_hex(8) for target in (alices, alices.absent)}

    def record(target: Target) -> dict[str, Any] | None:
        (records,) = caller.manager("History", "a{sv}", {"limit": ["u", 1000]}).body
        assert {record["uid"][1] for record in records} == {UIDS.get(user, NOBODY_UID)}
        found = [record for record in records if record.get("argv", ["", []])[1] == ["echo", words[target]]]
        return found[-1] if found else None

    told = []
    for target, word in words.items():
        # Of many refusals in one second not each is told.
        refused_and_told = partial(asks_until_told, caller, target, word, record)
        lab.wait_for(refused_and_told)
        entry = record(target)
        assert entry is not None
        volatile = ("time_usec", "duration_usec")
        known = {key: value for key, value in entry.items() if key not in volatile}
        told.append(target.without_names(repr(known)).replace(word, "WORD"))
    assert told[0] == told[1]
    (records,) = caller.manager("History", "a{sv}", {"container": ["s", alices.container], "limit": ["u", 1000]}).body
    assert {record["outcome"][1] for record in records} == {"refused"}


def asks_until_told(
    caller: BusCaller, target: Target, word: str, record: Callable[[Target], dict[str, Any] | None]
) -> bool:
    answer = caller.manager("Run", "sasa{sv}", target.container, ["echo", word], {})
    assert answer.error == PREFIX + "NoSuchContainer"
    return record(target) is not None


# RegisterSession would take the place of her isod-session.
REACHED = [method for method in METHODS if method.name != "RegisterSession"]


@pytest.mark.attack("C07")
@pytest.mark.parametrize("user", ["alice", "root"])
@pytest.mark.parametrize("method", REACHED, ids=name_of)
def test_the_owner_and_root_reach_everything(
    lab: Lab, callers: dict[str, BusCaller], user: str, method: Method
) -> None:
    """The other side of the matrix: what is refused to others is not just broken."""
    # Stop and Restart come often here; systemd counts starts.
    lab.run("systemctl", "reset-failed", lab.unit("net"), check=False)
    # A Restart answers at once, and is still under way: a start beside it is cancelled.
    lab.wait_for(lambda: lab.run("systemctl", "start", lab.unit("net"), check=False).returncode == 0, 60)
    path = run_app(lab, "alice", "net", "sleep", "4832")
    wait_for_state(lab, "alice", path, "running")
    target = Target("net", path.rsplit("/", 1)[1])
    if method.name == "Revoke":
        target.call(callers["root"], METHOD_INDEX[names.CONTAINER, "Grant"])
    answer = target.call(callers[user], method)
    assert verdict(answer) == MATRIX[name_of(method)][user], answer.text


# -- alice and carol in one container


@pytest.mark.attack("C07")
@pytest.mark.parametrize("method", [method for method in METHODS if method.access is Access.OWN], ids=name_of)
def test_in_a_shared_container_anothers_app_is_not_there(
    callers: dict[str, BusCaller], alices_in_shared: Target, method: Method
) -> None:
    answer = alices_in_shared.call(callers["carol"], method)
    twin = alices_in_shared.absent.call(callers["carol"], method)
    assert answer.error == PREFIX + "NoSuchApplication"
    assert alices_in_shared.without_names(answer.text) == alices_in_shared.absent.without_names(twin.text)


@pytest.mark.attack("C07")
@pytest.mark.parametrize("standard", STANDARD, ids=lambda standard: standard[1])
def test_in_a_shared_container_anothers_app_can_not_be_inspected(
    callers: dict[str, BusCaller], alices_in_shared: Target, standard: tuple[str, str, str]
) -> None:
    answer = alices_in_shared.call_standard(callers["carol"], names.APP, standard)
    twin = alices_in_shared.absent.call_standard(callers["carol"], names.APP, standard)
    assert answer.error == PREFIX + "NoSuchApplication"
    assert alices_in_shared.without_names(answer.text) == alices_in_shared.absent.without_names(twin.text)


@pytest.mark.attack("C07")
def test_in_a_shared_container_each_sees_signals_and_ends_only_her_own(
    lab: Lab, callers: dict[str, BusCaller], alices_in_shared: Target
) -> None:
    carols = run_app(lab, "carol", "shared", "sh", "-c", "echo carols-line; exec sleep 4833")
    wait_for_state(lab, "carol", carols, "running")
    own = {"alice": names.app_path(alices_in_shared.app_id), "carol": carols}
    container = names.container_path("shared")
    for user, other in (("alice", "carol"), ("carol", "alice")):
        caller = callers[user]
        assert own[user] in apps(lab, user)
        assert own[other] not in apps(lab, user)
        listed = caller.call(container, names.PROPERTIES, "Get", "ss", names.CONTAINER, "Apps").text
        usage = caller.call(container, names.CONTAINER, "GetUsage").text
        for text in (listed, usage, caller.manager("ListContainers").text):
            assert own[other].rsplit("/", 1)[1] not in text
        assert own[user] in listed
        assert own[user].rsplit("/", 1)[1] in usage
        # As isoctl shows it.
        for verb in ("ps", "top"):
            shown = lab.run("isoctl", verb, "--json", user=user).stdout
            assert own[user].rsplit("/", 1)[1] in shown
            assert own[other].rsplit("/", 1)[1] not in shown
        for verb in ("kill", "logs"):
            tried = lab.run("isoctl", verb, own[other].rsplit("/", 1)[1], user=user, check=False)
            absent = lab.run("isoctl", verb, ABSENT_ID, user=user, check=False)
            assert tried.returncode == absent.returncode != 0
            assert tried.stderr.replace(own[other].rsplit("/", 1)[1], ABSENT_ID) == absent.stderr
        # A container with another user's app in it is not hers to stop.
        for member in ("Stop", "Restart"):
            assert caller.call(container, names.CONTAINER, member, "a{sv}", {}).error == PREFIX + "Busy"
    assert {apps(lab, user)[own[user]]["State"] for user in own} == {"running"}
    lab.run("isoctl", "kill", carols.rsplit("/", 1)[1], user="carol")
    wait_for_state(lab, "carol", carols, "exited")
    assert apps(lab, "alice")[own["alice"]]["State"] == "running"


def test_unknown_options_are_refused_by_name(callers: dict[str, BusCaller]) -> None:
    answer = callers["alice"].manager("Run", "sasa{sv}", "blog", ["true"], {"colour": ["s", "red"]})
    assert answer.error == PREFIX + "InvalidArgument"
    assert "colour" in answer.text


# -- processes in containers

BUS_INSIDE = "/run/hosts-bus/system_bus_socket"


@contextmanager
def contained(lab: Lab, container: str, user: str) -> Iterator[BusCaller]:
    """A process in a container, to which root gave the host's bus."""
    lab.start(container)
    lab.run("machinectl", "bind", "--mkdir", container, "/run/dbus", str(PurePath(BUS_INSIDE).parent))
    address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={BUS_INSIDE}"}
    with BusCaller(lab, user, partial(lab.container_popen, container, env=address)) as caller:
        yield caller


@pytest.mark.attack("C07")
@pytest.mark.parametrize("user", ["alice", "root"])
@pytest.mark.parametrize("container", ["evil", "plain", "net"])
def test_a_process_in_a_container_is_nobody_whatever_it_calls(
    lab: Lab, alices: Target, container: str, user: str, attempts: Callable[..., int]
) -> None:
    """CVE-2019-7304: uids are the same inside without a user namespace; what counts is whose process it is."""
    with contained(lab, container, user) as caller:
        for method in METHODS:
            assert verdict(alices.call(caller, method)) == MATRIX[name_of(method)]["contained"]
        for interface in OBJECTS:
            for standard in STANDARD:
                row = MATRIX[standard_name_of(*standard[:2], interface)]
                assert verdict(alices.call_standard(caller, interface, standard)) == row["contained"]
    attempts(len(MATRIX))


@pytest.mark.attack("C07")
def test_a_container_with_a_unit_that_no_policy_names_is_nobody_by_its_slice(lab: Lab) -> None:
    """The unit's name says nothing: what runs in machine.slice is a container's, whoever set it up."""
    command = (*("busctl", "call", names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListContainers"),)
    place = ("--slice=machine.slice", "--unit=innocent", "-p", "User=alice")
    done = lab.run("systemd-run", "--pipe", "--quiet", "--collect", *place, *command, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Call failed: Access denied\n")
    elsewhere = ("--slice=system.slice", *place[1:])
    assert lab.run("systemd-run", "--pipe", "--quiet", "--collect", *elsewhere, *command).stdout.startswith("a(oa{sv})")
