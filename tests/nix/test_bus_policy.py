"""The policy of the system bus that knows whom isod's policy names, and no one else."""

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from case import ALICE
from nixeval import REPOSITORY, evaluate

NAMED = (
    'services.isod.enable = true; services.isod.onlyNamed = true; services.isod.settings.defaults.ask = [ "carol" ]; '
    'services.isod.containers = { web = { users = [ "alice" "bob" ]; groups = [ "web & co" ]; }; '
    'mail.users = [ "alice" ]; };'
)


@pytest.fixture(scope="module")
def policy() -> str:
    found = evaluate(
        f"with t; (builtins.head (host [ {{ {ALICE} {NAMED} }} ]).config.services.dbus.packages).environment.policy"
    )
    assert isinstance(found, str)
    return found


def rules(policy: ET.Element) -> list[dict[str, str]]:
    return [rule.attrib for rule in policy if rule.tag == "allow"]


@pytest.mark.attack("C15")
def test_who_is_named_may_what_else_everybody_may(policy: str) -> None:
    shipped = ET.parse(REPOSITORY / "dbus-policy/org.isoctl1.conf").getroot()
    everybody = rules(shipped.findall("policy[@context='default']")[0])
    assert len(everybody) > 20
    made = ET.fromstring(policy)
    (default,) = made.findall("policy[@context='default']")
    assert [(rule.tag, rule.attrib) for rule in default] == [("deny", {"send_destination": "org.isoctl1"})]
    given = {
        (kind, name): rules(entry)
        for entry in made.findall("policy")
        for kind, name in entry.attrib.items()
        if name != "root"
    }
    del given["context", "default"]
    assert given == dict.fromkeys(
        [("user", "alice"), ("user", "bob"), ("user", "carol"), ("group", "web & co")], everybody
    )
    roots = [
        rules(entry) for entry in (*made.findall("policy[@user='root']"), *shipped.findall("policy[@user='root']"))
    ]
    assert roots[0] == roots[1] != []


def test_the_bus_takes_it(policy: str, tmp_path: Path) -> None:
    """A broker that can't read its policy does not start."""
    (tmp_path / "org.isoctl1.conf").write_text(policy)
    config = tmp_path / "bus.conf"
    config.write_text(
        "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN' "
        "'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>"
        f"<busconfig><listen>unix:path={tmp_path}/bus</listen><includedir>{tmp_path}</includedir></busconfig>"
    )
    config.rename(tmp_path / "bus.config")
    argv = ["dbus-daemon", f"--config-file={tmp_path}/bus.config", "--print-address", "--fork", "--print-pid"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    pid = int(done.stdout.split()[-1])
    subprocess.run(["kill", str(pid)], check=True)


def test_by_default_the_bus_has_the_packages_own() -> None:
    names = evaluate(
        f"with t; map (one: one.name) (host [ {{ {ALICE} services.isod.enable = true; }} ]).config.services.dbus.packages"
    )
    assert names == ["isoctl"]
