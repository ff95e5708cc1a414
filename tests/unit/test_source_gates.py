"""What must not stand anywhere in the programs that run as root: the shortest way to a hole is one convenient line."""

import re
from pathlib import Path

import pytest

DAEMON = Path(__file__).resolve().parents[2] / "daemon"


def lines_with(pattern: str, *packages: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Give the lines of code, comments and docstrings left out as far as one can see, that match."""
    found = []
    for package in packages:
        for path in sorted((DAEMON / package).rglob("*.py")):
            name = str(path.relative_to(DAEMON))
            if name in allowed:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                code = line.split("#")[0]
                if re.search(pattern, code):
                    found.append(f"{name}:{number}: {line.strip()}")
    return found


@pytest.mark.attack("C05")
def test_no_process_is_a_subject_of_polkit() -> None:
    """CVE-2013-4288."""
    assert lines_with("unix-process", "isod", "isod_contract", "isod_session", "isod_helper") == []


@pytest.mark.attack("C33")
def test_only_the_helper_changes_its_uid() -> None:
    """CVE-2020-16126: for as long as a daemon has a user's uid, that user may signal it."""
    calls = r"\bset(re|res|e|fs)?[ug]id\b|setgroups|\buser=|\bgroup="
    assert lines_with(rf"os\.({calls})|libc\.({calls})", "isod", "isod_wire") == []


@pytest.mark.attack("C02")
def test_no_path_leads_through_a_process_or_an_administrators_tool() -> None:
    """CVE-2018-15664: such a path is looked up again by each call, and a link in it leads to the host."""
    shortcuts = r"/proc/(\{[^}]*\}|%[ds])/(root|cwd)|nsenter|systemd-run|machinectl"
    assert lines_with(shortcuts, "isod", "isod_helper", "isod_wire") == []


@pytest.mark.attack("C25")
def test_no_socket_is_abstract() -> None:
    """CVE-2020-15257: an abstract socket is reached by all that share the network, containers too."""
    assert lines_with(r'bind\(\s*f?b?"(\\0|\\x00|@)|unix:abstract', "isod", "isod_helper", "isod_session") == []


@pytest.mark.attack("C05")
def test_no_polkit_rule_is_shipped_and_no_action_is_anothers() -> None:
    """A rule for org.freedesktop.machine1 (host-shell above all) would give away the host; machined's own stand."""
    root = DAEMON.parent
    shipped = [
        path
        for directory in ("client", "daemon", "dbus-policy", "nix", "systemd-units", "tools")
        for path in (root / directory).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and root / "nix/tests" not in path.parents
    ]
    assert len(shipped) > 100
    for path in shipped:
        text = path.read_text(errors="replace")
        assert path.suffix != ".rules"
        assert "polkit.addRule" not in text
        assert "polkit.extraConfig" not in text
    actions = re.findall(r'<action id="([^"]+)"', (root / "dbus-policy/org.isoctl1.policy").read_text())
    assert actions
    assert all(action.startswith("org.isoctl1.") for action in actions)


@pytest.mark.attack("C50")
def test_machined_is_asked_for_nothing_that_a_container_decides() -> None:
    """A2: a call that opens something inside stops it for all containers; docs/threat-model.md has each call."""
    machined = (DAEMON / "isod/host/machined.py").read_text()
    asked = set(re.findall(r'_MANAGER, "(\w+)"', machined))
    assert asked == {"GetMachine", "TerminateMachine", "MapFromMachineUser"}
    assert machined.count("_connection.call(") == len(asked)
    assert lines_with(r"[\"']org\.freedesktop\.machine1", "isod", allowed=("isod/host/machined.py",)) == []


@pytest.mark.attack("C57")
def test_no_file_system_of_a_callers_is_asked() -> None:
    """fstat(2) and close(2) of a FUSE file wait for who serves it: isod_kernel.untrusted_fds does neither."""
    assert lines_with(r"os\.(fstat|stat\(f|fdopen)|sameopenfile", "isod/core", "isod/bus", "isod_wire") == []
    assert lines_with(r"os\.close", "isod/bus", "isod_wire") == ["isod/bus/caller.py:188: os.close(pidfd)"]
