"""Entry point of isoctl: finds the verb, loads its module alone, turns errors into one line and an exit code."""

import sys

from isoctl import cli, wire
from isoctl.contract_generated import ERROR_PREFIX, EXIT_CODES, VERSION

USAGE = 2
FAILED = 1
RUN_FAILED = 125


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; gives the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["--version"]:
        print(f"isoctl {VERSION}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        from isoctl.help_text import overview

        print(overview())
        return 0 if words else USAGE
    try:
        verb = cli.find_verb(words[0])
        request = cli.parse(verb, words[1:])
    except cli.UsageError as error:
        return complain(error.text, USAGE)
    if "help" in request.options:
        from isoctl.help_text import of_verb

        print(of_verb(verb))
        return 0
    return _execute(request, RUN_FAILED if verb.name in ("run", "shell") else FAILED)


def _execute(request: cli.Request, failed: int) -> int:
    from importlib import import_module

    try:
        module = import_module(f"isoctl.commands.{request.verb.name.strip('_')}")
        return int(module.execute(request))
    except cli.UsageError as error:
        return complain(error.text, USAGE)
    except wire.RemoteError as error:
        if error.name == "org.freedesktop.DBus.Error.ServiceUnknown":
            return complain("isod does not run here; start it with `systemctl start isod`", failed)
        code = EXIT_CODES.get(error.name, failed) if failed == FAILED else failed
        return complain(error.text if error.name.startswith(ERROR_PREFIX) else f"{error.text} ({error.name})", code)
    except wire.WireError as error:
        return complain(str(error), failed)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


def complain(text: str, code: int) -> int:
    """Print one line on stderr; gives the exit code back."""
    from isoctl.render import clean

    print(f"isoctl: {clean(text)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
