"""What changed, told to whoever shows it on a bus."""

from typing import Any


class Listener:
    """Is told of changes, on the loop, in their order; whoever has no use for some leaves them."""

    def container_changed(self, container: Any, changed: frozenset[str]) -> None:
        """Properties of a container changed."""

    def app_added(self, app: Any) -> None:
        """Take note that an app was asked for."""

    def app_changed(self, app: Any, changed: frozenset[str]) -> None:
        """Properties of an app changed."""

    def app_exited(self, app: Any) -> None:
        """Take note that the app's main process ended."""

    def app_removed(self, app: Any) -> None:
        """Nothing is left of an app."""


class Events:
    """Passes changes on to all listeners."""

    def __init__(self) -> None:
        """Begin without listeners."""
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def container_changed(self, container: Any, *changed: str) -> None:
        """Tell of changed properties, by their D-Bus names."""
        for listener in self._listeners:
            listener.container_changed(container, frozenset(changed))

    def app_added(self, app: Any) -> None:
        """Tell of a new app."""
        for listener in self._listeners:
            listener.app_added(app)

    def app_changed(self, app: Any, *changed: str) -> None:
        """Tell of changed properties, by their D-Bus names."""
        for listener in self._listeners:
            listener.app_changed(app, frozenset(changed))

    def app_exited(self, app: Any) -> None:
        """Tell of an exit."""
        for listener in self._listeners:
            listener.app_exited(app)

    def app_removed(self, app: Any) -> None:
        """Tell that an app is gone."""
        for listener in self._listeners:
            listener.app_removed(app)
