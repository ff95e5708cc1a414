"""What an app leaves behind when its main process ends: it lives on in a scope, and the caller's pipes are let go of.

systemd holds the streams of a unit for as long as the unit lives. So a unit that was given a caller's descriptors ends
with its main process, as a command on the host does, and what still runs is moved out of it before: nothing of it is
killed, and a reader of the caller's pipe sees the end, unless one of those processes itself kept the pipe.
"""

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from isod.core.app import App
from isod_contract.errors import ContainerGone, StartFailed
from isod_contract.limits import GUEST_CALL_TIMEOUT_SEC

if TYPE_CHECKING:
    from isod.core.apps import Apps

# What forks while it is moved is stopped for the next attempts.
_ATTEMPTS, _PAUSE_SEC = 6, 0.01
_OLDER_MAX = 8


async def let_go(apps: "Apps", app: App) -> None:
    """End the unit of an app whose main process has ended; what is left of it is followed in its scope.

    A container that does not answer is asked again, later and later, until it does or is gone.
    """
    if app.letting_go:
        app.let_go_again = True
        return
    app.letting_go = app.let_go_again = True
    try:
        # Once more if anything was told meanwhile: what is left may have ended just before it was followed.
        while app.let_go_again and app.record.running:
            app.let_go_again = False
            await _let_go(apps, app)
    finally:
        app.letting_go = False


async def _let_go(apps: "Apps", app: App) -> None:
    guest = apps.guest_of(app)
    if guest is None:
        apps.forget_unit(app)
        return
    # A guest that is lost is told of: when its container is known to live or not, this begins anew.
    await apps.patience.insist(
        app.record.host_unit,
        lambda: _let_go_once(apps, app, guest),
        is_over=lambda: guest.closed or not app.record.running,
    )


async def _let_go_once(apps: "Apps", app: App, guest: Any) -> None:
    record = app.record
    if app.recovered and record.lends_streams:
        # An isod that was killed while it moved them may have left them stopped.
        for unit in app.units:
            await guest.kill_unit(unit, signal.SIGCONT)
    if not record.left_over:
        is_left = record.lends_streams and await move_out(apps, app, guest)
        await guest.stop_unit(app.service)
        await guest.reset_failed(app.service)
        if not is_left:
            apps.forget_unit(app)
            return
        if app.unwatch is not None:
            app.unwatch()
            app.unwatch = None
        apps.left_over(app)
    # Match first, then ask, so that no change falls in between.
    if app.unwatch is None:
        app.unwatch = await guest.watch_unit(app.scope, lambda changed: apps.unit_changed(app, changed))
    if app.stop_wanted:
        await guest.stop_unit(app.scope)
    if not await _lives(app, guest):
        apps.forget_unit(app)


async def move_out(apps: "Apps", app: App, guest: Any, *, but_main: bool = False) -> bool:
    """Move an app's processes from its unit to a scope; tells whether any lives there.

    `but_main`: the main process stays, and what it starts meanwhile. Raises ContainerGone.
    """
    main_pid = (await guest.unit_properties(app.service, "Service")).get("MainPID") if but_main else 0
    for attempt in range(_ATTEMPTS):
        if await _move_all(apps, app, guest, main_pid, is_stopped=attempt > 0) or but_main:
            break
        await asyncio.sleep(_PAUSE_SEC * 2**attempt)
    else:
        raise ContainerGone(container=app.record.container, reason="it makes processes faster than they are moved")
    return bool(app.record.scopes) and await _lives(app, guest)


async def _lives(app: App, guest: Any) -> bool:
    unit = await guest.unit_properties(app.scope, "Unit")
    return unit.get("ActiveState") in ("active", "activating", "deactivating")


async def _move_all(apps: "Apps", app: App, guest: Any, main_pid: object, *, is_stopped: bool) -> bool:
    """Move what is there, once; true if nothing was left to move.

    A scope takes processes when it is made, and never again from outside the container. So what an earlier try moved
    comes along into the next one; and as one may fail to be made, each that still holds a process stays on record.
    `is_stopped`: the processes are stopped meanwhile, so that none is born.
    """
    record = app.record
    units = [app.service, *app.scopes]
    try:
        for unit in units if is_stopped else ():
            await guest.kill_unit(unit, signal.SIGSTOP)
        pids = [pid for pid in await guest.processes(app.service) if pid != main_pid]
        older = {number: list(await guest.processes(scope)) for number, scope in app.older_scopes()}
        record.older_scopes = tuple(number for number, found in older.items() if found)
        if not pids and not record.older_scopes:
            return True
        newest = list(await guest.processes(app.scope)) if record.scopes else []
        pids += [pid for found in (*older.values(), newest) for pid in found]
        if newest:
            record.older_scopes += (record.scopes,)
        if len(record.older_scopes) > _OLDER_MAX:
            raise ContainerGone(container=record.container, reason="its systemd says that no process can be moved")
        # On record before it is there, for an isod that follows one that is killed in between.
        record.scopes += 1
        apps.save_quietly(app)
        await _make_scope(app, guest, pids)
    finally:
        for unit in {*units, *app.scopes} if is_stopped else ():
            # Each: what one of them does not answer must not leave the others standing.
            with contextlib.suppress(ContainerGone):
                await guest.kill_unit(unit, signal.SIGCONT)
    return False


async def _make_scope(app: App, guest: Any, pids: list[int]) -> None:
    """Make the newest scope of some processes, which may have ended by now."""
    properties = [
        ("Description", "s", f"what isoctl app {app.record.id[:12]} of uid {app.record.owner_uid} left running"),
        ("PIDs", "au", pids),
        ("CollectMode", "s", "inactive-or-failed"),
        ("KillMode", "s", "control-group"),
        ("SendSIGHUP", "b", True),
        ("TimeoutStopUSec", "t", app.record.stop_timeout_usec),
    ]
    try:
        job = await guest.start_unit(app.scope, properties)
    except StartFailed:
        return
    if job is not None:
        try:
            await asyncio.wait_for(job, GUEST_CALL_TIMEOUT_SEC)
        except TimeoutError:
            raise ContainerGone(container=app.record.container, reason="it does not answer in time") from None
