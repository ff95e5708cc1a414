"""org.isoctl1.App on the bus."""

from collections.abc import Iterable

from isod.bus.request import Handler, Reply, Request
from isod.bus.services import AppService, AppView
from isod.core.shorten import shortened
from isod_contract import names
from isod_wire import Variant


class AppObject:
    """Shows apps and passes their methods on."""

    def __init__(self, *, apps: AppService) -> None:
        """Take the core's apps."""
        self._apps = apps

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Give the handler of each method."""
        return {
            (names.APP, "Signal"): self._signal,
            (names.APP, "Stop"): self._stop,
            (names.APP, "OpenTerminal"): self._open_terminal,
            (names.APP, "OpenLog"): self._open_log,
        }

    def properties(self, app: AppView, wanted: Iterable[str] | None = None) -> dict[str, Variant]:
        """Give all properties, or only those in `wanted`."""
        values = {
            "Id": Variant("s", app.id),
            "Container": Variant("s", app.container),
            "State": Variant("s", str(app.state)),
            "ExitCode": Variant("i", app.exit_code),
            "ExitSignal": Variant("i", app.exit_signal),
            "Problem": Variant("(ss)", list(app.problem)),
            "Unit": Variant("s", app.unit),
            "User": Variant("s", app.user),
            "Command": Variant("as", list(app.argv)),
            "StartedUSec": Variant("t", app.started_usec),
            "Running": Variant("b", app.running),
            "Detached": Variant("b", app.detached),
            "Grants": Variant("a{sv}", {key: Variant("s", level) for key, level in app.grants.items()}),
        }
        return values if wanted is None else {key: values[key] for key in wanted}

    def listed(self, app: AppView) -> dict[str, Variant]:
        """Give the properties as they stand in a list, where a long command is cut."""
        return self.properties(app) | {"Command": Variant("as", shortened(app.argv))}

    async def _signal(self, request: Request) -> Reply:
        await self._apps.signal(request.target, request.arguments[0])
        return Reply()

    async def _stop(self, request: Request) -> Reply:
        await self._apps.stop(request.target)
        return Reply()

    async def _open_terminal(self, request: Request) -> Reply:
        return Reply([0], fds=(self._apps.open_terminal(request.target),))

    async def _open_log(self, request: Request) -> Reply:
        return Reply([0], fds=(await self._apps.open_log(request.target, request.options),))
