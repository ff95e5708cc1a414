"""What can be wrong with a host, as far as anybody can see it; each check is found here, not listed.

Each looks at an `isoctl.host.Host`, or at anything that is like one.
"""

from isoctl import checks
from isoctl.host import Host
from isod_contract.findings import Check, Finding, checks_of


def host_checks() -> tuple[Check, ...]:
    """Give all checks."""
    return checks_of(checks)


def host_findings(host: Host) -> list[Finding]:
    """Give what is wrong; without a system bus that alone, since nothing else can be told."""
    found = [finding for check in host_checks() for finding in check.findings(host)]
    return [finding for finding in found if finding.code == "bus-missing"] or found
