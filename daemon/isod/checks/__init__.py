"""What can be wrong with a host or a container, as far as it takes isod to see it; each check is found, not listed."""

from functools import cache
from types import ModuleType

from isod.checks import container, host
from isod.checks.facts import ContainerFacts, HostFacts
from isod_contract.findings import Check, Finding, checks_of

__all__ = ["ContainerFacts", "HostFacts", "container_checks", "container_findings", "host_checks", "host_findings"]


@cache
def _found(package: ModuleType) -> tuple[Check, ...]:
    return checks_of(package)


def host_checks() -> tuple[Check, ...]:
    """Give all checks of the host that isod makes."""
    return _found(host)


def container_checks() -> tuple[Check, ...]:
    """Give all checks of one container."""
    return _found(container)


def host_findings(facts: HostFacts) -> list[Finding]:
    """Give what is wrong with the host, as far as it concerns the caller."""
    return [finding for check in host_checks() for finding in check.findings(facts)]


def container_findings(facts: ContainerFacts) -> list[Finding]:
    """Give what is wrong with a container, as far as it concerns the caller."""
    return [finding for check in container_checks() for finding in check.findings(facts)]
