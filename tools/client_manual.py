"""The manual page isoctl(1), from its table of verbs."""

from isoctl.checks import host_checks
from isoctl.exposure.judge import CODES
from isoctl.verbs import VERBS
from isod import checks
from isod_contract import VERSION

_HEAD = f""".\\" Made by tools/generate_client.py.
.TH ISOCTL 1 "" "isoctl {VERSION}" "User Commands"
.SH NAME
isoctl \\- run apps in isolated containers
.SH SYNOPSIS
.B isoctl
.I VERB
[\\fIFLAGS\\fR] [\\fINAME\\fR] ...
.br
.B isoctl
.RB \\-\\-version | \\-\\-help
.SH DESCRIPTION
isoctl runs programs in named containers of this host, with the caller's own standard streams, signals and exit code. A
container that does not run is started first. What a user may do in which container is the administrator's policy, in
.BR isod.toml (5);
.B isoctl list
shows where there is something to do.
.SH VERBS
"""
_FINDINGS = """.SH FINDINGS
What
.B doctor
may find on the host, by its code, and why that matters:
"""
_FINDINGS_INSIDE = """.PP
In a container; most of it only while it runs:
"""
_EXPOSURES = """.SH EXPOSURES
What
.B exposure
may list. Critical: the user's whole session, or root of the host. High: another user, another container, files of the
host. Medium: a service or a driver to attack. Low: granted, and harmless as far as is known. A probe runs in the
container as an app of the caller's; a hostile container can hide what it has.
"""
_TAIL = """.SH STANDARD STREAMS
Pipes and stream sockets enter the container as they are. Files, devices and terminals stay outside and are relayed
through a pipe, so the app sees a pipe. A directory is refused. Other descriptors stay outside; a command that names one
that is open (\\fBcat <(echo hi)\\fR in bash(1), \\fB<&5\\fR) is refused with its number.
.PP
If the command ends and leaves processes behind, as editors' launchers do,
.B run
ends with its code and they live on. A pipe that was given as standard output or error then comes to its end only when
the last of them ends, as with ssh(1), and other than on the host also if they closed it: the container's systemd
holds it meanwhile. Where that would be waited for (\\fB$(isoctl run ...)\\fR), send the output to a file, or use
.BR \\-\\-detach .
.SH TERMINAL
A command gets a terminal of its container's own if isoctl's standard streams are all a terminal, or with
.BR \\-t .
With
.B \\-t
what is redirected stays so, and
.I /dev/tty
is the terminal: \\fBisoctl run \\-t blog sudo apt update > log\\fR asks for the password on the terminal. isoctl must
have a terminal itself, and be in its foreground. One of unknown size has 24 rows and 80 columns inside.
.PP
All that is typed goes to the command, Ctrl-C too; there is no escape key such as those of ssh(1) and systemd-nspawn(1).
Ctrl-Z stops isoctl and the command together, and \\fBfg\\fR of the shell continues both. Programs that handle the key
themselves, such as shells and editors, get it as ever. One of these that hangs is ended by closing the window, or by
.B isoctl kill
elsewhere.
.SH EXIT STATUS
.B run
and
.B shell
exit with the code of the command; 128 plus the number of the signal that ended it; 126 if it is not executable, 127 if
it was not found, 125 if isoctl or isod failed. Other verbs: 0, 1 failed, 2 wrong usage.
.PP
Standard output that can't be written (a full disk, a closed descriptor) is an error: one line, and 125 of
.B run
and
.BR shell ,
1 of all others. A reader that leaves early, such as
.BR head (1),
ends isoctl by SIGPIPE without a word; shells call that 141.
.SH SEE ALSO
.BR isod (8),
.BR isod.toml (5)
"""


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("\n.", "\n\\&.")


def isoctl_1() -> str:
    """Give the page in man(7) macros."""
    parts = [_HEAD]
    for verb in VERBS:
        names = ", ".join((verb.name, *verb.aliases))
        parts.append(f".SS {_escape(names)} {_escape(verb.operands)}\n{_escape(verb.summary)}.\n")
        for flag in verb.flags():
            spelling = ", ".join(flag.spellings) + (f" {flag.metavar}" if flag.metavar else "")
            parts.append(f".TP\n.B {_escape(spelling)}\n{_escape(flag.doc)}\n")
        for line, doc in verb.examples:
            parts.append(f".PP\n.EX\n{_escape(line)}{'   # ' + _escape(doc) if doc else ''}\n.EE\n")
    parts.append(_FINDINGS)
    parts += [_described(check.code, check.why) for check in (*host_checks(), *checks.host_checks())]
    parts.append(_FINDINGS_INSIDE)
    parts += [_described(check.code, check.why) for check in checks.container_checks()]
    parts.append(_EXPOSURES)
    parts += [_described(code, text) for code, text in CODES.items()]
    return "".join([*parts, _TAIL])


def _described(code: str, text: str) -> str:
    return f".TP\n.B {_escape(code)}\n{_escape(text)}\n"
