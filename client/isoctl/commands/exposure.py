"""`isoctl exposure`: what an app in a container can reach of the host, measured from inside."""

from isoctl import cli, isod, render, session
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER
from isoctl.exposure.host import Owners
from isoctl.exposure.judge import Container, Exposure, judge
from isoctl.exposure.measure import measure
from isoctl.exposure.report import Report, parse
from isoctl.progress import write_error
from isoctl.watch import LaunchFailed

_SHOWN_MAX = 200


def execute(request: cli.Request) -> int:
    """Print a line for each exposure, the worst first; gives 0 if it could be measured."""
    from isoctl.__main__ import complain

    name = request.operands[0]
    session.ensure_session()
    bus = connect()
    values = isod.properties(bus, isod.container_path(bus, name), CONTAINER)
    try:
        report = parse(measure(bus, name))
    except LaunchFailed as error:
        return complain(str(error), 1)
    if report.uid < 0:
        return complain(f"nothing was measured: container {name} did not let the probe speak; has it /bin/sh?", 1)
    found = judge(report, Container(name, values["Unit"], values["Grants"]), Owners())
    if "json" in request.options:
        render.as_json(_listed(name, report, found))
    else:
        _print(name, report, found)
    return 0


def _notes(report: Report) -> list[str]:
    """Say what the report does not hold."""
    notes = []
    if not report.tool:
        notes.append("neither python3 nor perl is inside, so sockets and devices are listed, not tried")
    if not report.complete:
        notes.append("the probe did not come to its end: what is missing here may be there all the same")
    return notes


def _listed(name: str, report: Report, found: list[Exposure]) -> dict[str, object]:
    return {
        "container": name,
        "measured_inside": True,
        "uid": report.uid,
        "tool": report.tool,
        "complete": report.complete,
        "user_namespace": report.has_user_namespace,
        "exposures": [{**item._asdict(), "severity": item.severity.name.lower()} for item in found],
        "notes": _notes(report),
    }


def _print(name: str, report: Report, found: list[Exposure]) -> None:
    print(render.clean(f"measured inside {name} as uid {report.uid}; a hostile container can hide what it has"))
    for item in found[:_SHOWN_MAX]:
        print(render.clean(f"{item.severity.name.lower()}: {item.what}. To close: {item.fix} [{item.code}]"))
    if len(found) > _SHOWN_MAX:
        print(f"and {len(found) - _SHOWN_MAX} more, see --json")
    if not found:
        print("nothing of the host was found")
    for note in _notes(report):
        write_error(f"isoctl: {render.clean(note)}\n")
