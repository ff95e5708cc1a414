"""The transport as a service on a real bus: every probe that dbus-next fails (attacker: any local user)."""

import asyncio
import fcntl
import os
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from attacker import CALL, DESTINATION, INTERFACE, MEMBER, PATH, SIGNAL, Attack, RawClient, raw_message
from buses import Bus, Connect
from isod_wire import SYSTEM_BUS_CAPS, Connection, MatchRule, Message, MessageKind, RemoteError, TooLarge, Variant
from isod_wire.encode import encode_body

pytestmark = pytest.mark.asyncio

KIB = 1024


def serve(connection: Connection) -> list[Message]:
    """Answer Echo with its own body, Boom by failing, TakeFd by taking descriptor 5, anything with an error."""
    seen: list[Message] = []

    def on_call(call: Message) -> None:
        seen.append(call)
        match call.member:
            case "Boom":
                raise RuntimeError("secret /root/path")
            case "TakeFd":
                os.close(call.take_fd(call.body[0]))
                connection.reply(call)
            case "Echo":
                connection.reply(call, call.signature, call.body)
            case "Big":
                connection.reply(call, "ay", [bytes(200 * KIB)])
            case _:
                connection.reply_error(call, "org.freedesktop.DBus.Error.UnknownMethod", "No such method")
        call.close()

    connection.on_call(on_call)
    return seen


async def raw_reply(client: RawClient, serial: int) -> tuple[int, dict[str, object], list[object]]:
    """Wait for a raw client's reply without blocking the loop that answers it."""
    return await asyncio.to_thread(client.read_reply, serial)


async def assert_alive(connection: Connection, client: RawClient) -> None:
    """Check that the service still answers."""
    serial = client.call(connection.unique_name, "Echo", "s", ["still here"])
    kind, _, body = await raw_reply(client, serial)
    assert (kind, body) == (MessageKind.METHOD_RETURN, ["still here"])
    assert not connection.closed


@pytest.mark.attack("C15")
@pytest.mark.parametrize("code", [10, 42, 255])
async def test_unknown_header_field_is_skipped(connect_bus: Connect, attack: Attack, code: int) -> None:
    """5.2: header field code 10 or 42 disconnects dbus-next."""
    service = await connect_bus()
    serve(service)
    with attack() as client:
        field = bytes([code, 1, ord("u"), 0]) + struct.pack("<I", 7)
        fields = {PATH: "/", INTERFACE: "a.b", MEMBER: "Echo", DESTINATION: service.unique_name}
        client.send(raw_message(CALL, fields, serial=50, raw_fields=field))
        # dbus-daemon may hang up on the attacker; what counts is that the service stays.
        await asyncio.sleep(0.1)
    await assert_alive(service, attack())


@pytest.mark.parametrize("flags", [3, 7, 0xFE])
async def test_unknown_flags_are_ignored(connect_bus: Connect, attack: Attack, flags: int) -> None:
    """5.2: flags 3, 7, 0xff."""
    service = await connect_bus()
    serve(service)
    client = attack()
    client.call(service.unique_name, "Echo", flags=flags)
    await assert_alive(service, client)


@pytest.mark.attack("C12")
async def test_received_fds_are_close_on_exec(connect_bus: Connect, attack: Attack) -> None:
    """5.2: dbus-next receives descriptors without CLOEXEC."""
    service = await connect_bus()
    flags: list[int] = []

    def on_call(call: Message) -> None:
        with call:
            fd = call.take_fd(0)
            flags.append(fcntl.fcntl(fd, fcntl.F_GETFD))
            os.close(fd)
            service.reply(call)

    service.on_call(on_call)
    client = attack()
    await raw_reply(client, client.call(service.unique_name, "M", "h", [0], fds=[0]))
    assert flags == [fcntl.FD_CLOEXEC]


@pytest.mark.attack("C12")
@pytest.mark.parametrize(("member", "signature", "body"), [("Unknown", "h", [0]), ("Echo", "s", ["no h"])])
async def test_400_fds_leak_nothing(
    connect_bus: Connect,
    attack: Attack,
    count_fds: Callable[[], int],
    member: str,
    signature: str,
    body: list[object],
) -> None:
    """5.2: 400 descriptors to an unknown method, a wrong signature, or a method that ignores them all leak."""
    service = await connect_bus()
    serve(service)
    client = attack()
    before = count_fds()
    for _ in range(100):
        serial = client.call(service.unique_name, member, signature, body, fds=[0, 0, 0, 0])
        await raw_reply(client, serial)
    assert count_fds() == before


@pytest.mark.attack("C12")
async def test_more_fds_than_the_cap_are_refused_and_closed(
    connect_bus: Connect, attack: Attack, count_fds: Callable[[], int], bus: Bus
) -> None:
    """C12: an excess of descriptors is answered with an error, closed, and never reaches the handler."""
    service = await connect_bus(replace(SYSTEM_BUS_CAPS, max_fds=3))
    seen = serve(service)
    client = attack()
    before = count_fds()
    serial = client.call(service.unique_name, "Echo", fds=[0, 0, 0, 0])
    kind, found, _ = await raw_reply(client, serial)
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.freedesktop.DBus.Error.LimitsExceeded")
    assert not seen
    assert count_fds() == before
    await assert_alive(service, client)


@pytest.mark.attack("C12")
@pytest.mark.parametrize("index", [1, 3, 0xFFFF_FFFF])
async def test_fd_index_out_of_range_is_an_error(connect_bus: Connect, attack: Attack, index: int) -> None:
    """5.2: the handler gets None for a descriptor that is not there."""
    service = await connect_bus()
    serve(service)
    client = attack()
    serial = client.call(service.unique_name, "TakeFd", "h", [index], fds=[0])
    try:
        kind, found, _ = await raw_reply(client, serial)
    except EOFError:
        return  # dbus-broker may check the index itself
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.freedesktop.DBus.Error.InvalidArgs")


@pytest.mark.attack("C30")
async def test_no_exception_text_reaches_the_caller(
    connect_bus: Connect, attack: Attack, caplog: pytest.LogCaptureFixture
) -> None:
    """5.2: dbus-next sends the traceback with paths and source lines."""
    service = await connect_bus()
    serve(service)
    client = attack()
    kind, found, body = await raw_reply(client, client.call(service.unique_name, "Boom"))
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.isoctl1.Error.Internal")
    text = str(body[0])
    assert text.startswith("Internal error ")
    assert not any(part in text for part in ("secret", "Traceback", "RuntimeError", "/"))
    assert text.rsplit(maxsplit=1)[-1] in caplog.text  # the id leads to the log
    await assert_alive(service, client)


@pytest.mark.attack("C15")
async def test_8_mib_array_of_variants_is_skipped(connect_bus: Connect, attack: Attack) -> None:
    """5.2: one 8 MiB `av` message blocks the loop for 7.5 s and costs 276 MiB."""
    service = await connect_bus()
    serve(service)
    client = attack()
    body = encode_variants(2 * 1024 * KIB)
    rss_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_sec = time.monotonic()
    serial = await asyncio.to_thread(client.call, service.unique_name, "Echo", "av", raw_body=body)
    kind, found, _ = await raw_reply(client, serial)
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.freedesktop.DBus.Error.LimitsExceeded")
    # bounds that a busy machine keeps: the fault takes 7.5 s
    assert time.monotonic() - started_sec < 5
    assert service.stats.max_turn_sec < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before_kib < 32 * KIB
    await assert_alive(service, client)


def encode_variants(count: int) -> bytes:
    """Encode the body of an `av` with `count` bytes in it."""
    return struct.pack("<I", 4 * count) + b"\x01y\0\x07" * count


@pytest.mark.attack("C15")
async def test_oversize_reply_fails_its_call_only(connect_bus: Connect) -> None:
    """C15: a reply over the cap ends the call that asked for it, at once, and nothing else."""
    service = await connect_bus(replace(SYSTEM_BUS_CAPS, max_message_bytes=1024 * KIB))
    service.on_call(lambda call: (service.reply(call, "ay", [bytes(500 * KIB)]), call.close())[1])
    client = await connect_bus()
    with pytest.raises(TooLarge):
        await client.call(service.unique_name, "/", "a.b", "C", timeout_sec=5)
    assert await client.name_owner("org.freedesktop.DBus") == "org.freedesktop.DBus"


@pytest.mark.attack("C15")
async def test_body_with_too_many_values_is_invalid_args(connect_bus: Connect, attack: Attack) -> None:
    """C15: within the size cap, the number of values bounds what decoding costs."""
    service = await connect_bus()
    serve(service)
    client = attack()
    serial = client.call(service.unique_name, "Echo", "av", raw_body=encode_variants(60_000))
    kind, found, _ = await raw_reply(client, serial)
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.freedesktop.DBus.Error.InvalidArgs")
    assert service.stats.max_turn_sec < 1
    await assert_alive(service, client)


@pytest.mark.attack("C15")
async def test_nested_variants_are_invalid_args(connect_bus: Connect, attack: Attack) -> None:
    """5.2: 60 nested variants pass the brokers and exceed our depth."""
    service = await connect_bus()
    serve(service)
    client = attack()
    serial = client.call(service.unique_name, "Echo", "v", raw_body=b"\x01v\0" * 50 + b"\x01y\0\x07")
    kind, found, _ = await raw_reply(client, serial)
    assert (kind, found["error_name"]) == (MessageKind.ERROR, "org.freedesktop.DBus.Error.InvalidArgs")
    await assert_alive(service, client)


@pytest.mark.attack("C15")
async def test_client_that_never_reads_hurts_nobody(connect_bus: Connect, attack: Attack) -> None:
    """5.2 and R17: 200 KB replies that are not fetched disconnect dbus-next; others must be served."""
    service = await connect_bus()
    serve(service)
    greedy, other = attack(), attack()
    for _ in range(300):
        greedy.call(service.unique_name, "Big")
    worst_sec = 0.0
    for _ in range(20):
        started_sec = time.monotonic()
        await assert_alive(service, other)
        worst_sec = max(worst_sec, time.monotonic() - started_sec)
    assert worst_sec < 5
    assert service.stats.queue_bytes <= SYSTEM_BUS_CAPS.max_total_queue_bytes


async def test_burst_of_signals_in_one_turn(connect_bus: Connect) -> None:
    """5.2: 50 signals of 4 KiB in one turn, no attacker, disconnect dbus-next."""
    service, listener = await connect_bus(), await connect_bus()
    got: list[int] = []
    done = asyncio.Event()

    def on_signal(signal: Message) -> None:
        got.append(signal.body[0])
        if len(got) == 200:
            done.set()

    rule = MatchRule(sender=service.unique_name, interface="a.b", member="S")
    await listener.add_match(rule, on_signal)
    for number in range(200):
        service.emit("/", "a.b", "S", "us", [number, "x" * 4 * KIB])
    await asyncio.wait_for(done.wait(), 5)
    assert got == list(range(200))
    assert service.stats.dropped_signals == 0


@pytest.mark.attack("C15")
async def test_4000_signatures_cost_no_memory(connect_bus: Connect, attack: Attack) -> None:
    """5.2: 4,000 distinct signatures add 34 MiB that are never freed."""
    service = await connect_bus()
    serve(service)
    client = attack()
    signatures = [
        f"({a}{b}{c}{d}{e})" for a in "yyub" for b in "yqib" for c in "ybui" for d in "yuqi" for e in "yuqibnx"
    ]
    rss_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        for signature in signatures:
            client.call(service.unique_name, "Echo", "v", raw_body=variant_of_zeros(signature), flags=1)
        await assert_alive(service, client)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before_kib < 8 * KIB


def variant_of_zeros(signature: str) -> bytes:
    """Encode a variant whose value is all zeros, at offset 0."""
    value = [False if token == "b" else 0 for token in signature.strip("()")]
    variant = Variant.__new__(Variant)
    variant.signature, variant.value = signature, value
    return encode_body("v", [variant])


@pytest.mark.attack("C07")
async def test_unicast_signal_of_a_stranger_reaches_no_handler(connect_bus: Connect, attack: Attack) -> None:
    """5.5: any client may send us any signal directly; only the owner of the name in the rule is believed."""
    service, listener = await connect_bus(), await connect_bus()
    await service.request_name("org.example.Service")
    got: list[str] = []
    rule = MatchRule(sender="org.example.Service", path="/a", interface="a.b", member="S")
    match = await listener.add_match(rule, lambda signal: got.append(signal.body[0]))
    fields = {PATH: "/a", INTERFACE: "a.b", MEMBER: "S", DESTINATION: listener.unique_name}
    client = attack()
    client.send(raw_message(SIGNAL, fields, serial=9, signature="s", body=["forged"]))
    service.emit("/a", "a.b", "S", "s", ["true"])
    await asyncio.sleep(0.3)
    assert got == ["true"]
    match.remove()
    service.emit("/a", "a.b", "S", "s", ["late"])
    await asyncio.sleep(0.1)
    assert got == ["true"]


async def test_owner_change_is_followed(connect_bus: Connect) -> None:
    """A restarted service's signals are believed, its predecessor's no longer."""
    first, second, listener = await connect_bus(), await connect_bus(), await connect_bus()
    got: list[str] = []
    rule = MatchRule(sender="org.example.Service", path="/a", interface="a.b", member="S")
    await listener.add_match(rule, lambda signal: got.append(signal.body[0]))
    for service in (first, second):
        await service.request_name("org.example.Service")
        service.emit("/a", "a.b", "S", "s", [service.unique_name])
        await asyncio.sleep(0.1)
        await first.close()
        await asyncio.sleep(0.1)  # a broker takes its time to see a hang-up
    assert got == [first.unique_name, second.unique_name]


async def test_call_errors_and_expected_signature(connect_bus: Connect) -> None:
    """Calls give what the service answers: value, error name and text, or BadReply."""
    service, client = await connect_bus(), await connect_bus()
    serve(service)
    with await client.call(service.unique_name, "/", "a.b", "Echo", "a{sv}", [{"k": Variant("u", 1)}]) as reply:
        assert reply.body == [{"k": Variant("u", 1)}]
    with pytest.raises(RemoteError) as caught:
        await client.call(service.unique_name, "/", "a.b", "Nothing")
    assert caught.value.name == "org.freedesktop.DBus.Error.UnknownMethod"
    with pytest.raises(RemoteError, match="ServiceUnknown"):
        await client.call("org.example.Nobody", "/", "a.b", "Nothing")


@pytest.mark.attack("C15")
async def test_flood_of_calls_is_served_in_small_turns(connect_bus: Connect, attack: Attack) -> None:
    """R18: 2,000 calls in one go stall the loop for no more than a turn."""
    service = await connect_bus()
    serve(service)
    client, other = attack(), attack()
    fields = {PATH: "/", INTERFACE: "a.b", MEMBER: "Echo", DESTINATION: service.unique_name}
    data = b"".join(raw_message(CALL, fields, serial=number, flags=1) for number in range(100, 2_100))
    await asyncio.to_thread(client.send, data)
    await assert_alive(service, other)
    assert service.stats.max_turn_sec < 1


async def test_call_slots_are_first_come_first_served(connect_bus: Connect) -> None:
    """Feasibility 8: no more calls are out than the broker allows; the others wait in order and all succeed."""
    service, client = await connect_bus(), await connect_bus()
    most, order = 0, []

    def on_call(call: Message) -> None:
        nonlocal most
        most = max(most, client.stats.pending_calls)
        order.append(call.body[0])
        service.reply(call)
        call.close()

    service.on_call(on_call)
    replies = await asyncio.gather(
        *(client.call(service.unique_name, "/", "a.b", "C", "u", [number]) for number in range(300))
    )
    assert len(replies) == 300
    assert order == list(range(300))
    assert most <= SYSTEM_BUS_CAPS.max_outstanding_calls
