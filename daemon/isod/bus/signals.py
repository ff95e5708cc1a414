"""Signals to those who may see what they are about, each sent to one bus name."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from isod.bus.objects.app import AppObject
from isod.bus.objects.container import ContainerObject
from isod.bus.services import AppView, ContainerService, ContainerView
from isod.bus.values import Variants
from isod.core.events import Listener
from isod.ports import Caller
from isod_contract import names
from isod_contract.emits import Emits
from isod_contract.errors import LimitExceeded, NoSuchContainer
from isod_contract.methods import PROPERTIES

_FOLLOWERS_PER_APP = 8
_SIGNALLED = frozenset((item.interface, item.name) for item in PROPERTIES if item.emits is Emits.TRUE)
_APP_SIGNALLED = frozenset(name for interface, name in _SIGNALLED if interface == names.APP)
_CONTAINER_SIGNALLED = frozenset(name for interface, name in _SIGNALLED if interface == names.CONTAINER)


class Emitter(Protocol):
    """Connection, as far as it is used here."""

    def emit(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        destination: str | None = None,
    ) -> None:
        """Send a signal without waiting."""


class Subscriptions(Listener):
    """Who wants which signals; listens to the core's events and sends them on at once, so in their order."""

    def __init__(
        self,
        *,
        connection: Emitter,
        containers: ContainerService,
        container_object: ContainerObject,
        app_object: AppObject,
        per_uid_max: Callable[[int], int],
        accountable: Callable[[int], int] = lambda uid: uid,
    ) -> None:
        """Take the bus, the core's containers (who may see them) and the objects whose properties are sent.

        `accountable` tells which uids count as one (isod.subordinate_ids).
        """
        self._accountable = accountable
        self._connection = connection
        self._containers = containers
        self._container_object = container_object
        self._app_object = app_object
        self._per_uid_max = per_uid_max
        self._subscribers: dict[str, Caller] = {}
        self._followers: dict[str, dict[str, Caller]] = {}
        self.app_changes = 0  # of any app

    def subscribe(self, caller: Caller) -> None:
        """Send a caller the signals of all that it may see; raises LimitExceeded."""
        if caller.sender not in self._subscribers:
            whose = self._accountable(caller.uid)
            count = sum(1 for subscriber in self._subscribers.values() if self._accountable(subscriber.uid) == whose)
            if count >= self._per_uid_max(caller.uid):
                raise LimitExceeded(reason=f"{count} subscribers of uid {caller.uid}")
        self._subscribers[caller.sender] = caller

    def unsubscribe(self, sender: str) -> None:
        """End that; a caller goes on to get the signals of apps that it started."""
        self._subscribers.pop(sender, None)

    def follow(self, caller: Caller, app_id: str) -> None:
        """Send a caller the signals of one app, until nothing is left of it."""
        followers = self._followers.setdefault(app_id, {})
        followers[caller.sender] = caller
        # A repeated Run makes its sender a follower too; the oldest is the one least likely to be still waiting.
        while len(followers) > _FOLLOWERS_PER_APP:
            del followers[next(iter(followers))]

    def forget(self, sender: str) -> None:
        """Drop all of a sender that left the bus."""
        self._subscribers.pop(sender, None)
        for app_id in [app_id for app_id, followers in self._followers.items() if sender in followers]:
            del self._followers[app_id][sender]
            if not self._followers[app_id]:
                del self._followers[app_id]

    def container_changed(self, container: ContainerView, changed: frozenset[str]) -> None:
        """Tell subscribers who may see a container which of its properties changed."""
        path = names.container_path(container.name)
        told = sorted(changed & _CONTAINER_SIGNALLED)
        for caller in list(self._subscribers.values()):
            if not told or not self._may_see(container, caller):
                continue
            values = self._container_object.properties(container, caller, told)
            self._tell_properties(caller, path, names.CONTAINER, values)
            if "State" in changed:
                self._tell(caller, "ContainerChanged", "os", [path, str(container.state)])

    def app_added(self, app: AppView) -> None:
        """Tell that an app was asked for."""
        self.app_changes += 1
        for caller in self._audience(app):
            self._tell(caller, "AppAdded", "o", [names.app_path(app.id)])

    def app_changed(self, app: AppView, changed: frozenset[str]) -> None:
        """Tell which properties of an app changed."""
        self.app_changes += 1
        told = sorted(changed & _APP_SIGNALLED)
        if not told:
            return
        values = self._app_object.properties(app, told)
        for caller in self._audience(app):
            self._tell_properties(caller, names.app_path(app.id), names.APP, values)

    def app_exited(self, app: AppView) -> None:
        """Tell how the main process ended."""
        self.app_changes += 1
        body = [app.exit_code, app.exit_signal]
        for caller in self._audience(app):
            path = names.app_path(app.id)
            self._connection.emit(path, names.APP, "Exited", "ii", body, destination=caller.sender)

    def app_removed(self, app: AppView) -> None:
        """Tell that nothing is left of an app."""
        self.app_changes += 1
        for caller in self._audience(app):
            self._tell(caller, "AppRemoved", "o", [names.app_path(app.id)])
        self._followers.pop(app.id, None)

    def _may_see(self, container: ContainerView, caller: Caller) -> bool:
        try:
            # Of a container with an instance for each user, each sees their own only.
            return self._containers.find(container.name, caller) is container
        except NoSuchContainer:
            return False

    def _audience(self, app: AppView) -> list[Caller]:
        """Give everybody who is told of an app, each once, by owner and not by policy, which may change."""
        interested = {**self._subscribers, **self._followers.get(app.id, {})}
        return [caller for caller in interested.values() if caller.is_root or caller.uid == app.owner_uid]

    def _tell_properties(self, caller: Caller, path: str, interface: str, values: Variants) -> None:
        body = [interface, values, []]
        self._connection.emit(path, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", body, destination=caller.sender)

    def _tell(self, caller: Caller, member: str, signature: str, body: Sequence[Any]) -> None:
        self._connection.emit(names.ROOT_PATH, names.MANAGER, member, signature, body, destination=caller.sender)
