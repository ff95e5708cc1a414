"""When isod-session registers the session, and when it comes and goes."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desktop import DEADLINE_SEC, SYSTEMD, Desktop, call, fake_systemd, running_desktop, started, until
from isod_contract import names
from isod_wire import SESSION_CAPS, RemoteError, Variant, connect


@pytest_asyncio.fixture
async def desktop(tmp_path: Path) -> AsyncIterator[Desktop]:
    async with running_desktop(tmp_path) as made:
        yield made


async def test_the_session_is_registered_with_its_own_variables_only(desktop: Desktop) -> None:
    isod, _ = await started(
        desktop,
        WAYLAND_DISPLAY="wayland-1",
        LANG="de_DE.UTF-8",
        SECRET="x",
        TERM="xterm",
        DISPLAY=":0\nX=1",
        TZ="a" * 2000,
    )
    (session,) = isod.sessions
    assert session["environment"] == Variant("as", ["LANG=de_DE.UTF-8", "WAYLAND_DISPLAY=wayland-1"])
    assert len(isod.named("Subscribe")) == 1


async def test_a_compositor_that_came_later_is_known_at_the_next_launch(desktop: Desktop) -> None:
    manager = await fake_systemd(desktop, ["LANG=C.UTF-8", "XDG_SESSION_ID=4"])
    isod, client = await started(desktop, LANG="old")
    (session,) = isod.sessions
    assert session["environment"] == Variant("as", ["LANG=C.UTF-8", "XDG_SESSION_ID=4"])
    assert (session["session"], "wayland" in session) == (Variant("s", "4"), False)
    manager.block.append("WAYLAND_DISPLAY=wayland-0")
    (await call(client, "Run", "sasa{sv}", ["blog", ["true"], {}])).close()
    assert "WAYLAND_DISPLAY=wayland-0" in isod.sessions[-1]["environment"].value
    assert [received.member for received in isod.calls][-3:] == ["RegisterSession", "Subscribe", "Run"]
    (await call(client, "Run", "sasa{sv}", ["blog", ["true"], {}])).close()
    assert len(isod.sessions) == 2


async def test_the_start_of_a_graphical_session_is_enough(desktop: Desktop) -> None:
    manager = await fake_systemd(desktop, [])
    isod, _ = await started(desktop)
    manager.block.append("WAYLAND_DISPLAY=wayland-0")
    path = "/org/freedesktop/systemd1/unit/graphical_2dsession_2etarget"
    manager.connection.emit(path, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", [SYSTEMD + ".Unit", {}, []])
    await until(lambda: len(isod.sessions) == 2)


async def test_a_new_isod_is_told_again(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    await isod.leave()
    await until(lambda: not desktop.flag.exists())
    with pytest.raises(RemoteError, match=r"ServiceUnknown: isod does not run .* systemctl start isod"):
        await call(client, "ListContainers")
    again = await desktop.start_isod()
    await until(desktop.flag.exists)
    assert [received.member for received in again.calls][:2] == ["RegisterSession", "Subscribe"]
    (await call(client, "ListContainers")).close()


async def test_it_serves_before_there_is_a_system_bus_and_after(desktop: Desktop) -> None:
    await desktop.start_service()
    client = await desktop.client()
    asked = asyncio.create_task(call(client, "ListContainers"))
    await asyncio.sleep(0.2)
    assert not asked.done()
    running = await desktop.start_system_bus()
    isod = await desktop.start_isod()
    await until(desktop.flag.exists)
    with contextlib.suppress(RemoteError):
        (await asked).close()
    running.close()
    await until(lambda: not desktop.flag.exists())
    with pytest.raises(RemoteError, match=r"ServiceUnknown: .*system bus"):
        await call(client, "ListContainers")
    await desktop.start_system_bus()
    isod = await desktop.start_isod()
    await until(desktop.flag.exists)
    assert len(isod.sessions) == 1
    (await call(client, "ListContainers")).close()


async def test_it_leaves_with_the_session(desktop: Desktop) -> None:
    await started(desktop)
    os.kill(desktop.session.pid, signal.SIGTERM)
    assert desktop.process is not None
    assert await asyncio.wait_for(desktop.process.wait(), DEADLINE_SEC) == 0
    assert not desktop.flag.exists()


async def test_it_leaves_when_told_to(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    isod.answers["ListContainers"] = lambda _: None
    asked = asyncio.create_task(call(client, "ListContainers"))
    await until(lambda: isod.named("ListContainers"))
    assert await desktop.stop_service() == 0
    assert not desktop.flag.exists()
    with pytest.raises(RemoteError):
        await asked


async def test_a_second_one_does_not_take_its_place(desktop: Desktop) -> None:
    _, client = await started(desktop)
    owner = await client.name_owner(names.BUS_NAME)
    first = desktop.process
    await desktop.start_service()
    assert desktop.process is not None
    assert await asyncio.wait_for(desktop.process.wait(), DEADLINE_SEC) == 1
    assert await client.name_owner(names.BUS_NAME) == owner
    # The loser takes nothing of the winner's with it.
    assert desktop.flag.exists()
    desktop.process = first


async def test_it_tells_the_service_manager_that_it_is_up(desktop: Desktop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(tmp_path / "notify"))
        manager.setblocking(False)
        await desktop.start_service(NOTIFY_SOCKET=os.fspath(tmp_path / "notify"))
        said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), DEADLINE_SEC)
    assert said == b"READY=1"
    client = await connect(desktop.session.address, caps=SESSION_CAPS)
    assert await client.name_owner(names.BUS_NAME)
    await client.close()


async def test_it_sleeps_while_nothing_happens(desktop: Desktop) -> None:
    await started(desktop)
    assert desktop.process is not None
    status = Path(f"/proc/{desktop.process.pid}/status")

    def switches() -> int:
        return sum(int(line.split()[1]) for line in status.read_text().splitlines() if "ctxt_switches" in line)

    await asyncio.sleep(0.5)
    before = switches()
    await asyncio.sleep(2)
    assert switches() - before == 0


async def test_what_a_killed_one_left_is_not_believed(desktop: Desktop) -> None:
    await started(desktop)
    assert await desktop.stop_service(signal.SIGKILL) == -signal.SIGKILL
    assert desktop.flag.exists()
    assert desktop.system is not None
    desktop.system_path.unlink()
    await desktop.start_service()
    await desktop.client()
    await until(lambda: not desktop.flag.exists())
