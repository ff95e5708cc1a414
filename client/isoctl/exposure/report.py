"""Reading what the probe wrote: it comes from a container, so whatever it says, nothing but a Report comes of it."""

from dataclasses import dataclass, field
from typing import NamedTuple

_LINE_CHARS_MAX = 200_000  # the answer of a server is 64 KiB at most, in hexadecimal
_EACH_MAX = 4096
_ADDRESS_CHARS_MAX = 256


class Target(NamedTuple):
    """Something that was tried, or only listed: `result` is "" then, "ok", or an errno."""

    op: str
    key: str
    address: str
    result: str = ""
    peer: int = -1  # pid, 0 for a process outside of the container, -1 unknown
    answer: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether it can be reached, or could not be tried."""
        return self.result in ("ok", "")


class Mount(NamedTuple):
    """A mount inside (proc_pid_mountinfo(5)): where, of what directory of which file system."""

    place: str
    source: str  # directory in the file system
    device: str
    kind: str
    writable: bool


@dataclass(slots=True)
class Report:
    """What a probe said, as far as it could be read."""

    uid: int = -1
    network: str = ""
    tool: str = ""
    effective: int = 0
    bounding: int = 0
    maps: list[tuple[int, int, int]] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    mounts: list[Mount] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    complete: bool = False

    @property
    def has_user_namespace(self) -> bool:
        """Whether root inside is another user outside; false where nothing was said."""
        return bool(self.maps) and not any(inside == outside == 0 for inside, outside, _ in self.maps)


def parse(untrusted_text: bytes) -> Report:
    """Read the probe's lines; what is malformed is left out, as is what came before it began."""
    report = Report()
    lines = untrusted_text.split(b"\n")
    try:
        begin = lines.index(b"start")
    except ValueError:
        return report
    for raw in lines[begin + 1 :]:
        if len(raw) <= _LINE_CHARS_MAX:
            kind, *fields = raw.decode(errors="replace").split("\t")
            try:
                _take(report, kind, fields)
            except (ValueError, IndexError):
                continue
    return report


def _take(report: Report, kind: str, fields: list[str]) -> None:
    """Take one line in. Raises ValueError, IndexError for one that is malformed."""
    match kind:
        case "id":
            report.uid = int(fields[0])
        case "net":
            report.network = fields[0][:64]
        case "tool":
            report.tool = fields[0] if fields[0] in ("python3", "perl") else ""
        case "status" if fields[0] == "CapEff":
            report.effective = int(fields[1], 16)
        case "status" if fields[0] == "CapBnd":
            report.bounding = int(fields[1], 16)
        case "done":
            report.complete = True
        case _:
            _take_one_of_many(report, kind, fields)


def _take_one_of_many(report: Report, kind: str, fields: list[str]) -> None:
    match kind:
        case "map" if len(report.maps) < _EACH_MAX:
            inside, outside, count = map(int, fields)
            report.maps.append((inside, outside, count))
        case "own" if len(report.own) < _EACH_MAX and fields[0].isdigit():
            report.own.add(fields[0])
        case "mount" if len(report.mounts) < _EACH_MAX:
            report.mounts.append(_mount(fields[1], writable=fields[0] == "yes"))
        case "try" if len(report.targets) < _EACH_MAX:
            op, key, address = fields
            if op in tuple("ouaA46") and address:
                report.targets.append(Target(op, key, address[:_ADDRESS_CHARS_MAX]))
        case "hit":
            op, key, result, peer, answer = fields
            tried = report.targets[-1]
            if (tried.op, tried.key, tried.result) == (op, key, "") and (result == "ok" or result.isdigit()):
                report.targets[-1] = tried._replace(result=result, peer=int(peer), answer=bytes.fromhex(answer))


def _mount(line: str, *, writable: bool) -> Mount:
    before, _, after = line.partition(" - ")
    _, _, device, source, place, *_ = before.split(" ")
    return Mount(_unescaped(place), _unescaped(source), device, after.split(" ")[0], writable)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of blanks in mountinfo."""
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, char)
    return text
