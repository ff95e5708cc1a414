"""Descriptors that systemd keeps for isod: how many, under which names, and what comes back after a restart."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, CAROL, Core, running
from display_fakes import Display, Store, restarted
from isod.core.listeners import Listeners
from isod.core.state_files import ListenerFiles, ListenerRecord
from isod.host import fdstore
from isod.host.fdstore import SystemdFdStore
from isod.ports import Account
from isod_contract import limits
from isod_contract.errors import LimitExceeded

UNIT = Path(__file__).resolve().parents[2] / "systemd-units/isod.service"
# execve(2): the kernel takes no string of the environment beyond this.
STRING_BYTES_MAX = 128 * 1024


class FakeSystemd:
    """systemd's half of the store, as sd_pid_notify_with_fds(3) describes it."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.fault: OSError | None = None

    def notify(self, text: str, fds: Any = ()) -> None:
        if self.fault:
            raise self.fault
        fields = dict(line.split("=", 1) for line in text.splitlines())
        if "FDSTORE" in fields:
            self.kept += [fields["FDNAME"]] * len(fds)
        else:
            self.kept = [name for name in self.kept if name != fields["FDNAME"]]

    def listen_fds_with_names(self, unset_environment: bool) -> dict[int, str]:
        assert unset_environment
        return {os.open("/dev/null", os.O_RDONLY): name for name in self.kept[:8]} | {
            # not really open: thousands of descriptors are the lab's business
            10_000_000 + number: name
            for number, name in enumerate(self.kept[8:])
        }

    @property
    def names_text(self) -> str:
        return "LISTEN_FDNAMES=" + ":".join(self.kept)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    fake = FakeSystemd()
    monkeypatch.setattr(fdstore, "daemon", fake)
    monkeypatch.setattr(fdstore.os, "set_inheritable", lambda _fd, _value: None)
    return fake


def setting(name: str) -> int:
    (value,) = re.findall(rf"^{name}=([0-9]+)$", UNIT.read_text(), re.MULTILINE)
    return int(value)


@pytest.mark.attack("C45")
def test_all_names_fit_into_what_the_kernel_lets_one_variable_hold(systemd: FakeSystemd) -> None:
    """F1: with 42 bytes for each, an isod with 3,100 attached apps could never be executed again."""
    store = SystemdFdStore()
    for _ in range(limits.STORED_FDS_MAX):
        store.put(0)
    assert len(set(systemd.kept)) == limits.STORED_FDS_MAX
    assert {len(name) for name in systemd.kept} == {4}
    # sd_pid_notify_with_fds(3), FDNAME=: printable ASCII without a colon
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in systemd.kept)
    assert len(systemd.names_text) < STRING_BYTES_MAX / 4


@pytest.mark.attack("C45")
def test_what_is_over_the_ceiling_is_refused_by_name_also_after_a_restart(systemd: FakeSystemd) -> None:
    """B9: what systemd has no room for it closes in silence, and the next isod took the caller for gone."""
    store = SystemdFdStore()
    names = [store.put(0) for _ in range(limits.STORED_FDS_MAX)]
    for is_restarted in (False, True):
        again = SystemdFdStore() if is_restarted else store
        with pytest.raises(LimitExceeded, match=str(limits.STORED_FDS_MAX)):
            again.put(0)
        assert len(systemd.kept) == limits.STORED_FDS_MAX
        again.drop(names.pop())
        names.append(again.put(0))
    most_apps = limits.ATTACHED_APPS_MAX + limits.ATTACHED_APPS_RESERVED
    assert most_apps < limits.STORED_FDS_MAX < setting("FileDescriptorStoreMax")
    # All of them again in isod itself, with a container's connection, root and pidfd and an app's terminal.
    assert setting("LimitNOFILE") > 3 * limits.STORED_FDS_MAX


def test_a_store_that_systemd_refuses_is_an_error_with_a_name_and_nothing_is_counted(systemd: FakeSystemd) -> None:
    store = SystemdFdStore()
    systemd.fault = OSError(24, "Too many open files")
    with pytest.raises(LimitExceeded, match="Too many open files"):
        store.put(0)
    systemd.fault = None
    assert store.put(0) in systemd.kept


@pytest.mark.attack("C45")
async def test_attached_apps_of_all_users_have_a_ceiling_and_detached_ones_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B9: [limits] apps counts each user by himself, systemd's store all together; who has few still gets some."""
    monkeypatch.setattr(limits, "ATTACHED_APPS_MAX", 2)
    monkeypatch.setattr(limits, "ATTACHED_APPS_RESERVED", 2)
    monkeypatch.setattr(limits, "ATTACHED_APPS_FEW", 2)
    core = Core(tmp_path)
    core.guest.accounts["carol"] = Account("carol", 1003, 1003, "/home/carol", "/bin/bash")
    read_fd, write_fd = os.pipe()
    first = await running(core, lifetime=os.dup(read_fd))
    await running(core, lifetime=os.dup(read_fd))
    with pytest.raises(LimitExceeded, match=r"2 apps of all users.*--detach"):
        core.launch(lifetime=os.dup(read_fd))
    for _ in range(2):
        await running(core, lifetime=os.dup(read_fd), caller=CAROL)
    with pytest.raises(LimitExceeded, match="4 apps of all users"):
        core.launch(lifetime=os.dup(read_fd), caller=CAROL)
    await running(core)
    core.apps.main_ended(first, exit_code=0, exit_signal=0)
    assert first.record.stored not in core.store.stored
    # She has one again, so she is of those who have few.
    await running(core, lifetime=os.dup(read_fd))
    for app in core.apps.all():
        core.apps.release_lifetime(app)
    os.close(read_fd)
    os.close(write_fd)


async def test_an_app_that_a_store_has_no_room_for_is_not_started(tmp_path: Path) -> None:
    core = Core(tmp_path)

    def full(_fd: int) -> str:
        raise LimitExceeded(reason="full")

    core.store.put = full  # type: ignore[method-assign]
    read_fd, write_fd = os.pipe()
    app = core.launch(lifetime=read_fd)
    while not app.ended:
        await asyncio.sleep(0)
    assert app.record.problem[0].endswith("LimitExceeded")
    assert core.guest.started == []
    os.close(write_fd)


async def test_a_socket_of_any_kind_comes_back_as_itself(tmp_path: Path) -> None:
    """B10: whatever was not X came back as Wayland's."""
    store = Store()
    display = Display(tmp_path, store=store)
    reads = {}
    for name in ("wayland-0", "X", "pulse-native", "a-b-1"):
        read_fd, write_fd = os.pipe()
        display.listener_files.save(ListenerRecord(store.put(read_fd), "blog", 1000, name))
        reads[name] = os.fstat(read_fd).st_ino
        os.close(read_fd)
        os.close(write_fd)
    listeners = Listeners(display.directories, Store(store.stored), ListenerFiles(tmp_path / "state"))
    listeners.recover()
    found = listeners.take_over("blog", 1000)
    assert {name: os.fstat(item.fd).st_ino for name, item in found.items()} == reads
    for item in found.values():
        listeners.close(item)
    assert ListenerFiles(tmp_path / "state").load_all() == []


async def test_a_record_without_its_socket_is_forgotten(tmp_path: Path) -> None:
    files = ListenerFiles(tmp_path)
    files.save(ListenerRecord("gone", "blog", 1000, "X"))
    (tmp_path / "listener-bad.json").write_text('["half')
    (tmp_path / "listener-else.json").write_text('{"stored": "../../x", "machine": "", "uid": 1, "name": ""}')
    display = Display(tmp_path)
    listeners = Listeners(display.directories, Store(), files)
    listeners.recover()
    assert (listeners.waiting, sorted(tmp_path.glob("listener-*"))) == (0, [])


async def test_sockets_live_through_a_restart_under_their_recorded_names(tmp_path: Path) -> None:
    display = Display(tmp_path)
    display.compositor()
    display.register("context", "wayland-1")
    await display.launch()
    assert {record.name for record in display.listener_files.load_all()} == {"wayland-0", "X"}
    again = restarted(display, tmp_path)
    again.compositor()
    again.register("context", "wayland-1")
    await again.launch()
    assert again.answers()
    assert len(again.store.stored) == 2
    await again.end()
    assert again.listener_files.load_all() == []


async def test_a_pipe_that_an_older_isod_stored_under_its_long_name_keeps_its_app(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    core = Core(tmp_path)
    app = await running(core, lifetime=read_fd)
    core.store.stored[f"lifetime-{app.record.id}"] = core.store.stored.pop(app.record.stored)
    app.record.stored = ""
    core.apps.save(app)
    asyncio.get_running_loop().remove_reader(app.lifetime_fd)
    after = Core(tmp_path, store=core.store, guest=core.guest)
    after.recovery.begin()
    found = after.apps.find(app.record.id, ALICE)
    assert (found.stop_wanted, found.lifetime_fd is not None) == (False, True)
    after.apps.release_lifetime(found)
    os.close(write_fd)
