"""Parts of the transport that need no bus: descriptors, call slots, match rules, names, addresses, headers."""

import asyncio
import contextlib
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closed import until_open_are
from isod_wire import BadMessage, ConnectionLost, FdSet, MatchRule, Message, MessageKind, Rate
from isod_wire.address import parse_address
from isod_wire.calls import CallSlots, CallTable
from isod_wire.flood import TokenBucket
from isod_wire.header import Route, encode_header, read_fields, read_fixed_header
from isod_wire.syntax import is_bus_name, is_interface, is_member, is_path


def is_open(fd: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(fd)
        return True
    return False


def pipe_set() -> tuple[FdSet, tuple[int, int]]:
    fds = os.pipe()
    return FdSet(fds), fds


def test_fd_set_closes_what_nobody_took() -> None:
    owned, (kept, taken) = pipe_set()
    assert owned.take(1) == taken
    owned.close()
    owned.close()
    assert not is_open(kept)
    assert is_open(taken)
    os.close(taken)


@pytest.mark.parametrize("index", [-1, 2, 0xFFFF_FFFF])
def test_fd_set_refuses_indices_out_of_range(index: int) -> None:
    owned, _ = pipe_set()
    with pytest.raises(BadMessage):
        owned.take(index)
    owned.close()


def test_fd_set_gives_each_descriptor_once_and_copies_as_often_as_asked() -> None:
    owned, _ = pipe_set()
    copy = owned.copy(0)
    assert not os.get_inheritable(copy)
    os.close(copy)
    os.close(owned.take(0))
    with pytest.raises(BadMessage):
        owned.take(0)
    owned.close()


def test_fd_set_that_is_dropped_closes_itself() -> None:
    owned, fds = pipe_set()
    del owned
    assert not any(map(is_open, fds))


def test_fd_set_duplicate_leaks_nothing_when_one_is_closed() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        FdSet.duplicate([reading, writing])
    until_open_are(before)
    os.close(reading)


async def test_call_slots_serve_in_order_and_skip_only_a_full_destination() -> None:
    slots = CallSlots(total=3, per_destination=2)
    order: list[str] = []

    async def use(name: str, destination: str) -> None:
        await slots.acquire(destination)
        order.append(name)

    tasks = [asyncio.create_task(use(f"slow{number}", "slow")) for number in range(4)]
    tasks.append(asyncio.create_task(use("other", "other")))
    await asyncio.sleep(0)
    assert order == ["slow0", "slow1", "other"]
    slots.release("slow")
    await asyncio.sleep(0.01)
    assert order == ["slow0", "slow1", "other", "slow2"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cancelled_waiter_passes_its_slot_on() -> None:
    slots = CallSlots(total=1, per_destination=1)
    await slots.acquire("a")
    first, second = (asyncio.create_task(slots.acquire("a")) for _ in range(2))
    await asyncio.sleep(0)
    slots.release("a")  # granted to the first, which is cancelled before it runs
    first.cancel()
    await asyncio.wait_for(second, 1)


def test_serials_skip_zero_and_pending_ones() -> None:
    table = CallTable()
    table._serial = 0xFFFF_FFFE
    assert [table.next_serial() for _ in range(3)] == [0xFFFF_FFFF, 1, 2]


def signal(**parts: object) -> Message:
    defaults: dict[str, object] = {"sender": ":1.4", "path": "/a/b", "interface": "a.b", "member": "S"}
    return Message(MessageKind.SIGNAL, **{**defaults, **parts})  # type: ignore[arg-type]


def owners(name: str) -> str | None:
    return {"a.service": ":1.4"}.get(name)


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (MatchRule(), True),
        (MatchRule(sender="a.service"), True),
        (MatchRule(sender=":1.4", member="S"), True),
        (MatchRule(sender="another.service"), False),
        (MatchRule(sender=":1.5"), False),
        (MatchRule(path="/a/b"), True),
        (MatchRule(path="/a"), False),
        (MatchRule(path_namespace="/a"), True),
        (MatchRule(path_namespace="/"), True),
        (MatchRule(path_namespace="/a/bc"), False),
        (MatchRule(arg0="zero", arg2="two"), True),
        (MatchRule(arg0="other"), False),
        (MatchRule(interface="a.c"), False),
    ],
)
def test_match_rules(rule: MatchRule, *, matches: bool) -> None:
    message = signal(signature="sus", body=["zero", 1, "two"])
    assert rule.matches(message, owners) is matches


def test_match_rule_arguments_must_be_strings() -> None:
    assert not MatchRule(arg0="/a").matches(signal(signature="o", body=["/a"]), owners)
    assert not MatchRule(arg2="x").matches(signal(signature="s", body=["x"]), owners)


def test_match_rule_text() -> None:
    rule = MatchRule(sender="a.b", path="/c", member="D", arg0="it's")
    assert rule.text() == "type='signal',sender='a.b',path='/c',member='D',arg0='it'\\''s'"


@pytest.mark.parametrize("part", [{"sender": "x'y"}, {"path": "/a/"}, {"member": "a.b"}, {"interface": "a"}])
def test_match_rule_refuses_invalid_names(part: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not valid"):
        MatchRule(**part)


def test_names() -> None:
    assert is_path("/")
    assert is_path("/a/B_1")
    assert not any(map(is_path, ["", "a", "/a/", "//", "/a\n", "/ä", "/a-b"]))
    assert is_bus_name(":1.5")
    assert is_bus_name("org.a-b.c")
    assert not any(map(is_bus_name, ["", "org", ":1", "a..b", "a.1", ".a.b", "a.b\n", "a." + "b" * 254]))
    assert is_interface("a.b")
    assert not any(map(is_interface, ["a", "a.1b", "a-b.c"]))
    assert is_member("Get")
    assert not any(map(is_member, ["", "1a", "a.b", "a" * 256]))


@pytest.mark.parametrize(
    "parts",
    [
        {"destination": ":1.5\n", "path": "/", "member": "M"},
        {"path": "/a\0", "member": "M"},
        {"path": "/", "member": "M\n"},
        {"path": "/"},
    ],
)
def test_routes_that_a_broker_would_punish_are_refused(parts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"not valid|needs"):
        Route(kind=MessageKind.METHOD_CALL, **parts)  # type: ignore[arg-type]


def test_header_round_trip() -> None:
    route = Route(kind=MessageKind.METHOD_CALL, destination="a.b", path="/c", interface="d.e", member="F", flags=4)
    data = encode_header(route, 77, "a{sv}", 24, 2)
    fixed = read_fixed_header(data)
    assert (fixed.serial, fixed.body_bytes, fixed.header_bytes, fixed.flags) == (77, 24, len(data), 4)
    expected = {"destination": "a.b", "path": "/c", "interface": "d.e", "member": "F", "signature": "a{sv}"}
    assert read_fields(data, fixed) == {**expected, "fd_count": 2}


@given(st.binary(min_size=16, max_size=16), st.data())
@settings(max_examples=500)
def test_corrupt_headers_raise_nothing_but_bad_message(noise: bytes, data: st.DataObject) -> None:
    route = Route(kind=MessageKind.METHOD_CALL, destination="a.b", path="/c", interface="d.e", member="F")
    header = bytearray(encode_header(route, 1, "s", 8, 1))
    for byte in noise[: data.draw(st.integers(1, 16))]:
        header[data.draw(st.integers(0, len(header) - 1))] = byte
    try:
        fixed = read_fixed_header(header)
        if fixed.header_bytes <= len(header):
            read_fields(bytes(header), fixed)
    except BadMessage:
        pass


@pytest.mark.parametrize(
    "field",
    [
        struct.pack("<BBBxI2sx", 1, 1, ord("s"), 2, b"/a"),  # the path as a string
        struct.pack("<BBBx", 1, 200, ord("o")),  # a signature past the end
        struct.pack("<BBBxI", 5, 1, ord("u"), 0),  # serial 0
    ],
)
def test_malformed_header_fields(field: bytes) -> None:
    data = struct.pack("<BBBBIII", ord("l"), 2, 0, 1, 0, 1, len(field)) + field + bytes(-len(field) % 8)
    with pytest.raises(BadMessage):
        read_fields(data, read_fixed_header(data))


def test_addresses() -> None:
    text = "tcp:host=a;unix:path=/run/a%20b,guid=00;unix:abstract=/tmp/x;unix:tmpdir=/tmp"
    assert parse_address(text) == ["/run/a b", "\0/tmp/x"]
    with pytest.raises(ConnectionLost):
        parse_address("")


def test_token_bucket_allows_its_burst_and_no_more() -> None:
    bucket = TokenBucket(Rate(burst=10, per_sec=0.001))
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2


def test_message_made_by_hand() -> None:
    with Message(MessageKind.METHOD_CALL, 5, sender=":1.1", member="M", signature="s", body=["x"]) as message:
        assert (message.body, message.body_bytes, len(message.fds)) == (["x"], 0, 0)
        assert "x" not in repr(message).replace("fds", "")
