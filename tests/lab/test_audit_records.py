"""What journald holds of decisions, launches and exits, and who may read which of it."""

import json
import secrets
import signal
import subprocess
from collections import Counter
from typing import Any

import pytest

from isod_contract import names
from isod_contract.errors import PREFIX
from isod_contract.records import DECISION, EXIT, LAUNCH
from lab.apps import apps, run_app, wait_until_nothing_is_left
from lab.machine import Lab

ISOD = "isod.service"
MESSAGE_IDS = {record.name: record.message_id for record in (DECISION, LAUNCH, EXIT)}


def records_of(lab: Lab, app_id: str) -> list[dict[str, Any]]:
    return lab.journal(unit=ISOD, ISOCTL_APP=app_id)


def kinds_of(lab: Lab, app_id: str) -> list[str]:
    return [record["ISOCTL_KIND"] for record in records_of(lab, app_id)]


def run_detached(lab: Lab, container: str, *argv: str, user: str = "alice", flags: tuple[str, ...] = ()) -> str:
    """Start an app that nobody waits for; gives its id."""
    done = lab.run("isoctl", "run", "--detach", *flags, container, "--", *argv, user=user)
    return done.stdout.strip()


def run_to_its_end(lab: Lab, container: str, *argv: str, user: str = "alice", flags: tuple[str, ...] = ()) -> str:
    app_id = run_detached(lab, container, *argv, user=user, flags=flags)
    lab.wait_for(lambda: "exit" in kinds_of(lab, app_id))
    return app_id


def history(lab: Lab, user: str, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(lab.run("isoctl", "history", "--json", "-n", "1000", *arguments, user=user).stdout))


def test_one_record_each_with_all_fields(lab: Lab) -> None:
    """R17 of the requirements: who asked for what, what decided, what ran, how it ended."""
    secret = "value-that-no-log-may-hold"
    argv = ["sh", "-c", "sleep 3; kill -TERM $$", "é", ""]
    app_id = run_to_its_end(lab, "blog", *argv, flags=("-e", f"TOKEN={secret}"))
    decision, launch, exited = records = records_of(lab, app_id)
    assert [record["ISOCTL_KIND"] for record in records] == ["decision", "launch", "exit"]
    for record in records:
        assert record["MESSAGE_ID"] == MESSAGE_IDS[record["ISOCTL_KIND"]]
        assert (record["_UID"], record["_SYSTEMD_UNIT"], record["SYSLOG_IDENTIFIER"]) == ("0", ISOD, "isod")
        assert (record["ISOCTL_UID"], record["ISOCTL_CONTAINER"]) == ("1000", "blog")
        assert int(record["ISOCTL_DURATION_USEC"]) >= 0
    for record in (decision, launch):
        assert json.loads(record["ISOCTL_ARGV"]) == argv
        assert (record["ISOCTL_USER"], record["ISOCTL_RULE"]) == ("alice", "users")
        assert int(record["ISOCTL_PID"]) > 1
        assert record["ISOCTL_CALLER_UNIT"] == "user@1000.service"
        assert "TOKEN" in json.loads(record["ISOCTL_ENVIRONMENT"])
    assert (decision["ISOCTL_METHOD"], decision["ISOCTL_OUTCOME"]) == ("Manager.Run", "allowed")
    assert (exited["ISOCTL_EXIT_CODE"], exited["ISOCTL_EXIT_SIGNAL"]) == ("-1", "15")
    everything = lab.run("journalctl", "-o", "export", "--all", "--no-pager", "-u", ISOD, raw=True).stdout
    assert secret.encode() not in everything


def test_a_launch_that_fails_is_told_once(lab: Lab) -> None:
    """The error that the caller reads is the one in the journal."""
    done = lab.run("isoctl", "run", "-w", "/nosuch", "blog", "true", user="alice", check=False)
    assert done.returncode == 125
    (failed, *_) = [record for record in history(lab, "alice") if record["kind"] == "exit"][::-1]
    records = records_of(lab, failed["app"])
    assert [record["ISOCTL_KIND"] for record in records] == ["decision", "launch", "exit"]
    assert records[-1]["ISOCTL_ERROR"] == PREFIX + "InvalidArgument"
    assert records[-1]["ISOCTL_EXIT_CODE"] == "-1"


def test_what_is_refused_is_one_record_without_a_launch(lab: Lab) -> None:
    done = lab.run("isoctl", "run", "-u", "root", "blog", "id", user="alice", check=False)
    assert done.returncode == 125
    refused = [record for record in history(lab, "alice") if record.get("rule") == "root"][-1]
    assert refused["outcome"] == "refused"
    assert kinds_of(lab, refused["app"]) == ["decision", "exit"]


@pytest.mark.attack("C16")
@pytest.mark.parametrize(
    "argument", ["\n<0>forged", "\nPRIORITY=0\n", "\x1b]0;forged\x07", "\u202eforged", "x" * 20_000]
)
def test_an_argument_forges_nothing(lab: Lab, argument: str) -> None:
    """S16: sudo CVE-2023-28486 and CVE-2023-28487."""
    app_id = run_to_its_end(lab, "blog", "true", argument)
    assert kinds_of(lab, app_id) == ["decision", "launch", "exit"]
    for record in records_of(lab, app_id)[:2]:
        assert json.loads(record["ISOCTL_ARGV"]) == ["true", argument]
        # What a terminal shows of the field is plain text on one line.
        assert record["ISOCTL_ARGV"].isprintable()
    everything = lab.journal(unit=ISOD)
    assert all(record.get("PRIORITY") != "0" for record in everything)
    assert not [record for record in everything if "forged" in str(record.get("MESSAGE"))]
    shown = lab.run("isoctl", "history", user="alice").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not [line for line in shown.splitlines() if line.startswith(("<0>", "PRIORITY"))]


@pytest.mark.attack("C16")
def test_a_large_argument_is_recorded_whole_and_holds_up_no_other_record(lab: Lab) -> None:
    """S16: what is too large for a datagram goes to journald as a file; nobody must be able to silence the audit."""
    large = "\x01" * 100_000  # six characters each in JSON
    app_id = run_to_its_end(lab, "blog", "true", large)
    assert json.loads(records_of(lab, app_id)[1]["ISOCTL_ARGV"]) == ["true", large]
    assert kinds_of(lab, run_to_its_end(lab, "blog", "true")) == ["decision", "launch", "exit"]


@pytest.mark.attack("C16")
def test_a_user_can_not_write_records_into_a_history(lab: Lab) -> None:
    """Any user can send fields ISOCTL_* to journald; only what journald itself says of the sender counts."""
    forged = (
        f"MESSAGE_ID={LAUNCH.message_id}\nMESSAGE=forged\nISOCTL_KIND=launch\nISOCTL_UID=1000\nISOCTL_APP=forged-id\n"
    )
    lab.run("logger", "--journald", user="mallory", stdin=forged.encode())
    lab.wait_for(lambda: bool(lab.journal(ISOCTL_APP="forged-id")))
    for user in ("alice", "root"):
        assert "forged-id" not in json.dumps(history(lab, user))


def test_everybody_reads_his_own_history_and_root_all(lab: Lab) -> None:
    hers = run_to_its_end(lab, "shared", "echo", "alices-words")
    carols = run_to_its_end(lab, "shared", "echo", "carols-words", user="carol")
    for user, uid, own, others in (("alice", 1000, hers, carols), ("carol", 1003, carols, hers)):
        records = history(lab, user)
        assert {record["uid"] for record in records} == {uid}
        told = [record["kind"] for record in records if record.get("app") == own]
        assert told == ["decision", "launch", "exit"]
        assert others not in json.dumps(records)
        assert not history(lab, user, "--since", "@4102444800")
    for user, uid in (("bob", 1001), ("mallory", 1002)):
        records = history(lab, user)
        assert {record["uid"] for record in records} <= {uid}
        assert "words" not in json.dumps(records)
        # What he asked for himself is there, with the answer that he got.
        lab.run("isoctl", "status", "shared", user=user, check=False)
        of_it = {record.get("outcome") for record in history(lab, user) if record.get("container") == "shared"}
        assert of_it == {"refused"}
    every = {record.get("app") for record in history(lab, "root")}
    assert {hers, carols} <= every


def logs(lab: Lab, user: str, name: str) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", "logs", name, user=user, check=False)


def test_everybody_reads_the_logs_of_his_own_apps_and_root_all(lab: Lab) -> None:
    """R15 of the requirements, without rights on the journal."""
    apps = {}
    for user in ("alice", "carol"):
        script = f"echo {user}-out; echo {user}-err >&2; exec sleep 4803"
        apps[user] = run_detached(lab, "shared", "sh", "-c", script, user=user)
        lab.wait_for(lambda user=user: f"{user}-err" in logs(lab, user, apps[user]).stdout)  # type: ignore[misc]
    for user, other in (("alice", "carol"), ("carol", "alice")):
        for name in ("shared", apps[user]):
            text = logs(lab, user, name).stdout
            assert f"{user}-out" in text
            assert f"{other}-" not in text
        refused = logs(lab, user, apps[other])
        assert refused.returncode != 0
        assert refused.stdout == ""
    for user in ("bob", "mallory"):
        for name in ("shared", *apps.values()):
            refused = logs(lab, user, name)
            # an id of nobody's, or a container of nobody's
            nobodys = ("f" if name in apps.values() else "x") * len(name)
            absent = logs(lab, user, nobodys)
            assert (refused.returncode, refused.stdout) == (absent.returncode, "")
            assert refused.stderr.replace(name, "N") == absent.stderr.replace(nobodys, "N")
    everything = logs(lab, "root", "shared").stdout
    assert "alice-out" in everything
    assert "carol-out" in everything


@pytest.mark.attack("C16")
def test_an_app_writes_nothing_into_the_log_of_another_user(lab: Lab) -> None:
    """In a shared container each app could name another's uid in a field of its own."""
    forged = "MESSAGE=forged-line\\nISOCTL_UID=1003\\n"
    app_id = run_to_its_end(lab, "shared", "sh", "-c", f"printf '{forged}' | logger --journald")
    lab.wait_for(lambda: "forged-line" in logs(lab, "root", "shared").stdout, what=app_id)
    assert "forged-line" not in logs(lab, "carol", "shared").stdout


def kill_isod_at(lab: Lab, syscall: str, count: int) -> subprocess.Popen[bytes]:
    """Have isod killed as it is about to make this system call for the count-th time from now on."""
    pid = lab.run("systemctl", "show", "-P", "MainPID", ISOD).stdout.strip()
    inject = f"inject={syscall}:signal=SIGKILL:when={count}"
    tracer = lab.popen("strace", "-qq", "-o", "/dev/null", "-e", f"trace={syscall}", "-e", inject, "-p", pid)
    lab.wait_for(lambda: lab.run("grep", "TracerPid", f"/proc/{pid}/status").stdout.split()[1] != "0")
    return tracer


# Each change of what isod remembers, each record that it writes, and the messages in between.
MOMENTS = [("rename", count) for count in range(1, 5)]
MOMENTS += [("sendto", count) for count in range(1, 4)]
MOMENTS += [("sendmsg", count) for count in range(5, 11)]


@pytest.mark.parametrize(("syscall", "count"), MOMENTS)
def test_isod_killed_at_any_moment_loses_no_record(lab: Lab, syscall: str, count: int) -> None:
    """What ran is in the journal with its decision, launch and exit, under one id; what never ran is no launch."""
    lab.start("blog")
    apps(lab, "alice")
    app_id = secrets.token_hex(16)
    with kill_isod_at(lab, syscall, count) as tracer:
        run_app(lab, "alice", "blog", "sh", "-c", f"echo x >> /tmp/ran-{app_id}", app_id=app_id, check=False)
        wait_until_nothing_is_left(lab, "alice", names.app_path(app_id))
        tracer.signal_inner(signal.SIGTERM)
    ran = lab.in_container("blog", "cat", f"/tmp/ran-{app_id}", check=False).stdout
    kinds = Counter(kinds_of(lab, app_id))
    assert ran in ("", "x\n")
    if ran:
        assert all(kinds[kind] >= 1 for kind in ("decision", "launch", "exit")), kinds
    else:
        assert not kinds["launch"]
    assert not [kind for kind, times in kinds.items() if times > 2]


def test_long_arguments_leave_lists_and_history_readable(lab: Lab) -> None:
    """A message has a bound: what one command line is as long as must not take the rest out of sight."""
    long = "y" * 100_000
    ended = [run_to_its_end(lab, "blog", "true", str(number), long) for number in range(4)]
    running = run_detached(lab, "blog", "sh", "-c", "sleep 4840", long)
    lab.wait_for(lambda: "launch" in kinds_of(lab, running))
    (shown,) = [
        app for app in json.loads(lab.run("isoctl", "ps", "--json", user="alice").stdout) if app["id"] == running
    ]
    assert shown["command"][:3] == ["sh", "-c", "sleep 4840"]
    assert long.startswith(shown["command"][3].removesuffix("…"))
    known = {path.rsplit("/", 1)[1] for path in apps(lab, "alice")}
    assert {*ended, running} <= known
    assert [record["kind"] for record in history(lab, "alice") if record.get("app") == ended[0]] == [
        "decision",
        "launch",
        "exit",
    ]
    # The journal, and the app itself, have it whole.
    assert json.loads(records_of(lab, running)[0]["ISOCTL_ARGV"]) == ["sh", "-c", "sleep 4840", long]
