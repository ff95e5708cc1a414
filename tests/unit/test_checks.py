"""Checks of isod's side: from facts to the one finding that fits."""

from dataclasses import fields, is_dataclass, replace
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
from isod.device_ports import UnmetDevices
from isod.policy import ContainerPolicy
from isod.policy_loader import PolicyProblem
from isod.policy_view import PolicyView
from isod.ports import Account, Caller, LiveSession, UnitSettings
from isod.survey_ports import Inside, Network, Places, Resolver, Space
from isod_contract.errors import StartFailed, Unsupported
from isod_wire.encode import encode_body

ALICE = Caller(":1.2", 1000, "alice")
ROOT = Caller(":1.3", 0, "root")
ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
PRESENT = frozenset({"session-bus", "pam-systemd", "zoneinfo", "localtime", "needs-gpu"})
NETWORK = Network(is_own=True, has_address=True, has_route_out=True)
INSIDE = Inside(present=PRESENT, space=Space(50 << 30, 100 << 30, 9, 10), root_owner=0, network=NETWORK)
PLACES = Places(tmp=Space(1 << 30, 2 << 30, 9, 10), resolver=Resolver(servers=("192.0.2.53",)))
RUNNING = RunningFacts(uid_shift=0, account=ACCOUNT, inside=INSIDE, places=PLACES)
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


def network(**changes: Any) -> dict[str, Any]:
    return inside(network=replace(NETWORK, **changes))


def places(**changes: Any) -> dict[str, Any]:
    return {"running": replace(RUNNING, places=replace(PLACES, **changes))}


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
    ("disk-full", inside(space=Space(10 << 20, 100 << 30, 9, 10))),
    ("disk-full", inside(space=Space(500 << 10, 32 << 20, 9, 10))),
    ("disk-full", inside(space=Space(50 << 30, 100 << 30, 1, 1000))),
    ("tmp-full", places(tmp=Space(1 << 20, 2 << 30, 9, 10))),
    ("tmp-full", places(tmp=Space(90 << 20, 100 << 20, 9, 10))),
    ("tmp-full", places(tmp=Space(1 << 30, 2 << 30, 0, 1000))),
    ("root-shifted", inside(root_owner=1_876_951_040)),  # N-5
    ("root-shifted", inside(root_owner=0) | {"running": replace(RUNNING, uid_shift=65536)}),  # N-5
    ("root-shifted", {"running": replace(RUNNING, uid_shift=65536, places=replace(PLACES, home="is nobody's"))}),
    ("home-unusable", places(home="belongs to root inside")),
    ("home-unusable", places(home="is not there") | {"account_name": "alice"}),
    ("share-parents", places(parents=("/home/alice/.config", "/home/alice/src"))),
    ("not-looked-at", places(unseen=("/tmp (Input/output error)",))),
    ("not-asked", places(unasked=("/tmp (on the way lies a file system of type fuse)",))),
    ("network-no-address", network(without_address=("host0",), has_address=False, has_route_out=False)),
    ("network-no-route", network(has_route_out=False)),
    ("link-unaddressed", network(unaddressed_peer="ve-blog")),
    ("nameserver-dead", places(resolver=Resolver(servers=("127.0.0.1",), silent=("127.0.0.1",)))),
    ("resolv-stale", places(resolver=Resolver(servers=("192.0.2.1",), hosts_servers=("192.0.2.2",)))),
    ("hostname-unresolved", places(unresolved_name="blog")),
    (
        "sandbox-no-proc",
        running(inside=replace(INSIDE, present=PRESENT | {"bwrap"}), places=replace(PLACES, proc_is_masked=True)),
    ),
    ("locale-missing", running(dropped_locales=("LANG=de_DE.UTF-8",))),
    ("terminfo-missing", running(unknown_terminal=("foot", "xterm-256color"))),
    ("zoneinfo-missing", inside(present=PRESENT - {"zoneinfo"})),
    ("localtime-missing", inside(present=PRESENT - {"localtime"})),
    ("display-refused", {"display_problems": (Unsupported(what="the host's X server", reason="this isod can't"),)}),
    ("display-socket-missing", running(missing_sockets=("/run/isoctl/1000/wayland-0",))),
    ("driver-missing", inside(present=PRESENT - {"needs-gpu"})),
    ("device-absent", {"unmet": UnmetDevices(absent=("0000:01:00.0", "/dev/nvidia0"))}),
    ("device-never", {"unmet": UnmetDevices(never=("'SUBSYSTEM=usb': nodes in /dev/bus/usb are not given",))}),
    ("device-policy", settings(device_policy="auto")),
    ("device-allow", settings(device_allow=(*SETTINGS.device_allow, ("char-*", "rw")))),
    ("device-allow", settings(device_allow=(*SETTINGS.device_allow, ("/dev/dri/card0", "rw")))),
    ("device-tun", settings(device_allow=(), command=(*SETTINGS.command, "--private-users=pick"))),
    ("device-tun", settings(device_allow=(), command=(*SETTINGS.command, "-U")) | {"running": None}),
    ("device-tun", settings(device_allow=()) | running(uid_shift=65536, inside=replace(INSIDE, root_owner=65536))),
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
    assert "`" in finding.fix or finding.fix.startswith("install") or (code == "not-asked" and not finding.fix)


def _with(value: Any, added: str) -> Any:
    """Give facts with something at the end of each text of theirs."""
    if isinstance(value, str):
        return value + added
    if isinstance(value, tuple):
        return tuple(_with(item, added) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _with(getattr(value, field.name), added) for field in fields(value)})
    return value


@pytest.mark.attack("C21")
@pytest.mark.parametrize(
    "added",
    ["\udcff", chr(0xD800), "\0", "\x1b[2J", "\n", "\u2028", "\u202e", "x" * 65536],
    ids=["byte", "half", "nul", "escape", "newline", "separator", "bidi", "long"],
)
def test_what_is_read_in_a_container_spoils_no_answer(added: str) -> None:
    """A mount, a file or a program inside may have any name; one finding must not take the others with it."""
    seen = set()
    for _, changes in BROKEN:
        told = {name: _with(value, added) if name == "running" else value for name, value in changes.items()}
        found = container_findings(replace(FACTS, **told))
        assert encode_body("a(ssss)", [[tuple(finding) for finding in found]])
        assert all(text.isprintable() and len(text) < 3000 for finding in found for text in finding)
        seen |= {finding.code for finding in found}
    assert {"share-parents", "not-looked-at", "hostname-unresolved", "locale-dropped"} & seen


def test_every_check_of_a_container_has_been_seen_to_find_something() -> None:
    assert {check.code for check in container_checks()} == {code for code, _ in BROKEN}


@pytest.mark.parametrize(
    "changes",
    [
        # what has no way out by choice needs no name server
        running(
            inside=replace(INSIDE, network=Network()),
            places=replace(PLACES, resolver=Resolver(servers=("127.0.0.1",), silent=("127.0.0.1",))),
        ),
        network(is_own=True, has_address=False, has_route_out=False),
        places(resolver=Resolver(servers=("127.0.0.1", "192.0.2.1"), silent=("127.0.0.1",))),
        places(proc_is_masked=True),
        inside(present=PRESENT | {"bwrap"}),
        places(tmp=Space()),
    ],
)
def test_a_network_or_a_place_that_serves_is_no_finding(changes: dict[str, Any]) -> None:
    assert codes(replace(FACTS, **changes)) == []


def test_no_way_out_gives_the_root_of_a_container_to_an_account() -> None:
    """An account whose home is / is told to have another one, not to own that directory."""
    for home in ("/", "/nonexistent"):
        changes = running(account=replace(ACCOUNT, home=home), places=replace(PLACES, home="belongs to root inside"))
        (finding,) = container_findings(replace(FACTS, **changes))
        assert "usermod -d /home/alice alice" in finding.fix
        assert "install" not in finding.fix


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
