"""Units and drop-ins of isod: installed, running, and as systemd knows them."""

from collections.abc import Iterator

from isoctl.host import Host
from isod_contract.findings import Problem, check

_SOCKETS = (
    "isod-helper.socket",
    "isod-helper-mount.socket",
    "isod-helper-terminal.socket",
    "isod-helper-node.socket",
    "isod-helper-devices.socket",
)
_OWN = ("isod.service", *_SOCKETS)
# Any instance shows what the template and its drop-ins say.
_TEMPLATE, _INSTANCE = "container@.service", "container@isoctl-doctor.service"


@check("helper-stopped", "containers can't be reached, or windows, terminals or devices do not work")
def helper_stopped(host: Host) -> Iterator[Problem]:
    """Report sockets of isod-helper that do not listen, or that nobody finds any more."""
    stopped = []
    for name in _SOCKETS:
        unit = host.unit(name)
        if unit.get("LoadState", "loaded") != "loaded":
            yield Problem(f"{name} is {unit['LoadState']}", f"install isod again, or `systemctl unmask {name}`")
        elif unit.get("ActiveState", "active") != "active":
            stopped.append(name)
        elif not host.exists(path := f"/run/isod/{name.removeprefix('isod-').removesuffix('.socket')}"):
            yield Problem(f"{name} listens at {path}, which has been removed", f"`systemctl restart {name}`")
    if stopped:
        names = " ".join(stopped)
        yield Problem(
            f"{names} {'does' if len(stopped) == 1 else 'do'} not listen", f"`systemctl enable --now {names}`"
        )


@check("isod-disabled", "after a restart of the host nothing starts at a login, nor goes on by itself")
def isod_disabled(host: Host) -> Iterator[Problem]:
    """Report an isod that does not start with the host, as after `make install` alone."""
    if host.unit("isod.service").get("UnitFileState") == "disabled":
        names = " ".join(_OWN)
        yield Problem("isod.service does not start with the host", f"`systemctl enable --now {names}`")


@check("two-installations", "what was installed last may not be what runs")
def two_installations(host: Host) -> Iterator[Problem]:
    """Report an isod below another prefix than isoctl, or two of them, of which one shadows the other."""
    if len(host.prefixes) > 1:
        first, *others = host.prefixes
        yield Problem(
            f"isod is installed below {first} and {' and '.join(others)}; systemd, D-Bus and shells take the first",
            f"`make uninstall PREFIX={first}` in a checkout, or for the other one, then `systemctl daemon-reload && "
            "systemctl restart isod.service`",
        )
        return
    for program, *_ in host.unit("isod.service").get("ExecStart", ()):
        if host.prefix and str(program).startswith("/usr/") and str(program) != f"{host.prefix}/libexec/isod":
            yield Problem(
                f"isoctl is installed below {host.prefix}, and isod.service starts {program}",
                "install isod again (`make install`, with one PREFIX), then `systemctl daemon-reload` and "
                "`systemctl restart isod.service`",
            )


@check(
    "drop-in-missing",
    "what is granted must be mounted while a container runs",
)
def drop_in_missing(host: Host) -> Iterator[Problem]:
    """Report container@.service without isod's drop-in."""
    unit = host.unit(_INSTANCE)
    if unit.get("LoadState") != "loaded":
        return
    if not any("isod-prepare" in word for entry in unit.get("ExecStartPre", ()) for word in entry[1]):
        yield Problem(
            f"{_TEMPLATE} lacks isod's drop-in 50-isod.conf",
            f"install isod again, which puts it into {_TEMPLATE}.d, then `systemctl daemon-reload`",
        )


@check("units-stale", "systemd acts on what it read before")
def units_stale(host: Host) -> Iterator[Problem]:
    """Report units whose files changed since systemd read them."""
    stale = [name for name in (*_OWN, _INSTANCE) if host.unit(name).get("NeedDaemonReload")]
    if stale:
        names = ", ".join(name if name != _INSTANCE else _TEMPLATE for name in stale)
        yield Problem(f"the files of {names} changed after systemd read them", "`systemctl daemon-reload`")
