"""The body codec against dbus_next's own, and against corruption."""

import contextlib
import io
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import dbus_next
import pytest
from dbus_next._private.marshaller import Marshaller
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import SignatureTree
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isod_wire import BadMessage, Variant
from isod_wire.decode import decode_body
from isod_wire.encode import encode_body
from isod_wire.signature import MAX_CACHED_SIGNATURES, _cache, parse_signature

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_]{1,5}", fullmatch=True), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 0xFF),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "o": PATHS,
    "g": st.sampled_from(["", "s", "a{sv}", "(ii)as"]),
    "h": st.integers(0, 15),
}
TYPES = st.recursive(
    st.sampled_from([*BASIC, "v"]),
    lambda inner: st.one_of(
        inner.map(lambda element: "a" + element),
        st.lists(inner, min_size=1, max_size=3).map(lambda members: "(" + "".join(members) + ")"),
        st.tuples(st.sampled_from("sogiuyxb"), inner).map(lambda pair: "a{" + pair[0] + pair[1] + "}"),
    ),
    max_leaves=4,
)


def values(signature: str) -> st.SearchStrategy[Any]:
    """Return a strategy for values of one complete type."""
    return _values(SignatureTree(signature).types[0])


def _values(node: Any) -> st.SearchStrategy[Any]:
    if node.token == "v":
        return st.sampled_from(["s", "u", "ay", "(sb)", "a{sv}"]).flatmap(
            lambda inner: (st.just({}) if inner == "a{sv}" else values(inner)).map(lambda value: Variant(inner, value))
        )
    if node.token == "(":
        return st.tuples(*map(_values, node.children)).map(list)
    if node.token == "a":
        (child,) = node.children
        if child.token == "{":
            return st.dictionaries(_values(child.children[0]), _values(child.children[1]), max_size=3)
        return st.binary(max_size=9) if child.token == "y" else st.lists(_values(child), max_size=3)
    return BASIC[node.token]


BODIES = st.lists(TYPES, max_size=4).flatmap(
    lambda types: st.tuples(st.just("".join(types)), st.tuples(*map(values, types)).map(list))
)


def decode(
    data: bytes, signature: str, *, little: bool = True, max_depth: int = 32, max_values: int = 32_768
) -> list[Any]:
    return decode_body(data, signature, little=little, max_depth=max_depth, max_values=max_values)


@given(BODIES)
@settings(max_examples=400)
def test_encoding_equals_dbus_next_and_decoding_inverts_it(case: tuple[str, list[Any]]) -> None:
    signature, body = case
    data = encode_body(signature, body)
    marshaller = Marshaller(signature, body)
    marshaller.marshall()
    assert data == bytes(marshaller.buffer)
    assert decode(data, signature) == body


@given(BODIES, st.data())
@settings(max_examples=600)
def test_corruption_raises_nothing_but_bad_message(case: tuple[str, list[Any]], data: st.DataObject) -> None:
    signature, body = case
    encoded = bytearray(encode_body(signature, body))
    for _ in range(data.draw(st.integers(1, 4))):
        if encoded:
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for attempt in (bytes(encoded), bytes(encoded[:cut]), bytes(encoded) + b"\0"):
        for little in (True, False):
            with contextlib.suppress(BadMessage):
                decode(attempt, signature, little=little)


@given(st.binary(max_size=300), st.text("ybnqiuxtdsogavh(){}", max_size=12))
@example(b"", "a" * 40)
@settings(max_examples=800)
def test_random_bytes_and_signatures_raise_nothing_but_bad_message(data: bytes, signature: str) -> None:
    with contextlib.suppress(BadMessage):
        decode(data, signature)


@given(st.text(max_size=300))
@example("(" * 100)
@example("a" * 255)
@example("a{" * 50 + "ss" + "}" * 50)
def test_any_signature_parses_or_is_a_bad_message(text: str) -> None:
    try:
        parsed = parse_signature(text)
    except BadMessage:
        return
    assert "".join(node.signature for node in parsed.types) == text


@pytest.mark.parametrize("signature", ["{sv}", "({sv})", "a{vs}", "a{(s)s}", "()", "a", "(", "z", "a" * 33 + "y"])
def test_invalid_signatures(signature: str) -> None:
    with pytest.raises(BadMessage):
        parse_signature(signature)


def test_big_endian() -> None:
    data = struct.pack(">I4sQ", 3, b"abc\0", 7) + struct.pack(">II", 4, 9) + struct.pack(">I", 1)
    assert decode(data, "staub", little=False) == ["abc", 7, [9], True]


@pytest.mark.parametrize(
    ("signature", "body", "place"),
    [
        ("s", ["a\0b"], r"body\[0\]: string contains NUL"),
        ("as", [["a", "b\0"]], r"body\[0\]\[1\]: string contains NUL"),
        ("a{sv}", [{"k": Variant("s", "\0")}], r"body\[0\]\['k'\]: string contains NUL"),
        ("s", ["\ud800"], "not UTF-8"),
        ("o", ["/a\n"], "object path"),
        ("o", ["/a/"], "object path"),
        ("g", ["("], "invalid signature"),
        ("y", [256], "0 to 255"),
        ("q", [-1], "out of range"),
        ("u", [True], "expected int"),
        ("b", [1], "expected bool"),
        ("ay", ["text"], "expected bytes"),
        ("(ss)", [["a"]], "list or tuple of 2"),
        ("ss", ["a"], "1 values"),
        ("v", ["a"], "expected Variant"),
        ("a{ss}", [[]], "expected dict"),
    ],
)
def test_values_that_a_broker_would_punish_are_refused(signature: str, body: list[Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        encode_body(signature, body)


def test_structs_may_be_tuples() -> None:
    assert encode_body("a(su)", [[("a", 1)]]) == encode_body("a(su)", [[["a", 1]]])


@pytest.mark.parametrize(
    ("signature", "data"),
    [
        ("b", b"\2\0\0\0"),
        ("s", b"\1\0\0\0a!"),
        ("s", b"\2\0\0\0a\0\0"),
        ("s", b"\1\0\0\0\xff\0"),
        ("s", b"\xff\xff\xff\xffa\0"),
        ("o", b"\2\0\0\0//\0"),
        ("ai", b"\3\0\0\0abc"),
        ("as", b"\4\0\0\0\1\0\0\0a\0"),
        ("v", b"\0\0"),
        ("v", b"\2ss\0"),
        ("u", b"\0\0\0\0\0"),
    ],
)
def test_malformed_bodies(signature: str, data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data, signature)


def test_depth_is_capped_exactly() -> None:
    def nested(levels: int) -> bytes:
        return b"\1v\0" * (levels - 1) + b"\1y\0\7"

    assert decode(nested(32), "v")
    with pytest.raises(BadMessage, match="deeply"):
        decode(nested(33), "v")
    with pytest.raises(BadMessage, match="deeply"):
        decode(b"", "aaaay", max_depth=3)


def test_number_of_values_is_capped() -> None:
    for signature, value in (("av", [Variant("y", 0)]), ("as", [""]), ("aay", [b""]), ("a(yyyy)", [(0, 0, 0, 0)])):
        data = encode_body(signature, [value * 2_000])
        with pytest.raises(BadMessage, match="too many"):
            decode(data, signature, max_values=1_000)


def test_signature_caches_are_bounded() -> None:
    for number in range(4_000):
        tokens = [("y", "q", "i", "u", "x", "t", "s", "b")[number >> shift & 7] for shift in (0, 3, 6, 9)]
        parse_signature("".join(tokens))
        Variant("(" + "".join(tokens) + ")", [{"s": "", "b": False}.get(token, 0) for token in tokens])
    assert len(_cache) <= MAX_CACHED_SIGNATURES
    assert len(SignatureTree._cache) <= MAX_CACHED_SIGNATURES


def properties_changed() -> bytes:
    """Encode a PropertiesChanged as systemd sends for a service: 80 properties."""
    samples = [Variant("s", "some value"), Variant("t", 1), Variant("b", True), Variant("as", ["a", "b"])]
    samples += [Variant("u", 5), Variant("(so)", ["x", "/a/b"]), Variant("a(sasbttttuii)", []), Variant("i", -1)]
    changed = {f"SomePropertyOfIt{number}": samples[number % len(samples)] for number in range(80)}
    return encode_body("sa{sv}as", ["org.freedesktop.systemd1.Service", changed, []])


def best_sec(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of some rounds: what others do on this machine must not count."""
    times = []
    for _ in range(rounds):
        started_sec = time.thread_time()
        work()
        times.append(time.thread_time() - started_sec)
    return min(times)


def test_80_properties_decode_in_half_the_time_that_dbus_next_takes() -> None:
    """Such a signal comes with each change of each unit; 0.2 ms against 0.6 ms were measured."""
    data = properties_changed()
    body = decode(data, "sa{sv}as")
    signal = dbus_next.Message(
        message_type=dbus_next.MessageType.SIGNAL, serial=1,
        path="/a", interface="a.b", member="C", signature="sa{sv}as", body=body,
    )  # fmt: skip
    whole = bytes(signal._marshall())
    ours_sec = best_sec(lambda: decode(data, "sa{sv}as"), 50)
    theirs_sec = best_sec(lambda: Unmarshaller(io.BytesIO(whole)).unmarshall(), 50)
    assert ours_sec < theirs_sec / 2


def test_worst_bodies_within_the_caps_cost_little_time() -> None:
    """R18: neither many variants nor many new signatures stall the loop."""
    rng = random.Random(7)
    many = encode_body("av", [[Variant("y", 0)] * 60_000])
    signatures = ["(" + "".join(rng.choice("yuqnix") for _ in range(7)) + ")" for _ in range(6_000)]
    fresh = encode_body("av", [[Variant(signature, [0] * 7) for signature in signatures]])

    def refuse(data: bytes) -> None:
        _cache.clear()
        SignatureTree._cache.clear()
        with pytest.raises(BadMessage):
            decode(data, "av")

    for data in (many, fresh):
        # 0.03 s were measured; without the caps it is seconds
        assert best_sec(lambda data=data: refuse(data), 5) < 0.15  # type: ignore[misc]
