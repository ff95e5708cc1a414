"""Entry point of isoctl: finds the verb, loads its module alone, turns errors into one line and an exit code."""

import os
import sys

from isoctl import cli, wire
from isoctl.contract_generated import ERROR_PREFIX, EXIT_CODES, VERSION
from isoctl.interrupts import end_by_broken_pipe

USAGE = 2
FAILED = 1
RUN_FAILED = 125
_RUNNING = ("run", "exec", "shell", "enter")  # their exit codes are those of a command


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; gives the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    failed = RUN_FAILED if words[:1] and words[0] in _RUNNING else FAILED
    if failed == FAILED:
        # `run` needs to know of each write that fails; the others end as programs do whose reader has left.
        end_by_broken_pipe()
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from isoctl.output import open_closed

        open_closed()
    try:
        code = _run(words)
        sys.stdout.flush()
    except OSError as error:
        from isoctl.output import failed as output_failed

        return output_failed(error, failed)
    return code


def _run(words: list[str]) -> int:
    """Do what a command line says; gives the exit code. Raises OSError, which is nearly always of standard output."""
    if words[:1] in (["--version"], ["-V"], ["version"]):
        print(f"isoctl {VERSION}")
        return 0
    if words[:1] == ["help"] and len(words) == 2:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        from isoctl.help_text import overview

        print(overview())
        return 0 if words else USAGE
    try:
        verb = cli.find_verb(words[0])
        request = cli.parse(verb, words[1:])
    except cli.UsageError as error:
        return complain(error.text + (f"; see `isoctl {error.verb} --help`" if error.verb else ""), USAGE)
    if "help" in request.options:
        from isoctl.help_text import of_verb

        print(of_verb(verb))
        return 0
    return _execute(request, RUN_FAILED if words[0] in _RUNNING else FAILED)


def _execute(request: cli.Request, failed: int) -> int:
    """Run a parsed command line; `failed` is the exit code for errors that have none of their own."""
    try:
        # importlib.import_module would do the same, after importing itself.
        module = __import__(f"isoctl.commands.{request.verb.name.strip('_')}", fromlist=["execute"])
        return int(module.execute(request))
    except cli.UsageError as error:
        return complain(f"{error.text}; see `isoctl {request.verb.name} --help`", USAGE)
    except wire.RemoteError as error:
        if error.name == wire.ABSENT:
            return complain(_why_absent() or wire.NOT_RUNNING, failed)
        if not error.name.startswith(ERROR_PREFIX) and (reason := _why_absent()):
            return complain(reason, failed)
        code = EXIT_CODES.get(error.name, failed) if failed == FAILED else failed
        return complain(error.text if error.name.startswith(ERROR_PREFIX) else f"{error.text} ({error.name})", code)
    except wire.WireError as error:
        return complain(str(error), failed)
    except KeyboardInterrupt:
        return 130


def _why_absent() -> str:
    """Say why isod can't be reached, if systemd knows: the bus has words of its own for it."""
    from isoctl.absent import why

    try:
        return why(wire.Bus(wire.system_bus_address()))
    except (wire.WireError, wire.RemoteError):
        return ""


def complain(text: str, code: int) -> int:
    """Print one line on stderr; gives the exit code back."""
    from isoctl.progress import write_error
    from isoctl.render import clean

    if "polkit refused" in text:
        from isoctl.surroundings import with_reason

        text = with_reason(text, os.environ)
    write_error(f"isoctl: {clean(text)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
