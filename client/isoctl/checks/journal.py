"""Whether journald keeps what isod records: who was let in, what ran."""

from collections.abc import Iterator

from isoctl.host import Host
from isod_contract.findings import Problem, check

# Below what isod.service is installed with, and above what all users together may have isod write.
_BURST_MIN = 100_000
_USEC_PER_SEC = 1_000_000


@check("journal-off", "nobody can tell later who ran what, and `isoctl history` and `isoctl logs` are empty")
def journal_off(host: Host) -> Iterator[Problem]:
    """Report a journald that stores nothing."""
    if host.journald_setting("Storage").lower() == "none":
        yield Problem(
            "journald stores nothing (Storage=none), the audit included",
            "set Storage=auto in /etc/systemd/journald.conf.d/isod.conf, then `systemctl restart systemd-journald`",
        )


@check("journal-limited", "one user's calls can push the records of others out, their launches included")
def journal_limited(host: Host) -> Iterator[Problem]:
    """Report a rate above which journald drops what isod writes; 0 means that journald's own holds."""
    unit = host.unit("isod.service")
    if unit.get("LoadState") != "loaded":
        return
    interval_usec, burst = unit.get("LogRateLimitIntervalUSec"), unit.get("LogRateLimitBurst")
    if not isinstance(interval_usec, int) or not isinstance(burst, int):
        return
    if interval_usec == 0 or burst == 0:
        what = "journald's rate limit holds for isod.service"
        if (
            host.journald_setting("RateLimitIntervalSec") in ("0", "0s")
            or host.journald_setting("RateLimitBurst") == "0"
        ):
            return
    elif burst < _BURST_MIN and interval_usec * _BURST_MIN > burst * _USEC_PER_SEC:
        what = f"isod.service may write {burst} records in {interval_usec / _USEC_PER_SEC:g} s"
    else:
        return
    yield Problem(
        what,
        "let isod.service have LogRateLimitIntervalSec=1us and LogRateLimitBurst=4000000, as it is installed: see "
        "`systemctl cat isod` for the drop-in that says otherwise, then `systemctl restart isod`",
    )
