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
isoctl runs programs in named containers of this host, with the caller's own standard streams, signals and exit code.
It starts a container that does not run.
.B isoctl list
shows the containers that you may use; an administrator decides that, in
.BR isod.toml (5).
Where something fails, begin with
.BR "isoctl doctor" .
.SH VERBS
"""
_FINDINGS = """.SH FINDINGS
These are the codes by which
.B doctor
names what is wrong with the host, and why each matters:
"""
_FINDINGS_INSIDE = """.PP
And these what is wrong with a container, most of it only while the container runs:
"""
_EXPOSURES = """.SH EXPOSURES
These are the codes that
.B exposure
may list. Critical means the user's whole session, or root of the host. High means another user, another container, or
files of the host. Medium means a service or a driver to attack. Low means granted, and harmless as far as is known. A
probe looks, which runs in the container as an app of the caller's; a hostile container can hide from it what it has.
"""
_TAIL = """.SH STANDARD STREAMS
Pipes and stream sockets enter the container as they are. Files, devices and terminals stay outside; isoctl relays
them through a pipe, so the app sees a pipe. A directory is refused. Other descriptors stay outside; a command that
names one that is open (\\fBcat <(echo hi)\\fR in bash(1), \\fB<&5\\fR) is refused with its number.
.PP
Of the caller's environment nothing else goes in than language, time zone, terminal, scale and display, and what
.B hints
in the container's policy name.
.B \\-e
adds to that.
.SH LOGIN PROFILE
Before a command starts, the account's login shell runs its profile apart from it: with an input of its own, and with
nobody who reads what it prints. The command gets what the profile set: variables, umask and limits. What isod sets
itself wins over that. All else is the command's own, whatever the profile does: its streams, its directory, its exit
code. A profile that starts another shell in its place (\\fBexec fish\\fR) is understood. One that ends early
(\\fBexit\\fR, \\fBexec tmux\\fR), or takes over 10 seconds, gives nothing: the command then runs with a default PATH,
and a line says so. The 10 seconds take timeout(1) inside, of coreutils or busybox; without it there is no limit.
Functions that bash(1) exports do not come along.
.PP
.B shell
runs the profile once, on the terminal, as logging in does.
.SH PROCESSES LEFT BEHIND
A command may end and leave processes behind, as editors' launchers do.
.B run
then ends with the command's code, and the processes live on. So does a pipe: it ends with the command, as
\\fB$(isoctl run ...)\\fR expects, unless one of the processes itself still holds it.
.PP
.B ps
shows what is left as part of the app, and
.B kill
ends it. On a terminal they get SIGHUP when the command ends, as on the host when a terminal is closed. They live on if
they are in a session of their own by then (\\fBsetsid\\fR(1)), or ignore it (\\fBtrap "" HUP\\fR before they are
started). To start something that stays, use
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
All that is typed goes to the command, Ctrl-C too; there is no escape key such as those of ssh(1) and
systemd-nspawn(1). Ctrl-Z stops isoctl and the command together, and \\fBfg\\fR of the shell continues both. Programs
that handle the key themselves, such as shells and editors, get it as ever. One of these that hangs is ended by
closing the window, or by
.B isoctl kill
elsewhere.
.SH EXIT STATUS
.B run
and
.B shell
exit with the code of the command, or with 128 plus the number of the signal that ended it. As in shells, 126 means
that the command can't be executed, and 127 that it is not there. 125 means that isoctl or isod failed. All other
verbs exit with 0, with 1 if they failed, and with 2 for wrong usage.
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
