"""Displays and devices: whether what policy grants can be had."""

from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod.resources import kinds
from isod_contract.findings import Problem, check


@check("display-refused", "apps start without it")
def display_refused(facts: ContainerFacts) -> Iterator[Problem]:
    """Report why the caller's session can't be attached as policy wants it."""
    for error in facts.display_problems:
        yield Problem(error.text, f"change `[grants]` in /etc/isod/containers/{facts.name}.toml")


@check("display-socket-missing", "apps that were told of it find no display")
def display_socket_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report an attached socket that is not there inside."""
    for name in facts.running.missing_sockets if facts.running else ():
        yield Problem(
            f"the socket {name} is not there inside",
            f"`isoctl run --display require {facts.name} true` attaches it anew",
        )


@check("driver-missing", "programs that draw with the granted device fall back to software, or fail")
def driver_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a granted device for which the container has no driver of its own."""
    if facts.running is None:
        return
    for key, kind in kinds().items():
        if kind.needs_inside and facts.grants.get(key, "none") != "none" and f"needs-{key}" not in _present(facts):
            yield Problem(
                f"{key} is granted, and none of {', '.join('/' + path for path in kind.needs_inside)} is there inside",
                kind.needs_fix.format(inside=facts.inside),
            )


@check("device-absent", "programs that need it find nothing, also once it is there, until the container starts again")
def device_absent(facts: ContainerFacts) -> Iterator[Problem]:
    """Report devices that policy names and the host does not have."""
    if facts.unmet.absent:
        yield Problem(
            f"policy grants {', '.join(facts.unmet.absent)}, which this host does not have",
            "`lspci -D` and `ls /dev/nvidia*` show what there is: load the driver, or correct `grants.gpu` in "
            f"/etc/isod/containers/{facts.name}.toml",
        )


@check("device-never", "the grant gives nothing")
def device_never(facts: ContainerFacts) -> Iterator[Problem]:
    """Report matches of `devices` that no device can have."""
    if facts.unmet.never:
        yield Problem(
            f"policy grants devices that can't be given: {'; '.join(facts.unmet.never)}",
            f"correct `grants.devices` in /etc/isod/containers/{facts.name}.toml; `udevadm info` shows what one has",
        )


def _present(facts: ContainerFacts) -> frozenset[str]:
    return facts.running.inside.present if facts.running else frozenset()
