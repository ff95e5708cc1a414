"""Apps as isod shows them on the buses, for tests that start them by other means than `isoctl run`."""

from __future__ import annotations

import json
from typing import Any

from isod_contract import names
from isod_contract.states import ENDED
from lab.machine import CommandFailed, Lab


def run_app(
    lab: Lab, user: str, container: str, *argv: str, bus: str = "--system", app_id: str = "", check: bool = True
) -> str:
    """Call Run by busctl; gives the app's object path, "" where that failed."""
    options = ("1", "id", "s", app_id) if app_id else ("0",)
    done = lab.run(
        *("busctl", bus, "-j", "--", "call", names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "Run", "sasa{sv}"),
        *(container, str(len(argv)), *argv, *options),
        user=user,
        check=check,
    )
    return str(json.loads(done.stdout)["data"][0]) if done.returncode == 0 else ""


def apps(lab: Lab, user: str, bus: str = "--system") -> dict[str, dict[str, Any]]:
    """Give the properties of all apps that a user may see, by object path."""
    done = lab.run("busctl", bus, "-j", "call", names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListApps", user=user)
    return {
        path: {name: value["data"] for name, value in values.items()}
        for path, values in json.loads(done.stdout)["data"][0]
    }


def wait_for_state(lab: Lab, user: str, path: str, state: str) -> None:
    """Wait until an app is in a state; one that has ended in another is told with its problem."""

    def is_there() -> bool:
        app = apps(lab, user)[path]
        if app["State"] in ENDED and app["State"] != state:
            raise AssertionError(f"{path} did not become {state}: {app['State']} {app['Problem']}")
        return bool(app["State"] == state)

    lab.wait_for(is_there, 30, f"{path} does not become {state}")


def wait_until_nothing_is_left(lab: Lab, user: str, path: str) -> None:
    """Wait until an app is over, or unknown to isod."""

    def is_over() -> bool:
        try:
            app = apps(lab, user).get(path)
        except CommandFailed:
            return False  # isod was killed as it was to answer
        return app is None or (app["State"] in ENDED and not app["Running"])

    lab.wait_for(is_over, 30, f"{path} does not end")


def end_all(lab: Lab) -> None:
    """Kill all apps of all users, for a test that failed before it could; what can't be ended is not waited for."""
    for path, app in apps(lab, "root").items():
        if app["Running"]:
            lab.run("isoctl", "kill", "--signal=KILL", path.rpartition("/")[2], check=False)
