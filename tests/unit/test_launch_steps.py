"""A launch step by step, and the end of an app: what systemd is given, who owns which descriptor, what is told."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core_fakes import ALICE, CAROL, CLD_DUMPED, CLD_EXITED, CLD_KILLED, Core, running, until
from isod.policy import ContainerPolicy
from isod.settings import DaemonSettings
from isod_contract.errors import ContainerGone, InvalidArgument, LimitExceeded, NotPermitted, UnsafeFd
from isod_contract.states import AppState


@pytest.fixture
def core(tmp_path: Path) -> Core:
    return Core(tmp_path)


@pytest_asyncio.fixture
async def fds_left() -> Callable[[], int]:
    """Count descriptors that are open now and were not at the beginning."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))

    def left() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd")) - before

    return left


async def test_a_launch_is_answered_before_anything_is_asked_or_started(core: Core) -> None:
    core.containers.hold.clear()
    app = core.launch("true")
    assert app.record.state is AppState.AUTHORIZING
    await until(lambda: core.containers.asked)
    assert not core.containers.boots
    core.containers.hold.set()
    await until(lambda: app.record.state is AppState.RUNNING)
    assert core.kinds() == ["launch"]


@pytest.mark.attack("C09")
async def test_systemd_is_told_what_keeps_arguments_and_exit_codes_whole(core: Core) -> None:
    await running(core, "echo", "$$", "${HOME}", "%h", "", login_shell=False)
    [(unit, properties, _)] = core.guest.started
    assert unit.startswith("isoctl-app-")
    signature, [[path, argv, flags]] = properties["ExecStartEx"]
    assert (signature, path, flags) == ("a(sasas)", "/bin/sh", ["no-env-expand"])
    assert argv[-5:] == ["echo", "$$", "${HOME}", "%h", ""]
    wanted = {
        "Type": "exec",
        "ExitType": "cgroup",
        "RemainAfterExit": True,
        "KillMode": "control-group",
        "IgnoreSIGPIPE": False,
        "SendSIGHUP": True,
        "User": "alice",
        "StandardInput": "null",
        "StandardOutput": "journal",
        "StandardError": "journal",
    }
    assert {name: properties[name][1] for name in wanted} == wanted


async def test_the_callers_streams_are_the_apps_and_nobody_else_keeps_them(
    core: Core, fds_left: Callable[[], int]
) -> None:
    (in_reader, in_writer), (out_reader, out_writer) = os.pipe(), os.pipe()
    given = (in_reader, out_writer)
    inodes = tuple(os.fstat(fd).st_ino for fd in given)
    await running(core, stdin=in_reader, stdout=out_writer, stderr=os.open("/dev/null", os.O_WRONLY))
    [(_, properties, passed)] = core.guest.started
    assert passed == inodes
    assert (properties["StandardInputFileDescriptor"], properties["StandardOutputFileDescriptor"]) == (
        ("h", 0),
        ("h", 1),
    )
    # /dev/null of the host does not enter; the container has its own.
    assert properties["StandardError"] == ("s", "null")
    os.close(in_writer)
    os.close(out_reader)
    assert fds_left() == 0


@pytest.mark.parametrize("how", ["refused", "fault", "start fails", "no account", "cancelled at once", "stopped"])
async def test_whatever_goes_wrong_no_descriptor_stays_and_the_next_launch_has_its_turn(
    tmp_path: Path, fds_left: Callable[[], int], how: str
) -> None:
    core = Core(tmp_path, settings=DaemonSettings.model_validate({"limits": {"launches_starting": 1}}))
    reader, writer = os.pipe()
    lifetime, held = os.pipe()
    match how:
        case "refused":
            core.containers.refused = NotPermitted(reason="no")
        case "fault":
            core.containers.fault = RuntimeError("/root/secret")
        case "start fails":
            core.guest.fault = ContainerGone(container="blog", reason="it stopped")
        case "no account":
            core.guest.accounts.clear()
        case "stopped":
            core.containers.hold.clear()
    app = core.launch("true", stdout=writer, lifetime=lifetime)
    if how == "stopped":
        await until(lambda: core.containers.asked)
    if how in ("stopped", "cancelled at once"):
        await core.apps.stop(app)
    await until(lambda: app.ended and app.launching is None)
    assert app.record.state is AppState.FAILED
    assert "secret" not in str(app.record.problem)
    assert [record.get("outcome") for record in core.records] == ["failed"]
    os.close(reader)
    os.close(held)
    # of an app that is over the pipe is kept until its caller has left: then it was told
    await until(lambda: fds_left() == 0)
    assert not core.guest.started
    again = Core(tmp_path / "none", settings=core.containers.policy.settings)
    core.containers.refused, core.containers.fault, core.guest.fault = None, None, None
    core.guest.accounts = again.guest.accounts
    core.containers.hold.set()
    await running(core)


async def test_a_fault_of_ours_is_told_with_an_id(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    core.containers.fault = RuntimeError("/root/secret")
    app = core.launch()
    await until(lambda: app.ended)
    name, text = app.record.problem
    [record] = [record for record in caplog.records if record.message == "launch.failed"]
    assert name == "org.isoctl1.Error.Internal"
    assert record.__dict__["incident"] in text


@pytest.mark.attack("C12")
async def test_a_refused_descriptor_refuses_the_call_and_all_of_its_descriptors_are_closed(
    core: Core, fds_left: Callable[[], int]
) -> None:
    reader, writer = os.pipe()
    directory = os.open("/", os.O_RDONLY)
    with pytest.raises(UnsafeFd):
        core.launch(stdout=writer, stderr=directory, lifetime=reader)
    assert fds_left() == 0
    assert not core.apps.all()


async def test_the_same_id_is_the_same_app_and_nobody_elses(core: Core, fds_left: Callable[[], int]) -> None:
    first = await running(core, id="c" * 32)
    reader, writer = os.pipe()
    assert core.launch(id="c" * 32, stdout=writer, stdin=reader) is first
    assert fds_left() == 0
    with pytest.raises(InvalidArgument, match="taken by another app"):
        core.launch(id="c" * 32, caller=CAROL)
    assert len(core.guest.started) == 1


async def test_apps_of_a_uid_are_bounded(tmp_path: Path) -> None:
    core = Core(tmp_path, settings=DaemonSettings.model_validate({"limits": {"apps": 2}}))
    first = await running(core)
    await running(core)
    with pytest.raises(LimitExceeded, match="2 apps of uid 1000 are running"):
        core.launch()
    core.guest.accounts["carol"] = core.guest.accounts["alice"]
    assert core.launch(caller=CAROL)
    core.guest.tell(first.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=0, SubState="exited")
    await until(lambda: not first.record.running)
    assert core.launch()


async def test_who_left_while_he_waited_starts_no_container(tmp_path: Path) -> None:
    core = Core(tmp_path, settings=DaemonSettings.model_validate({"limits": {"launches_starting": 1}}))
    core.containers.hold.clear()
    core.launch()
    lifetime, held = os.pipe()
    waiting = core.launch(lifetime=lifetime)
    os.close(held)
    await until(lambda: waiting.ended)
    core.containers.hold.set()
    await until(lambda: core.guest.started)
    await asyncio.sleep(0)
    assert len(core.containers.asked) == core.containers.boots == len(core.guest.started) == 1


@pytest.mark.parametrize(
    ("shift", "uid", "allowed"),
    [(0, 1000, True), (0, 4_000_000, True), (0, 65533, False), (65536, 65533, True)],
    ids=["his own", "nobody's", "another login user's", "shifted"],
)
async def test_without_a_user_namespace_an_account_must_not_be_another_login_user(
    core: Core, monkeypatch: pytest.MonkeyPatch, shift: int, uid: int, allowed: bool
) -> None:
    monkeypatch.setattr("isod.core.launch.login_user", lambda of: "bob" if of == 65533 else "")
    core.guest.uid_shift = shift
    core.guest.accounts["alice"] = core.guest.accounts["alice"].__class__("alice", uid, uid, "/", "/bin/sh")
    app = core.launch()
    await until(lambda: app.ended or app.record.state is AppState.RUNNING)
    assert app.ended is not allowed
    if not allowed:
        assert "has uid 65533, which on the host is 'bob'" in app.record.problem[1]


@pytest.mark.attack("C09")
async def test_an_account_that_is_uid_0_needs_the_grant_for_root_whatever_its_name(core: Core) -> None:
    core.guest.accounts["alice"] = core.guest.accounts["alice"].__class__("alice", 0, 0, "/root", "/bin/sh")
    await running(core)
    assert core.containers.asked == [(1000, "alice"), (1000, "root")]


# -- the end


@pytest.mark.parametrize(
    ("told", "exit_code", "exit_signal"),
    [
        ({"ExecMainCode": CLD_EXITED, "ExecMainStatus": 0}, 0, 0),
        ({"ExecMainCode": CLD_EXITED, "ExecMainStatus": 7}, 7, 0),
        ({"ExecMainCode": CLD_EXITED, "ExecMainStatus": 203}, 203, 0),
        ({"ExecMainCode": CLD_KILLED, "ExecMainStatus": 9}, -1, 9),
        ({"ExecMainCode": CLD_DUMPED, "ExecMainStatus": 11}, -1, 11),
    ],
)
async def test_the_exit_code_is_the_programs_own(
    core: Core, told: dict[str, int], exit_code: int, exit_signal: int
) -> None:
    app = await running(core)
    core.guest.tell(app.unit, **told)
    assert (app.record.state, app.record.exit_code, app.record.exit_signal) == (
        AppState.EXITED,
        exit_code,
        exit_signal,
    )
    assert core.kinds() == ["launch", "exit"]
    core.guest.tell(app.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=99)
    assert app.record.exit_code == exit_code


@pytest.mark.parametrize(
    "told",
    [
        {"ExecMainCode": 0, "ExecMainStatus": 0},
        {"ExecMainCode": "1", "ExecMainStatus": 0},
        {"ExecMainCode": None, "ExecMainStatus": [0]},
        {"ExecMainStatus": 0},
        {"ActiveState": {}, "SubState": 7},
    ],
)
async def test_what_says_nothing_of_an_end_is_none(core: Core, told: dict[str, Any]) -> None:
    app = await running(core)
    core.guest.tell(app.unit, **told)
    assert app.record.state is AppState.RUNNING


async def test_what_a_program_leaves_behind_lives_on_and_then_its_unit_is_unloaded(core: Core) -> None:
    app = await running(core)
    core.guest.tell(app.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=0)
    assert app.record.running
    await asyncio.sleep(0)
    assert not core.guest.calls
    core.guest.tell(app.unit, SubState="exited")
    await until(lambda: not app.record.running)
    await until(lambda: len(core.guest.calls) == 2)
    assert core.guest.calls == [("stop", app.unit), ("reset", app.unit)]


async def test_a_start_that_systemd_could_not_make_says_what_is_missing(core: Core) -> None:
    core.guest.job_result = "failed"
    app = core.launch(directory="/nosuch")
    unit = f"isoctl-app-{app.record.id}.service"
    core.guest.units[unit] = {"LoadState": "loaded", "ExecMainCode": CLD_EXITED, "ExecMainStatus": 200}
    await until(lambda: app.ended)
    assert app.record.state is AppState.FAILED
    assert "'/nosuch' is not there in container" in app.record.problem[1]


async def test_a_caller_that_is_gone_ends_the_app_but_not_what_it_left_behind(core: Core) -> None:
    lifetime, held = os.pipe()
    app = await running(core, lifetime=lifetime)
    os.close(held)
    await until(lambda: ("stop", app.unit) in core.guest.calls)
    lifetime, held = os.pipe()
    other = await running(core, lifetime=lifetime)
    core.guest.tell(other.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=0)
    os.close(held)
    await asyncio.sleep(0.05)
    assert ("stop", other.unit) not in core.guest.calls


async def test_a_signal_goes_to_what_runs_and_a_number_that_is_none_to_nobody(core: Core) -> None:
    app = await running(core)
    await core.apps.signal(app, signal.SIGUSR1)
    assert core.guest.calls == [(f"kill {signal.SIGUSR1:d}", app.unit)]
    for number in (0, -1, 65, 1 << 40):
        with pytest.raises(InvalidArgument):
            await core.apps.signal(app, number)


async def test_others_are_running_counts_everybody_but_the_caller(tmp_path: Path) -> None:
    core = Core(tmp_path, policy=ContainerPolicy(users=("alice", "carol")))
    others = core.containers.others_running
    assert not others(core.container, CAROL)
    app = await running(core)
    assert others(core.container, CAROL)
    assert not others(core.container, ALICE)
    core.guest.tell(app.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=0, SubState="exited")
    await until(lambda: not app.record.running)
    assert not others(core.container, CAROL)


async def test_a_directory_of_the_host_is_the_one_inside_or_the_launch_fails(
    core: Core, tmp_path: Path, fds_left: Callable[[], int]
) -> None:
    """Issue 13.4: it is known by a descriptor, which nobody keeps."""
    app = core.launch(directory_fd=os.open(tmp_path, os.O_PATH))
    await until(lambda: app.ended)
    assert app.record.problem[1].startswith(f"directory: '{tmp_path}' of the host is not shared with container blog; ")
    core.directories.inside[str(tmp_path)] = "/mnt/work"
    await running(core, directory_fd=os.open(tmp_path, os.O_PATH))
    assert core.guest.started[-1][1]["WorkingDirectory"] == ("s", "/mnt/work")
    for refused in ({"environment": ("DISPLAY=:0",)}, {"id": "ab"}):
        with contextlib.suppress(InvalidArgument):
            core.launch(directory_fd=os.open(tmp_path, os.O_PATH), **refused)
    await until(lambda: fds_left() == 0)


@pytest.mark.attack("C08")
async def test_of_more_hints_those_arrive_that_policy_names(tmp_path: Path) -> None:
    """R-10: http_proxy of the caller, in containers that shall have it; nothing by that way is isod's own."""
    core = Core(tmp_path, policy=ContainerPolicy(users=("alice",), hints=("http_proxy",)))
    more = ("http_proxy=http://p", "LD_PRELOAD=/evil.so", "XDG_RUNTIME_DIR=/evil", "WAYLAND_DISPLAY=w")
    app = await running(core, more_hints=more)
    variables = core.environments.written[app.record.id]
    assert variables["http_proxy"] == "http://p"
    assert variables["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert not {"LD_PRELOAD", "WAYLAND_DISPLAY"} & variables.keys()


@pytest.mark.attack("C30")
async def test_a_directory_of_others_decides_nothing_by_being_there(core: Core, tmp_path: Path) -> None:
    """It looks with rights over files that the caller lacks: whether one is there is for the app's own rights."""
    theirs = {"is there": "/home/bob/private/x", "is not": "/home/bob/private/y"}
    core.directories.inside |= {str(tmp_path): "/mnt/work", "bob's": theirs["is there"]}
    for path in theirs.values():
        await running(core, directory_fd=os.open(tmp_path, os.O_PATH), directory=path)
        assert core.guest.started[-1][1]["WorkingDirectory"] == ("s", "/mnt/work")
    del core.directories.inside[str(tmp_path)]
    core.guest.job_result = "failed"
    told = set()
    for path in theirs.values():
        app = core.launch(directory_fd=os.open(tmp_path, os.O_PATH), directory=path)
        unit = f"isoctl-app-{app.record.id}.service"
        core.guest.units[unit] = {"LoadState": "loaded", "ExecMainCode": CLD_EXITED, "ExecMainStatus": 200}
        await until(lambda app=app: app.ended)
        assert core.guest.started[-1][1]["WorkingDirectory"] == ("s", path)
        told.add(app.record.problem[1])
    (text,) = told
    assert f"'{tmp_path}' of the host is not shared" in text


async def test_a_variable_that_leads_nowhere_inside_is_told_and_the_app_starts(core: Core) -> None:
    """Issue 13.12."""
    asked = ("SSH_AUTH_SOCK=/run/user/1000/agent", "KNOWN=/srv", "OUT=/new")
    core.directories.inside["x"] = "/srv"
    app = await running(core, environment=asked, host_paths=("SSH_AUTH_SOCK", "KNOWN", "NOT_ASKED"))
    assert "SSH_AUTH_SOCK" in app.record.problem[1]
    assert "no grant for ssh agents yet" in app.record.problem[1]
    app = await running(core, environment=asked, host_paths=("KNOWN",))
    assert app.record.problem == ("", "")
