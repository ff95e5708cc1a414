"""isod's interface for other desktop tools: on the session bus by isod-session, signals on both buses."""

import signal
import subprocess
import threading

import pytest

from isod_contract import names
from isod_contract.methods import METHODS, PROPERTIES, SIGNALS
from lab.apps import run_app, wait_for_state, wait_until_nothing_is_left
from lab.listener import Listener
from lab.machine import Lab


def run_by_session_bus(lab: Lab, container: str, *argv: str) -> str:
    return run_app(lab, "alice", container, *argv, bus="--user")


@pytest.fixture(scope="module")
def running_app(lab: Lab) -> str:
    path = run_by_session_bus(lab, "blog", "sleep", "4801")
    wait_for_state(lab, "alice", path, "running")
    return path


@pytest.mark.parametrize("interface", [names.MANAGER, names.CONTAINER, names.APP])
def test_introspection_shows_everything(lab: Lab, running_app: str, interface: str) -> None:
    path = {names.MANAGER: names.ROOT_PATH, names.CONTAINER: names.container_path("blog"), names.APP: running_app}
    shown = lab.run("busctl", "--user", "introspect", names.BUS_NAME, path[interface], interface, user="alice").stdout
    rows = {tuple(line.split()[:3]) for line in shown.splitlines()[1:]}
    expected = {
        (f".{method.name}", "method", method.in_signature or "-") for method in METHODS if method.interface == interface
    }
    expected |= {(f".{item.name}", "property", item.signature) for item in PROPERTIES if item.interface == interface}
    for item in SIGNALS:
        if item.interface == interface:
            expected.add((f".{item.name}", "signal", "".join(arg.signature for arg in item.args)))
    assert rows == expected


def test_the_tree_leads_to_alices_objects(lab: Lab, running_app: str) -> None:
    tree = lab.run("busctl", "--user", "--list", "tree", names.BUS_NAME, user="alice").stdout.split()
    assert {names.ROOT_PATH, names.container_path("blog"), names.container_path("shared"), running_app} <= set(tree)
    assert names.container_path("bobs") not in tree


def test_an_app_started_by_busctl_lives_on_with_the_environment_of_the_session(lab: Lab) -> None:
    """R3: the variables are those of the live session, not what was typed into a configuration once."""
    for theme in ("First", "Second"):
        lab.run(
            "systemctl", "--user", "set-environment", f"XCURSOR_THEME={theme}", "XDG_CURRENT_DESKTOP=labwm",
            "LAB_SECRET=not-for-containers", user="alice",
        )  # fmt: skip
        path = run_by_session_bus(lab, "blog", "sh", "-c", "env -0 > ~/session-env; exec sleep 4802")
        # busctl has left the bus: no rule on bus names ends the app.
        wait_for_state(lab, "alice", path, "running")
        lab.wait_for(
            lambda: lab.in_container("blog", "test", "-s", "/home/alice/session-env", check=False).returncode == 0
        )
        text = lab.in_container("blog", "cat", "/home/alice/session-env").stdout
        environment = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
        assert environment["XCURSOR_THEME"] == theme
        assert environment["XDG_CURRENT_DESKTOP"] == "labwm"
        assert "LAB_SECRET" not in environment
        assert path.rsplit("/", 1)[1] in lab.run("isoctl", "ps", "--json", user="alice").stdout
        lab.in_container("blog", "rm", "/home/alice/session-env")
        lab.run("busctl", "--user", "call", names.BUS_NAME, path, names.APP, "Stop", user="alice")
        wait_for_state(lab, "alice", path, "exited")


def test_the_audit_says_who_called_by_the_session_bus(lab: Lab) -> None:
    """What isod-session says of its caller is the user's claim, in fields of its own."""
    path = run_by_session_bus(lab, "blog", "true")
    app_id = path.rsplit("/", 1)[1]
    wait_for_state(lab, "alice", path, "exited")
    (launch,) = lab.journal(unit="isod.service", ISOCTL_APP=app_id, ISOCTL_KIND="launch")
    assert launch["ISOCTL_CALLER_UNIT"] == "user@1000.service"
    assert int(launch["ISOCTL_CLAIMED_PID"]) > 1
    assert launch["ISOCTL_CLAIMED_PID"] != launch["ISOCTL_PID"]
    assert "ISOCTL_CLAIMED_UNIT" in launch


def test_gdbus_monitor_on_the_session_bus_sees_an_app_come_and_go(lab: Lab) -> None:
    lines: list[str] = []

    def seen(*words: str) -> bool:
        return any(all(word in line for word in words) for line in lines)

    monitor = ("gdbus", "monitor", "--session", "--dest", names.BUS_NAME)
    with lab.popen(*monitor, user="alice", stdout=subprocess.PIPE) as process:
        output = process.stdout
        assert output is not None
        reader = threading.Thread(target=lambda: lines.extend(line.decode() for line in output))
        reader.start()
        lab.wait_for(lambda: seen("is owned by"))
        path = run_by_session_bus(lab, "blog", "sh", "-c", "exit 9")
        try:
            lab.wait_for(lambda: seen("AppRemoved", path), 20)
        finally:
            process.signal_inner(signal.SIGTERM)
            reader.join()
    assert seen(f"{names.ROOT_PATH}: {names.MANAGER}.AppAdded", path)
    for state in ("running", "exited"):
        assert seen(f"{path}: {names.PROPERTIES}.PropertiesChanged", f"'State': <'{state}'>")
    assert seen(f"{path}: {names.APP}.Exited (9, 0)")


def lifecycle(lab: Lab, container: str) -> str:
    """Have alice run an app to its end; gives its object path."""
    path = run_by_session_bus(lab, container, "sh", "-c", "exit 9")
    wait_until_nothing_is_left(lab, "alice", path)
    return path


@pytest.mark.attack("C07")
def test_on_the_system_bus_subscribers_are_told_and_nobody_else(lab: Lab) -> None:
    """S07: signals are unicast: neither a match rule nor a subscription gives those about somebody else's app."""
    with (
        Listener(lab, "alice", subscribes=True) as subscriber,
        Listener(lab, "alice", subscribes=False) as silent,
        Listener(lab, "carol", subscribes=True) as carol,
        Listener(lab, "mallory", subscribes=True) as mallory,
        Listener(lab, "root", subscribes=True) as root,
    ):
        path = lifecycle(lab, "shared")
        heard = {listener: listener.finish() for listener in (subscriber, silent, carol, mallory, root)}
    for listener in (subscriber, root):
        told = listener.told(path)
        assert (told[0], told[-1]) == ("AppAdded", "AppRemoved")
        assert told.count("Exited") == 1
        states = [
            signal["body"][1]["State"][1]
            for signal in heard[listener]
            if signal["path"] == path and signal["member"] == "PropertiesChanged" and "State" in signal["body"][1]
        ]
        assert states[-2:] == ["running", "exited"]
        assert {"path": path, "member": "Exited", "body": [9, 0]} in heard[listener]
    for listener in (silent, carol, mallory):
        assert not listener.told(path)
    assert not heard[mallory]


def test_a_containers_state_is_told_to_those_who_may_see_it(lab: Lab) -> None:
    lab.start("net")
    path = names.container_path("net")
    with (
        Listener(lab, "alice", subscribes=True) as alice,
        Listener(lab, "bob", subscribes=True) as bob,
        Listener(lab, "mallory", subscribes=True) as mallory,
    ):
        lab.run("isoctl", "stop", "net", user="alice")
        stopped = {"path": names.ROOT_PATH, "member": "ContainerChanged", "body": [path, "stopped"]}
        lab.wait_for(lambda: stopped in alice.signals)
        bob.finish()
        mallory.finish()
    assert not bob.told(path)
    assert not mallory.signals
