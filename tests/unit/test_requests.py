"""What callers may send: argument vectors and options, refused by position and key; and how much of it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.bus.ratelimit import CallLimits
from isod.bus.requests import check_argv, check_signal, fd_fields, parse_options, take_fds
from isod.bus.signals import Subscriptions
from isod.ports import Caller
from isod.settings import Limits
from isod_contract import limits, options
from isod_contract.errors import InvalidArgument
from isod_contract.options import ContainerOptions, HistoryFilter, LogOptions, RunOptions, wire_options
from isod_wire import FdSet, Variant

NOT_ASSIGNED = "is not NAME=VALUE with a NAME of letters, digits and _"
TOO_MANY = f"more than {limits.ENVIRONMENT_ENTRIES_MAX} entries"
TOO_LONG = f"is longer than {limits.ENVIRONMENT_VALUE_BYTES_MAX} bytes"
BAD_PATH = f"has a NUL character or is longer than {limits.PATH_BYTES_MAX} bytes"
CLASSES = [item for item in vars(options).values() if isinstance(item, type) and hasattr(item, "__dataclass_fields__")]


def parse(fds: int = 4, **sent: Variant) -> RunOptions:
    return parse_options(RunOptions, {key.replace("_", "-"): value for key, value in sent.items()}, fds)


@pytest.mark.attack("C09")
@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "argv: is empty, name a command"),
        (["", "x"], "argv[0]: is empty, name a command"),
        (["sh", "-c", "a\0b"], "argv[2]: has a NUL character"),
        (["x"] * (limits.ARGV_STRINGS_MAX + 1), f"argv: has more than {limits.ARGV_STRINGS_MAX} strings"),
        (["x", "y" * (limits.ARGUMENT_BYTES_MAX + 1)], f"argv[1]: is longer than {limits.ARGUMENT_BYTES_MAX} bytes"),
        (["x", *["y" * 100_000] * 3], f"argv[3]: takes argv beyond {limits.ARGV_BYTES_MAX} bytes"),
        (
            ["x", "é" * (limits.ARGUMENT_BYTES_MAX // 2 + 1)],
            f"argv[1]: is longer than {limits.ARGUMENT_BYTES_MAX} bytes",
        ),
    ],
)
def test_a_bad_argument_is_named_by_its_position(argv: list[str], sentence: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_argv(argv)
    assert caught.value.text == sentence


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=20))
def test_any_other_argument_is_taken_as_it_is(rest: list[str]) -> None:
    assert check_argv(["x", *rest]) == ("x", *rest)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("colour", Variant("s", "red"), "'colour': no such option here; your isoctl may be newer than isod"),
        ("login_shell", Variant("s", "no"), "login-shell: must be of D-Bus type 'b'"),
        ("rows", Variant("u", 24), "rows: must be of D-Bus type 'q'"),
        ("rows", Variant("q", 0), "rows: is not between 1 and 65535"),
        ("stdin", Variant("h", 4), "stdin: names a file descriptor that the message does not have"),
        ("environment", Variant("as", ["A=1", "B"]), f"environment: entry 1 {NOT_ASSIGNED}"),
        ("environment", Variant("as", ["A-B=1"]), f"environment: entry 0 {NOT_ASSIGNED}"),
        ("environment", Variant("as", ["A=\0"]), "environment: entry 0 has a NUL character"),
        ("environment", Variant("as", ["=x"]), f"environment: entry 0 {NOT_ASSIGNED}"),
        ("environment", Variant("as", ["A=" + "x" * 40_000]), f"environment: entry 0 {TOO_LONG}"),
        ("environment", Variant("as", ["A=1"] * 300), f"environment: {TOO_MANY}"),
        ("directory", Variant("s", "here"), "directory: is neither absolute nor begins with ~/"),
        ("directory", Variant("s", "/a/../b"), "directory: has a .. in it"),
        ("directory", Variant("s", "/a\0"), f"directory: {BAD_PATH}"),
        ("user", Variant("s", "0"), "user: is not the name of an account"),
        ("user", Variant("s", "a b"), "user: is not the name of an account"),
        ("user", Variant("s", "../root"), "user: is not the name of an account"),
        ("display", Variant("s", "maybe"), "display: is none of auto, require, none"),
        ("id", Variant("s", "C" * 32), "id: is not 32 lower-case hexadecimal digits"),
        ("via", Variant("a{sv}", {"uid": Variant("u", 0)}), "via: may hold pid (u) and unit (s)"),
        ("via", Variant("a{sv}", {"unit": Variant("s", "\n")}), "via: unit is not the name of a unit"),
    ],
)  # fmt: skip
def test_a_bad_option_is_named_by_its_key(key: str, value: Variant, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(**{key: value})
    assert caught.value.text == sentence


@pytest.mark.attack("C12")
@pytest.mark.parametrize("index", [4, 2**31 - 1, 2**32 - 1])
def test_no_index_leads_to_a_descriptor_that_is_not_there(index: int) -> None:
    with pytest.raises(InvalidArgument):
        parse(lifetime=Variant("h", index))


@pytest.mark.attack("C08")
def test_hints_that_are_not_allowed_are_dropped_and_the_others_taken() -> None:
    sent = ["LANG=C.UTF-8", "LD_PRELOAD=/x.so", "TZ=\x1b[2J", "LC_ALL=" + "x" * 2000, "TERM=xterm", "DISPLAY"]
    assert parse(hints=Variant("as", sent)).hints == ("LANG=C.UTF-8", "TERM=xterm")
    many = parse(hints=Variant("as", ["LANG=C"] * 1000)).hints
    assert many is not None
    assert len(many) == limits.HINT_ENTRIES_MAX


@pytest.mark.parametrize(
    ("sent", "taken"), [("/", "/"), ("//a///b/.", "/a/b"), ("~", "~"), ("~/a/./b/", "~/a/b"), ("/é x", "/é x")]
)
def test_a_directory_is_taken_without_empty_parts(sent: str, taken: str) -> None:
    assert parse(directory=Variant("s", sent)).directory == taken


@pytest.mark.parametrize("options_class", CLASSES, ids=lambda item: item.__name__)
def test_an_empty_map_is_every_option_absent_and_each_key_is_checked(options_class: type[Any]) -> None:
    if options_class is options.Wire:
        return
    empty = parse_options(options_class, {}, 0)
    assert all(getattr(empty, name) is None for name in empty.__dataclass_fields__)
    for key in wire_options(options_class):
        with pytest.raises(InvalidArgument):
            parse_options(options_class, {key: Variant("ay", b"")}, 4)


def test_bounds_hold_in_other_requests_too() -> None:
    for options_class, key, value in (
        (LogOptions, "lines", Variant("u", limits.LOG_LINES_MAX + 1)),
        (HistoryFilter, "limit", Variant("u", 0)),
        (HistoryFilter, "limit", Variant("u", limits.HISTORY_RECORDS_MAX + 1)),
        (HistoryFilter, "container", Variant("s", "../x")),
        (HistoryFilter, "app", Variant("s", "x")),
        (ContainerOptions, "force", Variant("u", 1)),
    ):
        with pytest.raises(InvalidArgument):
            parse_options(options_class, {key: value}, 0)
    assert [check_signal(number) for number in (1, 64)] == [1, 64]
    for number in (0, -9, 65):
        with pytest.raises(InvalidArgument):
            check_signal(number)


@pytest.fixture
def received() -> Iterator[FdSet]:
    with open("/dev/null") as file:
        fds = FdSet.duplicate([file.fileno()] * 2)
        yield fds
        fds.close()


def test_descriptors_that_are_named_are_taken_and_owned(received: FdSet) -> None:
    checked = parse(2, stdin=Variant("h", 0), stdout=Variant("h", 1), stderr=Variant("h", 1))
    owned = take_fds(checked, received)
    assert set(owned) == {"stdin", "stdout", "stderr"} <= set(fd_fields(RunOptions))
    assert len(set(owned.values())) == 3
    assert not any(os.get_inheritable(fd) for fd in owned.values())
    FdSet(owned.values()).close()


# -- how much


def test_a_user_may_call_so_many_times_a_second_over_all_connections() -> None:
    now = 0.0
    bounds = Limits()
    calls = CallLimits(bounds.of, clock=lambda: now)

    def made() -> int:
        count = 0
        while not calls.enter(1000):
            calls.leave(1000)
            count += 1
        return count

    assert made() == bounds.calls_burst
    now = 0.5
    assert made() == bounds.calls_per_sec / 2
    assert made() == 0
    assert not any(calls.enter(uid) for uid in (1001, 0))
    now = 1e6
    assert made() == bounds.calls_burst


def test_open_calls_are_counted_while_they_last() -> None:
    bounds = Limits()
    calls = CallLimits(bounds.of, clock=lambda: 0.0)
    for _ in range(bounds.calls_open):
        assert not calls.enter(1000)
    assert calls.enter(1000) == "512 calls of yours are not answered yet"
    calls.leave(1000)
    assert not calls.enter(1000)


def test_uid_0_is_bounded_by_the_largest_value() -> None:
    calls = CallLimits(Limits(calls_open=16).of, clock=lambda: 0.0)
    for _ in range(limits.PER_UID["calls_open"].most):
        assert not calls.enter(0)
    assert calls.enter(0)


def test_every_limit_of_a_user_is_a_key_of_the_settings() -> None:
    assert Limits.model_fields.keys() == limits.PER_UID.keys()
    assert all(row.least <= row.default <= row.most for row in limits.PER_UID.values())


def test_users_that_call_no_more_are_forgotten() -> None:
    now = 0.0
    calls = CallLimits(Limits().of, clock=lambda: now)
    for uid in range(1, 5000):
        now += 60.0
        calls.enter(uid)
        calls.leave(uid)
    assert len(calls._users) <= 1024


# -- signals


class OwnInstances:
    """A container whose unit has `%u`: each user finds his own."""

    def __init__(self) -> None:
        self.of = {1000: Instance(), 1001: Instance()}

    def find(self, _name: str, caller: Caller) -> Any:
        return self.of[caller.uid]


class Instance:
    name = "mine"
    state = "running"

    def properties(self, *_: Any) -> dict[str, Variant]:
        return {}


def test_of_a_container_with_instances_each_user_is_told_of_his_own_only() -> None:
    told: list[str | None] = []

    class Bus:
        def emit(self, *_: Any, destination: str | None = None) -> None:
            told.append(destination)

    containers, shown = OwnInstances(), Instance()
    parts: Any = {"connection": Bus(), "containers": containers, "container_object": shown, "app_object": shown}
    subscriptions = Subscriptions(**parts, per_uid_max=lambda _uid: 2)
    for uid, sender in ((1000, ":1.1"), (1001, ":1.2")):
        subscriptions.subscribe(Caller(sender, uid, "user"))
    subscriptions.container_changed(containers.of[1000], frozenset({"State"}))
    assert set(told) == {":1.1"}
