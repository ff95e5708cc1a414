"""Names of containers: whatever is accepted is one unit, one path element, and itself again after every escaping."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod_contract import names

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
