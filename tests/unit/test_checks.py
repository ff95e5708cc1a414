"""Checks of isod's side: from facts to the one finding that fits."""

from dataclasses import replace
from typing import Any

import pytest

from isod.checks import (
    ContainerFacts,
    HostFacts,
    container_checks,
    container_findings,
    host_checks,
    host_findings,
)
from isod.checks.facts import RunningFacts
from isod.policy import ContainerPolicy
from isod.policy_loader import PolicyProblem
from isod.policy_view import PolicyView
from isod.ports import Account, Caller, Inside, LiveSession, UnitSettings
from isod_contract.errors import StartFailed, Unsupported

ALICE = Caller(":1.2", 1000, "alice")
ROOT = Caller(":1.3", 0, "root")
ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
PRESENT = frozenset({"session-bus", "pam-systemd", "zoneinfo", "localtime", "needs-gpu"})
INSIDE = Inside(present=PRESENT, free_bytes=50 << 30, total_bytes=100 << 30, free_inodes=9, total_inodes=10)
RUNNING = RunningFacts(uid_shift=0, account=ACCOUNT, inside=INSIDE)
SETTINGS = UnitSettings(
    load_state="loaded",
    active_state="active",
    needs_reload=False,
    device_policy="closed",
    device_allow=(("/dev/null", "rwm"), ("char-pts", "rw"), ("/dev/net/tun", "rwm"), ("/dev/char/226:128", "rw")),
    command=(
        *("systemd-nspawn", "--keep-unit", "--bind-ro=/run/isod/container/blog/run:/run/isoctl"),
        *("--bind-ro=/run/isod/container/blog/dri:/dev/dri", "--bind=/srv/data", "--bind-ro=/nix/store"),
    ),
)
FACTS = ContainerFacts(
    name="blog",
    machine="blog",
    unit="container@blog.service",
    policy=ContainerPolicy(users=("alice",)),
    caller=ALICE,
    account_name="alice",
    grants={"wayland": "secured", "gpu": "render"},
    settings=SETTINGS,
    running=RUNNING,
)
SESSION = LiveSession(caller=ALICE, environment={}, wayland="context")
HOST = HostFacts(
    caller=ALICE,
    hints={"WAYLAND_DISPLAY": "wayland-1"},
    session=SESSION,
    wayland_levels=frozenset({"secured"}),
)


def inside(**changes: Any) -> dict[str, Any]:
    return {"running": replace(RUNNING, inside=replace(INSIDE, **changes))}


def running(**changes: Any) -> dict[str, Any]:
    return {"running": replace(RUNNING, **changes)}


def settings(**changes: Any) -> dict[str, Any]:
    return {"settings": replace(SETTINGS, **changes)}


def command(*words: str) -> dict[str, Any]:
    return settings(command=(*SETTINGS.command, *words))


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("account-missing", running(account=None)),
    ("account-missing", running(account=None) | {"account_name": ""}),
    ("account-uid", running(account=replace(ACCOUNT, uid=1500))),
    ("account-of-another", running(account=replace(ACCOUNT, uid=1001), other_owner="bob")),
    ("account-groups", inside(groups=("users", "sudo", "wheel"))),
    ("unit-missing", settings(load_state="not-found") | {"running": None}),
    ("unit-stale", settings(needs_reload=True)),
    ("dbus-missing", {"running": None, "problem": Unsupported(what="apps", reason="no bus")}),
    ("start-failed", {"running": None, "problem": StartFailed(container="blog", reason="its unit failed")}),
    ("container-silent", {"running": None, "silence": "its systemd does not answer"}),
    ("root-unusable", {"running": None, "lack": "/var/lib/machines/blog, where its files must be, is not there"}),
    ("pam-systemd-missing", inside(present=PRESENT - {"pam-systemd"})),
    ("logind-missing", running(has_logind=False)),
    ("session-bus-missing", inside(present=PRESENT - {"session-bus"})),
    ("disk-full", inside(free_bytes=10 << 20)),
    ("disk-full", inside(free_bytes=500 << 10, total_bytes=32 << 20)),
    ("disk-full", inside(free_inodes=1, total_inodes=1000)),
    ("network-no-address", inside(without_address=("host0",))),
    ("locale-missing", running(dropped_locales=("LANG=de_DE.UTF-8",))),
    ("terminfo-missing", running(unknown_terminal=("foot", "xterm-256color"))),
    ("zoneinfo-missing", inside(present=PRESENT - {"zoneinfo"})),
    ("localtime-missing", inside(present=PRESENT - {"localtime"})),
    ("display-refused", {"display_problems": (Unsupported(what="the host's X server", reason="this isod can't"),)}),
    ("display-socket-missing", running(missing_sockets=("/run/isoctl/1000/wayland-0",))),
    ("driver-missing", inside(present=PRESENT - {"needs-gpu"})),
    ("device-policy", settings(device_policy="auto")),
    ("device-allow", settings(device_allow=(*SETTINGS.device_allow, ("char-*", "rw")))),
    ("device-allow", settings(device_allow=(*SETTINGS.device_allow, ("/dev/dri/card0", "rw")))),
    ("device-tun", settings(device_allow=(), command=(*SETTINGS.command, "--private-users=pick"))),
    ("device-tun", settings(device_allow=(), command=(*SETTINGS.command, "-U")) | {"running": None}),
    ("device-tun", settings(device_allow=()) | running(uid_shift=65536)),
    ("bind-unsafe", command("--bind=/run/user/1000")),
    ("bind-unsafe", command("--bind=/tmp/.X11-unix:/tmp/.X11-unix:rbind")),
    ("bind-unsafe", command("--bind-ro=/")),
    ("bind-unsafe", command("--bind=+/dev/dri/")),
    ("interface-name", command("--network-veth") | {"machine": "a-name-too-long-for-it"}),
]  # fmt: skip


def codes(facts: ContainerFacts) -> list[str]:
    return [finding.code for finding in container_findings(facts)]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert codes(FACTS) == []
    assert host_findings(HOST) == []
    # ... nor in what does not run, or where the account is another's by policy
    assert codes(replace(FACTS, running=None)) == []
    assert (
        codes(replace(FACTS, account_name="dev", **running(account=Account("dev", 1200, 1200, "/", "/bin/sh")))) == []
    )
    assert codes(replace(FACTS, caller=ROOT, **running(account=Account("root", 0, 0, "/root", "/bin/sh")))) == []


@pytest.mark.parametrize(("code", "changes"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_each_fault_is_exactly_one_finding(code: str, changes: dict[str, Any]) -> None:
    (finding,) = container_findings(replace(FACTS, **changes))
    assert finding.code == code
    assert all("\n" not in text for text in finding)
    # something to copy: a command, a key of the policy, or what to install
    assert "`" in finding.fix or finding.fix.startswith("install")


def test_every_check_of_a_container_has_been_seen_to_find_something() -> None:
    assert {check.code for check in container_checks()} == {code for code, _ in BROKEN}


def test_a_locale_that_policy_sets_over_the_sessions_is_no_finding() -> None:
    changes = running(dropped_locales=("LANG=de_DE.UTF-8",))
    for variable in ("LANG", "LC_ALL"):
        policy = ContainerPolicy(users=("alice",), environment={variable: "C.UTF-8"})
        assert codes(replace(FACTS, policy=policy, **changes)) == []


def test_a_terminal_that_policy_names_is_no_finding() -> None:
    """N24."""
    policy = ContainerPolicy(users=("alice",), environment={"TERM": "vt100"})
    assert codes(replace(FACTS, policy=policy, **running(unknown_terminal=("foot", "")))) == []


REFUSED = PolicyProblem("/etc/isod/containers/blog.toml", 3, "users: what it holds", "nothing of it is in force")
HOST_BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("policy-refused", {"policy": PolicyView(problems=(REFUSED,))}),
    ("policy-stale", {"policy": PolicyView(is_stale=True)}),
    ("policy-no-account", {"policy": PolicyView(unknown={"blog": {"users": ["alcie"]}})}),
    ("session-missing", {"session": None}),
    ("compositor-missing", {"session": replace(SESSION, wayland="")}),
    ("compositor-beyond-windows", {"session": replace(SESSION, wayland="context", exposed=("zwlr_layer_shell_v1",))}),
    ("compositor-unsafe", {"session": replace(SESSION, wayland="unsafe", exposed=("weston_capture_v1",))}),
]


@pytest.mark.parametrize(("code", "changes"), HOST_BROKEN, ids=[code for code, _ in HOST_BROKEN])
def test_each_fault_of_the_host_is_exactly_one_finding(code: str, changes: dict[str, Any]) -> None:
    (finding,) = host_findings(replace(HOST, **changes))
    assert finding.code == code


def test_every_check_of_the_host_has_been_seen_to_find_something() -> None:
    assert {check.code for check in host_checks()} == {code for code, _ in HOST_BROKEN}


def test_what_is_in_a_policy_file_is_for_root() -> None:
    view = PolicyView(problems=(REFUSED,))
    (finding,) = host_findings(replace(HOST, policy=view))
    assert "blog.toml:3; nothing of it is in force" in finding.what
    assert "what it holds" not in finding.what
    (finding,) = host_findings(replace(HOST, caller=ROOT, policy=view))
    assert "what it holds" in finding.what
    assert "nothing of it is in force" in finding.what


def test_whom_policy_names_in_vain_is_for_root() -> None:
    """N15: a mistyped name passed --check, reload and doctor."""
    view = PolicyView(unknown={"blog": {"users": ["alcie"], "groups": ["nosuch"]}})
    first, second = host_findings(replace(HOST, caller=ROOT, policy=view))
    assert "this host has no user 'alcie'" in first.what
    assert "this host has no group 'nosuch'" in second.what
    assert "alcie" not in str(host_findings(replace(HOST, policy=view)))


def test_a_compositor_that_only_raw_containers_use_is_no_finding() -> None:
    session = replace(SESSION, wayland="unsafe", exposed=("weston_capture_v1",))
    assert host_findings(replace(HOST, session=session, wayland_levels=frozenset({"raw"}))) == []
