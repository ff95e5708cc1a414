"""`isoctl doctor`: what is wrong with the host and with a container, and what ends it."""

from collections.abc import Sequence
from typing import Any

from isoctl import cli, isod, render, session, wire
from isoctl.checks import host_findings
from isoctl.commands import run
from isoctl.contract_generated import CONTAINER, MANAGER, ROOT_PATH
from isoctl.host import Host
from isoctl.marshal import plain
from isoctl.progress import write_error
from isod_contract.findings import Finding

_TIMEOUT_SEC = 40.0


def execute(request: cli.Request) -> int:
    """Print a line for each finding; gives 1 if there is any, 0 if all is well."""
    session.ensure_session()
    host = Host()
    report: list[tuple[str, Finding]] = [("", finding) for finding in host_findings(host)]
    notes: list[str] = list(host.unseen)
    unseen = False
    if host.isod:
        report += [("", finding) for finding in _ask(host, ROOT_PATH, MANAGER)]
        for name in request.operands:
            path = isod.container_path(host.bus, name)
            try:
                report += [(name, finding) for finding in _ask(host, path, CONTAINER)]
            except wire.CallTimeout as error:
                # The others are looked at all the same.
                notes.append(f"{name} could not be looked at: {error}")
                unseen = True
            state = isod.properties(host.bus, path, CONTAINER)["State"]
            if state != "running":
                notes.append(f"{name} is {state}, so nothing inside it was looked at; `isoctl start {name}` first")
        notes += [f"{_fact(name, finding)} [{finding.code}]" for name, finding in report if not finding.fix]
        report = [(name, finding) for name, finding in report if finding.fix]
    else:
        notes += [f"{name} was not looked at: that takes isod" for name in request.operands]
    if "json" in request.options:
        render.as_json({"findings": [_listed(name, finding) for name, finding in report], "notes": notes})
    else:
        _print(report, notes)
    return 1 if report or unseen else 0


def _ask(host: Host, path: str, interface: str) -> list[Finding]:
    """Have isod look: what it finds needs its rights. Raises RemoteError, WireError."""
    options = {"hints": ("as", run.hints())}
    try:
        reply = host.bus.call(path, interface, "Check", "a{sv}", (options,), timeout_sec=_TIMEOUT_SEC)
    except wire.RemoteError:
        if host.isod != host.version:
            return []  # one from before an update, which is a finding of its own, may not know the call
        raise
    items: list[dict[str, Any]] = plain(reply.body[0])
    return [Finding(**{key: str(item[key]) for key in Finding._fields}) for item in items]


def _listed(name: str, finding: Finding) -> dict[str, str]:
    return {"container": name, **finding._asdict()}


def _fact(name: str, finding: Finding) -> str:
    return f"{name}: {finding.what}; {finding.why}" if name else f"{finding.what}; {finding.why}"


def _print(report: Sequence[tuple[str, Finding]], notes: Sequence[str]) -> None:
    for name, finding in report:
        print(render.clean(f"{_fact(name, finding)}. To fix: {finding.fix} [{finding.code}]"))
    if not report:
        print("nothing wrong found")
    for note in notes:
        write_error(f"isoctl: {render.clean(note)}\n")
