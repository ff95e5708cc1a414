"""The display in a container's own session, for what D-Bus and systemd start there."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core_fakes import FakeEnvironments, FakeGuest, until
from isod.core import activation as module
from isod.core.activation import Activation
from isod.ports import Account
from isod_contract.errors import ContainerGone

BLOG: Any = None
ENVIRONMENTS: Any = FakeEnvironments()
ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
BOTH = {"WAYLAND_DISPLAY": "/run/isoctl/1000/wayland-0", "DISPLAY": "/run/isoctl/1000/X"}
WAYLAND = {"WAYLAND_DISPLAY": "/run/isoctl/1000/wayland-0"}


def told(guest: FakeGuest) -> list[tuple[str, list[str]]]:
    """Give what was set and unset, in order."""
    result = []
    for _, properties, _ in guest.started:
        [[_, [_, _, script, _, *names], _]] = properties["ExecStartEx"][1]
        result.append(("unset" if "unset-environment" in script else "set", names))
    return result


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_change_is_told_once() -> None:
    guest, activation = FakeGuest(), Activation(ENVIRONMENTS)
    for variables in (BOTH, BOTH, WAYLAND, WAYLAND, {}, {}):
        activation.show(BLOG, guest, ALICE, variables)
        await settle()
    activation.withdraw(BLOG, guest, ALICE)
    await settle()
    assert told(guest) == [
        ("set", ["DISPLAY", "WAYLAND_DISPLAY"]),
        ("unset", ["DISPLAY"]),
        ("set", ["WAYLAND_DISPLAY"]),
        ("unset", ["WAYLAND_DISPLAY"]),
    ]


async def test_a_container_that_was_started_again_is_told_again() -> None:
    activation = Activation(ENVIRONMENTS)
    for guest in (FakeGuest(), FakeGuest()):
        activation.show(BLOG, guest, ALICE, WAYLAND)
        await settle()
        assert told(guest) == [("set", ["WAYLAND_DISPLAY"])]


async def test_of_two_changes_at_once_the_later_has_the_last_word() -> None:
    guest, activation = FakeGuest(), Activation(ENVIRONMENTS)
    jobs: list[asyncio.Future[str]] = []
    real = guest.start_unit

    async def start(*arguments: Any) -> asyncio.Future[str] | None:
        await real(*arguments)
        jobs.append(asyncio.get_running_loop().create_future())
        return jobs[-1]

    guest.start_unit = start  # type: ignore[method-assign]
    activation.show(BLOG, guest, ALICE, WAYLAND)
    activation.show(BLOG, guest, ALICE, {})
    await settle()
    assert told(guest) == [("set", ["WAYLAND_DISPLAY"])]
    jobs[0].set_result("done")
    await until(lambda: len(jobs) == 2)
    assert told(guest)[-1] == ("unset", ["WAYLAND_DISPLAY"])
    jobs[1].set_result("done")
    await settle()


@pytest.mark.parametrize("fault", ["refused", "failed"])
async def test_what_could_not_be_told_is_logged_and_hurts_nobody(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    guest, activation = FakeGuest(), Activation(ENVIRONMENTS)
    if fault == "refused":
        guest.fault = ContainerGone(container="blog", reason="it stopped")
    else:
        guest.job_result = "failed"
    activation.show(BLOG, guest, ALICE, WAYLAND)
    await settle()
    assert [record.message for record in caplog.records] == ["display.not_shown"]
    guest.fault = None
    activation.show(BLOG, guest, ALICE, BOTH)
    await settle()
    assert told(guest)[-1] == ("set", ["DISPLAY", "WAYLAND_DISPLAY"])


async def test_no_value_is_in_an_argument_and_the_users_own_bus_is_meant() -> None:
    guest, activation = FakeGuest(), Activation(ENVIRONMENTS)
    activation.show(BLOG, guest, ALICE, WAYLAND)
    await settle()
    [(unit, properties, _)] = guest.started
    assert "wayland-0" not in str(properties)
    assert not ENVIRONMENTS.there
    assert properties["User"] == ("s", "alice")
    variables = ENVIRONMENTS.written[unit]
    assert variables["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/run/user/1000/bus"
    assert variables.items() >= WAYLAND.items()


@pytest.mark.parametrize("with_dbus", [True, False])
def test_the_scripts_name_exactly_the_variables(tmp_path: Path, with_dbus: bool) -> None:
    for program in ("dbus-update-activation-environment", "systemctl"):
        code = 0 if with_dbus or program == "systemctl" else 127
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@" >> {tmp_path}/log\nexit {code}\n')
        (tmp_path / program).chmod(0o755)

    def run(script: str) -> list[str]:
        (tmp_path / "log").write_text("")
        environment = {"PATH": f"{tmp_path}:{os.defpath}"}
        subprocess.run(["/bin/sh", "-c", script, "sh", "DISPLAY", "QT_QPA_PLATFORM"], env=environment, check=True)
        return (tmp_path / "log").read_text().splitlines()

    systemd = "systemctl --user import-environment DISPLAY QT_QPA_PLATFORM"
    dbus = "dbus-update-activation-environment --systemd DISPLAY QT_QPA_PLATFORM"
    assert run(module._SET) == ([dbus] if with_dbus else [dbus, systemd])
    assert run(module._UNSET) == [
        "systemctl --user unset-environment DISPLAY QT_QPA_PLATFORM",
        "dbus-update-activation-environment DISPLAY= QT_QPA_PLATFORM=",
    ]
