"""isoctl's marshalling, against jeepney's: the same bytes, the same values, and no trust in what is received."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney.low_level import Endianness, parse_signature

from isoctl.marshal import MarshalError, Variant, decode, encode, plain, single_types

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "o": st.sampled_from(["/", "/org/isoctl1", "/a/b_c"]),
    "g": st.sampled_from(["", "s", "a{sv}", "(ii)as"]),
}


@st.composite
def typed(draw: st.DrawFn, depth: int = 3) -> tuple[str, Any]:
    """Draw a single type and a value of it."""
    kind = draw(st.sampled_from([*BASIC, *(["a", "{", "(", "v", "ay"] if depth else [])]))
    if kind in BASIC:
        return kind, draw(BASIC[kind])
    if kind == "ay":
        return kind, draw(st.binary(max_size=20))
    if kind == "v":
        return "v", draw(typed(depth - 1))
    if kind == "(":
        parts = draw(st.lists(typed(depth - 1), min_size=1, max_size=3))
        return "(" + "".join(part[0] for part in parts) + ")", tuple(part[1] for part in parts)
    if kind == "{":
        key = draw(st.sampled_from("sui"))
        signature, value = draw(typed(depth - 1))
        keys = draw(st.lists(BASIC[key], max_size=3, unique=True))
        return f"a{{{key}{signature}}}", dict.fromkeys(keys, value)
    signature, value = draw(typed(depth - 1).filter(lambda drawn: drawn[0] != "y"))
    return f"a{signature}", [value] * draw(st.integers(0, 3))


@given(st.lists(typed(), max_size=4))
def test_the_same_bytes_and_values_as_jeepney(values: list[tuple[str, Any]]) -> None:
    signature = "".join(kind for kind, _ in values)
    body = tuple(value for _, value in values)
    ours = encode(signature, body, [])
    theirs = parse_signature(list(f"({signature})"))
    if not values:
        assert ours == b""
        return
    assert ours == theirs.serialise(body, 0, Endianness.little)
    assert tuple(decode(signature, ours)) == theirs.parse_data(ours, 0, Endianness.little)[0]
    big = theirs.serialise(body, 0, Endianness.big)
    assert tuple(decode(signature, big, little=False)) == body


@given(st.binary(max_size=200), st.sampled_from(["s", "a{sv}", "v", "aav", "(sas)", "a(oa{sv})", "ay", "h", "ad"]))
def test_any_bytes_give_a_value_or_a_refusal(raw: bytes, signature: str) -> None:
    with contextlib.suppress(MarshalError):
        decode(signature, raw)


@pytest.mark.parametrize("signature", ["a", "(", "(s", "{sv}x)", "z", "a{s", "(" * 80 + ")" * 80, "a" * 80 + "s"])
def test_broken_signatures_are_refused(signature: str) -> None:
    with pytest.raises(MarshalError):
        single_types(signature)


def test_nesting_by_variants_is_bounded() -> None:
    value: Any = ("s", "x")
    for _ in range(100):
        value = ("v", value)
    with pytest.raises(MarshalError):
        decode("v", encode("v", (value,), []))


@pytest.mark.parametrize(("signature", "value"), [("u", -1), ("u", 2**32), ("y", 256), ("q", "text"), ("i", None)])
def test_values_that_do_not_fit_are_refused(signature: str, value: Any) -> None:
    with pytest.raises(MarshalError):
        encode(signature, (value,), [])


def test_descriptors_are_numbered_in_order() -> None:
    fds: list[int] = []
    raw = encode("ha{sv}", (7, {"stdin": ("h", 9)}), fds)
    assert fds == [7, 9]
    assert decode("ha{sv}", raw) == [0, {"stdin": ("h", 1)}]


def test_a_struct_of_two_texts_is_no_variant() -> None:
    received = decode("a{sv}", encode("a{sv}", ({"Problem": ("(ss)", ("s", "text"))},), []))
    assert isinstance(received[0]["Problem"], Variant)
    assert plain(received[0]) == {"Problem": ["s", "text"]}
