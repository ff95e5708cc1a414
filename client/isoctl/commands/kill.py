"""`isoctl kill`: a signal to all processes of an app."""

from isoctl import cli, isod
from isoctl.connect import connect
from isoctl.contract_generated import APP


def execute(request: cli.Request) -> int:
    """Send the signal to each app named."""
    number = _number(str(request.options.get("signal", "TERM")))
    bus = connect()
    for name in request.operands:
        for app_id in isod.find_apps(bus, name):
            bus.call(isod.app_object(app_id), APP, "Signal", "i", (number,))
    return 0


def _number(text: str) -> int:
    """Read a signal's number or name, with or without SIG."""
    import signal

    if text.isdigit():
        return int(text)
    try:
        return int(signal.Signals["SIG" + text.upper().removeprefix("SIG")])
    except KeyError:
        message = f"{text!r} is not a signal"
        raise cli.UsageError(message, "kill") from None
