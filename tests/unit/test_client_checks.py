"""isoctl's own checks of the host: what anybody can see, also where isod does not answer."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isoctl import host as host_module
from isoctl.checks import host_checks, host_findings
from isoctl.host import ACCESS_DENIED, MACHINED, POLKIT, Host, _is_agent

GONE = "org.freedesktop.DBus.Error.ServiceUnknown"
LOADED = {"LoadState": "loaded", "ActiveState": "active", "NeedDaemonReload": False}
TEMPLATE = {**LOADED, "ExecStartPre": [("/bin/sh", ["/bin/sh", "-c", "…", "/usr/libexec/isod-prepare", "x"], False)]}
BLOG = {"name": "blog", "grants": {"x11": "isolated"}}


class FakeHost(SimpleNamespace):
    """A host that is well but for what a test says."""

    def __init__(self, **changes: Any) -> None:
        self.pings: Mapping[str, str] = {}
        self.units: Mapping[str, Mapping[str, Any]] = {}
        self.asking: tuple[str, ...] = ()
        self.numbers: Mapping[str, int] = {}
        self.programs: tuple[str, ...] = ("Xwayland",)
        self.lost: tuple[str, ...] = ()
        self.journald: Mapping[str, str] = {}
        well = {
            "bus_problem": "",
            "version": "2",
            "isod": "2",
            "policy_files": ("/usr/share/x.conf",),
            "refusal": "",
            "uid": 1000,
            "environment": {"WAYLAND_DISPLAY": "wayland-1"},
            "session": "3",
            "has_agent": True,
            "systemd": "257.13-1",
            "kernel": "6.12.1",
            "polkit": "126",
            "containers": [BLOG],
            "watched": 0,
            "forwarding_closed_by": "",
            "prefix": "/usr",
            "prefixes": ("/usr",),
            "installed_at_usec": 1_000_000,
        }
        super().__init__(**{**well, **changes})

    def ping(self, name: str) -> str:
        return self.pings.get(name, "")

    def unit(self, name: str) -> Mapping[str, Any]:
        default = TEMPLATE if name.startswith("container@") else LOADED
        return self.units.get(name, default)

    def asks_for_password(self, name: str) -> bool:
        return name in self.asking

    def journald_setting(self, name: str) -> str:
        return self.journald.get(name, "")

    def number(self, path: str) -> int | None:
        return self.numbers.get(path.rpartition("_")[2], 4096)

    def watches(self, enough: int) -> int:
        return min(self.watched, enough)

    def exists(self, path: str) -> bool:
        return path not in self.lost

    def has_program(self, name: str) -> bool:
        return name in self.programs


def stopped(name: str, **more: Any) -> dict[str, Any]:
    return {"units": {name: {**LOADED, "ActiveState": "inactive", **more}}}


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("bus-missing", {"bus_problem": "no such file", "isod": "", "systemd": "", "polkit": "", "containers": []}),
    ("bus-policy-missing", {"policy_files": (), "isod": "", "pings": {"org.isoctl1": ACCESS_DENIED}}),
    ("bus-policy-not-loaded", {"isod": "", "pings": {"org.isoctl1": ACCESS_DENIED}}),
    ("isod-missing", {"isod": "", "units": {"isod.service": {"LoadState": "not-found", "ActiveState": "inactive"}}}),
    ("isod-missing", {"isod": "", "units": {"isod.service": {"LoadState": "masked", "ActiveState": "inactive"}}}),
    ("isod-stopped", {"isod": "", "pings": {"org.isoctl1": GONE}, **stopped("isod.service")}),
    (
        "python-modules",
        {
            "isod": "",
            "pings": {"org.isoctl1": GONE},
            "refusal": "isod can't run here: pydantic 2 is needed (1.10.14); do that",
            **stopped("isod.service"),
        },
    ),
    ("isod-silent", {"isod": "", "pings": {"org.isoctl1": "org.freedesktop.DBus.Error.NoReply"}}),
    ("isod-other-version", {"isod": "1"}),
    ("isod-other-version", {"units": {"isod.service": {**LOADED, "ExecMainStartTimestamp": 999_999}}}),  # N18
    ("machined-missing", {"pings": {MACHINED: GONE}}),
    ("machined-missing", {"pings": {MACHINED: GONE}, "units": {"systemd-machined.service": {"LoadState": "masked"}}}),
    (
        "polkit-missing",
        {"pings": {POLKIT: GONE}, "polkit": "", "units": {"polkit.service": {"LoadState": "not-found"}}},
    ),
    ("agent-missing", {"asking": ("blog",), "has_agent": False}),
    ("x-server-missing", {"programs": ()}),
    ("systemd-old", {"systemd": "252.39-1~deb12u1"}),
    ("kernel-old", {"kernel": "6.1.0-31-amd64"}),
    ("version-bad", {"systemd": "259.2-1"}),
    ("version-bad", {"polkit": "0.105"}),
    ("inotify-instances", {"numbers": {"instances": 128}, "containers": [BLOG] * 20}),
    ("inotify-watches", {"numbers": {"watches": 2000}, "watched": 1900}),  # R-22
    ("forward-dropped", {"uid": 0, "forwarding_closed_by": "iptables (-P FORWARD DROP)"}),  # R-35
    ("helper-stopped", stopped("isod-helper.socket")),
    ("helper-stopped", stopped("isod-helper-node.socket")),  # N18
    ("helper-stopped", stopped("isod-helper-devices.socket")),  # N18
    ("isod-disabled", {"units": {"isod.service": {**LOADED, "UnitFileState": "disabled"}}}),  # N18
    ("two-installations", {"prefixes": ("/usr/local", "/usr")}),  # N18
    ("two-installations", {"units": {"isod.service": {**LOADED, "ExecStart": [("/usr/local/libexec/isod", [])]}}}),
    ("helper-stopped", {"lost": ("/run/isod/helper-mount",)}),  # F16
    ("drop-in-missing", {"units": {"container@isoctl-doctor.service": LOADED}}),
    ("journal-off", {"journald": {"Storage": "none"}}),
    ("journal-limited", {"units": {"isod.service": {**LOADED, "LogRateLimitIntervalUSec": 0, "LogRateLimitBurst": 0}}}),
    ("units-stale", {"units": {"isod.service": {**LOADED, "NeedDaemonReload": True}}}),
]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert host_findings(FakeHost()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"asking": ("blog",), "has_agent": False, "uid": 0},
        {"asking": ("blog",), "has_agent": False, "session": ""},
        {"has_agent": False},
        {"programs": (), "environment": {}},
        {"numbers": {"instances": 128}},
        {"numbers": {"watches": 2000}, "watched": 1799},
        {"units": {"isod.service": {**LOADED, "ExecMainStartTimestamp": 1_000_001, "UnitFileState": "static"}}},
        # of a store or a checkout nothing is told by times and places
        {"prefix": "", "installed_at_usec": 0, "units": {"isod.service": {**LOADED, "ExecMainStartTimestamp": 1}}},
        {"units": {"isod.service": {**LOADED, "ExecStart": [("/usr/libexec/isod", [])]}}},
        # of a host without containers of ours the stock template is nobody's business
        {"units": {"container@isoctl-doctor.service": {"LoadState": "not-found"}}},
        {"systemd": "258.6"}, {"systemd": "261"}, {"systemd": "257.1"}, {"polkit": ""},
    ],
)  # fmt: skip
def test_what_concerns_nobody_here_is_not_found(changes: dict[str, Any]) -> None:
    assert host_findings(FakeHost(**changes)) == []


@pytest.mark.parametrize(("code", "changes"), BROKEN, ids=[code for code, _ in BROKEN])
def test_each_fault_is_exactly_one_finding(code: str, changes: dict[str, Any]) -> None:
    (finding,) = host_findings(FakeHost(**changes))
    assert finding.code == code
    assert finding.why
    assert "\n" not in finding.what + finding.fix


def test_every_check_has_been_seen_to_find_something() -> None:
    assert {check.code for check in host_checks()} == {code for code, _ in BROKEN}


@pytest.mark.attack("C46")
@pytest.mark.parametrize(
    ("unit", "journald", "found"),
    [
        ({"LogRateLimitIntervalUSec": 1, "LogRateLimitBurst": 4_000_000}, {}, []),
        ({"LogRateLimitIntervalUSec": 0, "LogRateLimitBurst": 0}, {}, ["journal-limited"]),
        ({"LogRateLimitIntervalUSec": 0, "LogRateLimitBurst": 0}, {"RateLimitIntervalSec": "0"}, []),
        ({"LogRateLimitIntervalUSec": 30_000_000, "LogRateLimitBurst": 10_000}, {}, ["journal-limited"]),
        ({"LogRateLimitIntervalUSec": 1_000_000, "LogRateLimitBurst": 1_000_000}, {}, []),
        ({}, {"Storage": "none"}, ["journal-off"]),
        # what systemd says of a unit that is not there, which other checks find
        (
            {"LoadState": "masked", "ActiveState": "active", "LogRateLimitIntervalUSec": 0, "LogRateLimitBurst": 0},
            {},
            ["isod-missing"],
        ),
        ({}, {"Storage": "volatile"}, []),
    ],
)
def test_a_journal_that_drops_the_audit_is_found(
    unit: dict[str, Any], journald: dict[str, str], found: list[str]
) -> None:
    """A3: a launch can be missing from the journal by two settings."""
    host = FakeHost(journald=journald, units={"isod.service": {**LOADED, **unit}})
    assert [item.code for item in host_findings(host)] == found


def test_journalds_files_are_read_in_its_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """journald.conf(5), "Configuration Directories and Precedence"."""
    files = {
        "usr/lib/systemd/journald.conf": "[Journal]\nStorage=persistent\nRateLimitBurst=5\n",
        "etc/systemd/journald.conf": "[Journal]\n#Storage=none\nStorage = auto\n",
        "usr/lib/systemd/journald.conf.d/50-b.conf": "[Journal]\nStorage=none\n",
        "etc/systemd/journald.conf.d/50-b.conf": "",
        "run/systemd/journald.conf.d/10-a.conf": "[Journal]\nStorage=volatile\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    find, exists, read = glob.glob, os.path.exists, host_module._settings
    monkeypatch.setattr(host_module.glob, "glob", lambda pattern: find(f"{tmp_path}{pattern}"))
    monkeypatch.setattr(host_module.os.path, "exists", lambda path: exists(f"{tmp_path}{path}"))
    monkeypatch.setattr(
        host_module, "_settings", lambda path: read(path if path.startswith(str(tmp_path)) else f"{tmp_path}{path}")
    )
    host = Host()
    assert [host.journald_setting(name) for name in ("Storage", "RateLimitBurst", "Else")] == ["volatile", "", ""]


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        (["polkit-gnome-authentication-agent-1"], True), (["polkit-kde-authentication-agent-1"], True),
        (["lxpolkit"], True), (["lxqt-policykit-agent"], True), (["hyprpolkitagent"], True),
        (["gnome-shell"], True), (["python3", "polkit_agent.py"], True), (["pkttyagent"], True),
        (["polkitd"], False), (["bash"], False), ([], False),
    ],
)  # fmt: skip
def test_an_agent_is_known_by_its_program(words: list[str], is_one: bool) -> None:
    """B13: doctor took the place of the desktop's own agent for a moment, which then was refused."""
    assert _is_agent(words) == is_one


def test_doctor_calls_nothing_of_polkit_that_changes_it() -> None:
    """B13."""
    client = Path(__file__).resolve().parents[2] / "client"
    assert [path for path in client.rglob("*.py") if "AuthenticationAgent" in path.read_text()] == []
