"""Whatever a caller sends as names, argv, environment and options is taken within the bounds or refused by name."""

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isod.bus.requests import check_argv, parse_options
from isod_contract import limits, names, options
from isod_contract.errors import InvalidArgument
from isod_wire import Variant

CLASSES = [item for item in vars(options).values() if isinstance(item, type) and hasattr(item, "__dataclass_fields__")]
KEYS = sorted({key for item in CLASSES for key in options.wire_options(item)} | {"colour", "", "Stdin", "stdin\0"})
# of every kind of value that a message can hold: the bus checks no more than that a value is of its own signature
VALUES: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("s"), st.text(max_size=40)),
    st.tuples(st.just("as"), st.lists(st.text(max_size=40), max_size=8)),
    st.tuples(st.just("b"), st.booleans()),
    st.tuples(st.sampled_from("qnuixty"), st.integers(0, 255)),
    st.tuples(st.just("i"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("h"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("d"), st.floats()),
    st.tuples(st.just("ay"), st.binary(max_size=20)),
    st.tuples(st.just("a{sv}"), st.dictionaries(st.text(max_size=4), st.just(Variant("s", "x")), max_size=2)),
    st.tuples(st.just("v"), st.just(Variant("v", Variant("y", 1)))),
)
ENTRIES = st.one_of(
    st.text(max_size=30),
    st.builds("{}={}".format, st.sampled_from(["PATH", "LD_PRELOAD", "A", "1A", "A B", "", "LC_\n"]), st.text()),
)


def outcome(parse: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Give what was parsed, or the sentence of the refusal, which must fit on a line."""
    try:
        return parse(*arguments), ""
    except InvalidArgument as error:
        refusal = error.text
    assert refusal
    assert refusal.isprintable()
    return None, refusal


@pytest.mark.attack("C09")
@given(st.lists(st.text(max_size=200), max_size=30))
@example(["x" * (limits.ARGUMENT_BYTES_MAX + 1)])
def test_argv_is_taken_as_it_is_or_refused_by_position(untrusted: list[str]) -> None:
    taken, refusal = outcome(check_argv, untrusted)
    if refusal:
        assert re.match(r"argv(\[\d+\])?: ", refusal)
    else:
        assert list(taken) == untrusted
        assert taken[0]
        assert not any("\0" in argument for argument in taken)


@pytest.mark.attack("C08", "C09")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CLASSES), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), st.integers(0, 4))
def test_options_of_any_kind_are_parsed_or_refused_by_name(
    options_class: type, untrusted: dict[str, tuple[str, Any]], fds: int
) -> None:
    sent = {key: Variant(signature, value) for key, (signature, value) in untrusted.items()}
    parsed, refusal = outcome(parse_options, options_class, sent, fds)
    if not refusal:
        assert isinstance(parsed, options_class)
        assert sent.keys() <= options.wire_options(options_class).keys()


@pytest.mark.attack("C08")
@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=6))
def test_environment_that_is_taken_is_assignments_alone(untrusted: list[str]) -> None:
    parsed, refusal = outcome(parse_options, options.RunOptions, {"environment": Variant("as", untrusted)}, 0)
    if not refusal:
        taken = parsed.environment
        assert list(taken) == untrusted
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*", entry, re.DOTALL) for entry in taken)


@pytest.mark.attack("C10")
@settings(max_examples=300)
@given(st.text(max_size=70))
@example("a--b")
@example("-a")
@example("%i")
@example("a@b")
@example("a\\x2db")
@example("x" * 64)
@example(".")
@example("blog\n")
def test_a_name_that_is_taken_needs_no_escape_and_is_one_component(untrusted: str) -> None:
    path = names.container_path(untrusted) if untrusted else ""
    assert names.unescape_label(path.removeprefix(names.CONTAINER_PATH_PREFIX)) == untrusted or not untrusted
    if names.is_container_name(untrusted):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", untrusted)
        assert untrusted not in {".", ".."}
        assert len(untrusted) <= 64


@pytest.mark.attack("C10")
def test_systemd_reads_a_name_that_is_taken_as_it_is() -> None:
    taken = [name for name in ("blog", "a--b", "a-b.c", "Upper.Case-1", "x" * 63) if names.is_container_name(name)]
    done = subprocess.run(["systemd-escape", "--unescape", *(name.replace("-", r"\x2d") for name in taken)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == taken
