"""The system bus, isod on it, and the services of the host that isod works with."""

import time
from collections.abc import Iterator

from isoctl.contract_generated import BUS_NAME
from isoctl.host import ACCESS_DENIED, MACHINED, POLKIT, Host
from isod_contract.findings import Problem, check

_ISOD = "isod.service"
_BY_SERVICE = {MACHINED: "systemd-machined.service", POLKIT: "polkit.service"}


@check("bus-missing", "isoctl and isod speak over it")
def bus_missing(host: Host) -> Iterator[Problem]:
    """Report that there is no system bus."""
    if host.bus_problem:
        yield Problem(f"the system bus: {host.bus_problem}", "`systemctl start dbus.socket`")


@check("bus-policy-missing", "the bus lets isod have no name, and nobody call it")
def bus_policy_missing(host: Host) -> Iterator[Problem]:
    """Report that the file is not there."""
    if not host.bus_problem and not host.isod and not host.policy_files:
        yield Problem(
            f"there is no bus policy {BUS_NAME}.conf in /usr/share/dbus-1/system.d or /etc/dbus-1/system.d",
            "install isod again (`make install`; NixOS: services.isod.enable = true;), then `systemctl reload dbus`",
        )


@check("bus-policy-not-loaded", "the bus lets isod have no name, or nobody call it")
def bus_policy_not_loaded(host: Host) -> Iterator[Problem]:
    """Report a file that the bus has not read: without it nobody may call isod."""
    if not host.bus_problem and host.policy_files and not host.isod and host.ping(BUS_NAME) == ACCESS_DENIED:
        yield Problem(
            f"the bus has not read {host.policy_files[0]}, or another policy of its keeps you from isod",
            "`systemctl reload dbus`; if that changes nothing, ask the administrator whom /etc/dbus-1/system.d admits",
        )


@check("isod-missing", "nothing of all this works without it")
def isod_missing(host: Host) -> Iterator[Problem]:
    """Report that isod's unit is not there, or masked."""
    state = host.unit(_ISOD).get("LoadState", "loaded")
    if state == "masked":
        yield Problem(f"{_ISOD} is masked", f"`systemctl unmask {_ISOD} && systemctl enable --now {_ISOD}`")
    elif state != "loaded":
        yield Problem(f"{_ISOD} is {state}", "install isod again; NixOS: services.isod.enable = true;")


@check("python-modules", "isod refuses to run without them")
def python_modules(host: Host) -> Iterator[Problem]:
    """Report a Python that is too old for isod, or lacks what it imports."""
    if not host.isod and host.refusal:
        fact, _, fix = host.refusal.partition("; ")
        yield Problem(fact, fix or "install isod again")


@check("isod-stopped", "nothing can be started, nor ended in an orderly way")
def isod_stopped(host: Host) -> Iterator[Problem]:
    """Report that isod does not run, for whatever reason its log has."""
    unit = host.unit(_ISOD)
    if not host.policy_files or host.ping(BUS_NAME) == ACCESS_DENIED:
        return  # it can't have its name, which is another finding
    state = unit.get("ActiveState", "active")
    # What Python lacks is another finding too; it is asked for last, since that starts all of isod.
    if unit.get("LoadState") == "loaded" and state not in ("active", "reloading") and not host.refusal:
        yield Problem(
            f"{_ISOD} is {state}",
            f"`systemctl enable --now {_ISOD}`; if it does not stay up, `journalctl -u isod` says why",
        )


@check("isod-silent", "every verb of isoctl waits for it")
def isod_silent(host: Host) -> Iterator[Problem]:
    """Report an isod that runs and does not answer."""
    if (
        host.unit(_ISOD).get("ActiveState") == "active"
        and not host.isod
        and host.ping(BUS_NAME) not in ("", ACCESS_DENIED)
    ):
        yield Problem("isod runs and does not answer", "`systemctl restart isod.service`; apps live on")


@check("isod-other-version", "what one knows the other may refuse")
def isod_other_version(host: Host) -> Iterator[Problem]:
    """Report an isod that runs on from before an update."""
    if host.isod and host.isod != host.version:
        yield Problem(
            f"isod {host.isod} runs, and isoctl is {host.version}", "`systemctl restart isod.service`; apps live on"
        )
        return
    began_usec = host.unit(_ISOD).get("ExecMainStartTimestamp")
    if host.isod and isinstance(began_usec, int) and 0 < began_usec < host.installed_at_usec:
        began, installed = (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(usec / 1e6))
            for usec in (began_usec, host.installed_at_usec)
        )
        yield Problem(
            f"isod runs since {began}, and what is installed is of {installed}",
            "`systemctl daemon-reload && systemctl restart isod.service`; apps live on",
        )


def _unanswered(host: Host, name: str) -> Iterator[Problem]:
    unit = _BY_SERVICE[name]
    if host.bus_problem or not host.ping(name):
        return
    state = host.unit(unit).get("LoadState", "not-found")
    if state == "masked":
        yield Problem(f"{unit} is masked", f"`systemctl unmask {unit}`")
    elif state == "loaded":
        yield Problem(f"{unit} does not answer", f"`systemctl restart {unit}`")
    else:
        package = "systemd-container" if name == MACHINED else "polkitd"
        yield Problem(f"{unit} is {state}", f"`apt-get install {package}`, or as it is called here; NixOS has it")


@check("machined-missing", "isod reaches containers through it")
def machined_missing(host: Host) -> Iterator[Problem]:
    """Report that systemd-machined does not answer, and can't be started."""
    yield from _unanswered(host, MACHINED)


@check("polkit-missing", "what needs a password is refused")
def polkit_missing(host: Host) -> Iterator[Problem]:
    """Report that polkit does not answer, and can't be started."""
    yield from _unanswered(host, POLKIT)
