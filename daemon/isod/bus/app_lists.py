"""Lists of apps, each made once for as long as nothing changes: making one is what keeps others waiting."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from isod.bus.objects.app import AppObject
from isod.bus.request import Reply
from isod.bus.services import AppService, AppView
from isod.core.shorten import size_of, that_fit
from isod.ports import Caller
from isod_contract import names
from isod_contract.states import ENDED
from isod_wire import EncodedBody

_APP_BYTES = 700  # on the wire, without what is counted
_KEPT_MAX = 16  # of at most 256 KiB each

Key = tuple[int, int, str]
"""(uid, and after which app)"""


class AppLists:
    """Answers of ListApps and ListAppsAfter, encoded; the last few are kept."""

    def __init__(self, *, apps: AppService, app_object: AppObject, changes: Callable[[], int]) -> None:
        """Take the core's apps, the object that shows one, and what counts changes of any app."""
        self._apps = apps
        self._app_object = app_object
        self._changes = changes
        self._kept: OrderedDict[tuple[str, Key], tuple[int, EncodedBody]] = OrderedDict()

    def newest(self, caller: Caller) -> Reply:
        """Give what is alive or on its way, then what ended last, as far as it fits into a message."""

        def make() -> list[Any]:
            visible = self._apps.visible(caller)
            apps = sorted(visible, key=lambda app: (app.running or app.state not in ENDED, app.started_usec))
            return [that_fit(self._entry(app) for app in reversed(apps))[::-1]]

        return self._reply("a(oa{sv})", (caller.uid, 0, ""), make)

    def after(self, caller: Caller, started_usec: int, app_id: str) -> Reply:
        """Give a page of apps by age, those after one, and whether there are others after these."""

        def make() -> list[Any]:
            visible = self._apps.visible(caller)
            apps = [app for app in visible if (app.started_usec, app.id) > (started_usec, app_id)]
            apps.sort(key=lambda app: (app.started_usec, app.id))
            entries = that_fit(self._entry(app) for app in apps)
            return [entries, len(entries) < len(apps)]

        return self._reply("a(oa{sv})b", (caller.uid, started_usec, app_id), make)

    def _reply(self, signature: str, key: Key, make: Callable[[], list[Any]]) -> Reply:
        now = self._changes()
        kept = self._kept.pop((signature, key), None)
        is_current = kept is not None and kept[0] == now
        encoded = kept[1] if kept is not None and is_current else EncodedBody.of(signature, make())
        self._kept[signature, key] = now, encoded
        while len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)
        return Reply(encoded=encoded, was_made_before=is_current)

    def _entry(self, app: AppView) -> tuple[int, list[Any]]:
        values = self._app_object.listed(app)
        return size_of((*values["Command"].value, *app.problem), _APP_BYTES), [names.app_path(app.id), values]
