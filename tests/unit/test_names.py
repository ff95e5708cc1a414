"""Names of containers: whatever is accepted is one unit, one path element, and itself again after every escaping."""

import contextlib
import re

import pytest
from dbus_next import Variant
from hypothesis import given
from hypothesis import strategies as st

from isod.bus.requests import parse_options
from isod.host.accounts import groups_of, parse_passwd
from isod.policy import ContainerPolicy
from isod_contract import names
from isod_contract.errors import InvalidArgument
from isod_contract.options import RunOptions

# What systemd leaves as it is in the instance of a unit's name (unit_name_escape; "-" would mean "/" there).
STABLE_IN_UNITS = re.compile(r"[A-Za-z0-9:_.\\-]+")


@pytest.mark.attack("C10")
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", "-a", "a-", ".a", "a.", "%i", "%u", "a@b", "a\\x2db", "a/b", "../a", "a b", "a\n", "a\0b",
     "é", "x" * 65, "a" * 1000, "a;b", "$a", "*"],
)  # fmt: skip
def test_what_would_be_another_unit_or_path_is_refused(name: str) -> None:
    """S10, CVE-2021-33910, CVE-2026-40223: a name too long, or one that PID 1 expands."""
    assert not names.is_container_name(name)


@pytest.mark.attack("C10")
@pytest.mark.parametrize("name", ["a", "blog", "a--b", "A.b-1", "x" * 64, "0"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert names.is_container_name(name)


@pytest.mark.attack("C10")
@given(st.text(alphabet=st.sampled_from("aZ09-._@%\\/ \n\0x:é\u202e"), max_size=70) | st.text(max_size=70))
def test_each_accepted_name_is_itself_after_every_escaping(untrusted_name: str) -> None:
    if not names.is_container_name(untrusted_name):
        return
    assert STABLE_IN_UNITS.fullmatch(untrusted_name)
    assert "%" not in untrusted_name
    path = names.container_path(untrusted_name)
    assert re.fullmatch(r"/org/isoctl1/container/[A-Za-z0-9_]+", path)
    assert names.unescape_label(path.rpartition("/")[2]) == untrusted_name
    assert len(f"container@{untrusted_name}.service") < 256


@pytest.mark.attack("C10")
@given(st.text(max_size=40))
def test_a_label_of_a_path_leads_to_one_name_at_most(untrusted_label: str) -> None:
    """Two paths for one container would be two objects with two sets of rights."""
    name = names.unescape_label(untrusted_label)
    assert name is None or names.escape_label(name) == untrusted_label


@pytest.mark.attack("C10")
@given(st.text(max_size=40))
def test_an_id_of_an_app_is_128_bits_in_one_spelling(untrusted_id: str) -> None:
    assert names.is_app_id(untrusted_id) == bool(re.fullmatch(r"[0-9a-f]{32}", untrusted_id))


# What useradd(8) makes with and without --badname, SSSD, winbind and systemd-homed.
ACCOUNTS = [
    *("alice", "_apt", "anna.maria", "Karl", "user@example.org", "CORP\\alice", "v" * 40, "jörg", "a-b_c", "x" * 255)
]
NO_ACCOUNTS = [
    *("", "4712", "-x", ".", "..", "a b", "a:b", "a/b", "a\n", "a\0", "$x", "a'b", 'a"b', "`x`", "*", "?", "\u202ea"),
    "x" * 256,
]


@pytest.mark.attack("C10")
@pytest.mark.parametrize("name", [*ACCOUNTS, *NO_ACCOUNTS], ids=ascii)
def test_one_rule_says_what_an_account_may_be_called(name: str) -> None:
    """N3: policy took what the contract refused, and what the container had was called missing."""
    expected = name in ACCOUNTS
    assert names.is_account_name(name) == expected
    with contextlib.nullcontext() if expected else pytest.raises(ValueError, match="not the name of an account"):
        assert ContainerPolicy(users=(name,), groups=(name,)).users == (name,)
    with contextlib.nullcontext() if expected else pytest.raises(ValueError, match="not the name of an account"):
        assert ContainerPolicy(user=name).user == name
    with contextlib.nullcontext() if expected else pytest.raises(InvalidArgument, match="not the name of an account"):
        assert parse_options(RunOptions, {"user": Variant("s", name)}, 0).user == name
    passwd = f"{name}:x:1500:1500::/home/x:/bin/sh\n".encode()
    assert [*parse_passwd(passwd)] == ([name] if expected else [])
    assert groups_of(f"{name}:x:5:alice\n".encode(), "alice") == ((name,) if expected else ())


def test_only_a_plain_name_stands_in_a_units_name() -> None:
    policy = ContainerPolicy(users=("alice",), unit="box@%u.service")
    assert policy.unit_for("alice") == "box@alice.service"
    for name in ("anna.maria", "CORP\\alice", "user@example.org"):
        with pytest.raises(ValueError, match="name a unit without %u"):
            policy.unit_for(name)
