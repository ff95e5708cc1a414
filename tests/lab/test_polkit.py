"""polkit's questions, with the real polkitd, logind and PAM, and a user who answers them as the test says."""

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isod_contract import names
from lab.enter import LabProcess
from lab.machine import Lab

RUN, MANAGE, ROOT = "org.isoctl1.run", "org.isoctl1.manage", "org.isoctl1.root"
GRANT = "org.isoctl1.grant"
AGENT = Path(__file__).parent / "lab/polkit_agent.py"
# Only catches hangs: below the 25 s after which a D-Bus call is usually given up.
SOON_SEC = 20.0
WAIT_SEC = 15.0
ASKING_POLICY = 'ask = ["alice"]\nusers = ["carol"]\n[grants]\nroot = "ask"\n'
# One process that stays on the bus and asks for one app after the other, as a desktop tool would.
CLIENT = """
import sys, time
from jeepney import DBusAddress, MessageFlag, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM")
def call(path, interface, member, signature, body):
    message = new_method_call(DBusAddress(path, "org.isoctl1", interface), member, signature, body)
    message.header.flags = MessageFlag.allow_interactive_authorization
    return bus.send_and_get_reply(message).body[0]
options = {"user": ("s", sys.argv[1])} if len(sys.argv) > 1 else {}
for line in sys.stdin:
    app = call("/org/isoctl1", "org.isoctl1.Manager", "Run", "sasa{sv}", ("blog", ["true"], options))
    print(app, flush=True)
    state = ""
    while state not in ("exited", "failed"):
        time.sleep(0.02)
        state = call(app, "org.freedesktop.DBus.Properties", "Get", "ss", ("org.isoctl1.App", "State"))[1]
    print(state, flush=True)
"""


class User:
    """alice at her computer: her session on seat0, and with an agent what she does when a prompt appears."""

    def __init__(self, process: LabProcess) -> None:
        self._process = process
        self._events: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(line.decode().strip())

    def sees(self, event: str) -> None:
        assert self._events.get(timeout=WAIT_SEC) == event

    def sees_nothing(self) -> bool:
        return self._events.empty()

    def does(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()

    def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(WAIT_SEC)
        self._reader.join(WAIT_SEC)


@contextmanager
def session(lab: Lab, *command: str) -> Iterator[User]:
    environment = ("XDG_SEAT=seat0", "XDG_SESSION_TYPE=wayland", "XDG_SESSION_CLASS=user")
    process = lab.popen(
        *("systemd-run", "--pipe", "--quiet", "--collect", "-p", "User=alice", "-p", "PAMName=login"),
        *(word for variable in environment for word in ("-E", variable)),
        *("sh", "-c", 'echo here; exec "$@"', "sh", *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        user = User(process)
        user.sees("here")
        try:
            yield user
        finally:
            user.leave()


@pytest.fixture(scope="module")
def host() -> Iterator[Lab]:
    with Lab.boot() as lab:
        lab.run("chpasswd", stdin=b"alice:wonderland\ncarol:carols\nroot:secret\n")
        lab.host_path("/run/polkit_agent.py").write_text(AGENT.read_text())
        write_policy(lab, ASKING_POLICY)
        yield lab


@pytest.fixture
def alice(host: Lab) -> Iterator[User]:
    with session(host, "python3", "/run/polkit_agent.py") as user:
        user.sees("ready")
        yield user
        assert user.sees_nothing()


def write_policy(lab: Lab, text: str, file: str = "containers/blog.toml") -> None:
    lab.host_path(f"/etc/isod/{file}").write_text(text)
    lab.run("isoctl", "reload")


@contextmanager
def asking(lab: Lab, *words: str, user: str = "alice") -> Iterator[LabProcess]:
    """Run isoctl in the background; what it asks for is answered meanwhile."""
    pipe = subprocess.PIPE
    with lab.popen("isoctl", *words, user=user, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.signal_inner(signal.SIGKILL)


def told(process: LabProcess) -> tuple[int, str, str]:
    out, err = process.communicate(None, WAIT_SEC)
    return process.returncode, out.decode(), err.decode()


def records(lab: Lab, **fields: str) -> list[tuple[str, str]]:
    found = lab.journal(unit="isod.service", **fields)
    return [(record["ISOCTL_KIND"], record.get("ISOCTL_OUTCOME", "")) for record in found if "ISOCTL_KIND" in record]


def apps(lab: Lab) -> list[dict[str, object]]:
    listed = json.loads(lab.run("isoctl", "ps", "--json").stdout)
    return [app for app in listed if app["container"] == "blog"]


def test_the_own_password_starts_the_app(host: Lab, alice: User) -> None:
    with asking(host, "run", "blog", "--", "id", "-un") as isoctl:
        alice.sees(f"asked {RUN}")
        alice.does("answer wonderland")
        alice.sees(f"settled {RUN}")
        assert told(isoctl) == (0, "alice\n", "")


def test_each_isoctl_is_a_process_of_its_own_and_asks_anew(host: Lab, alice: User) -> None:
    for _ in range(2):
        with asking(host, "run", "blog", "true") as isoctl:
            alice.sees(f"asked {RUN}")
            alice.does("answer wonderland")
            alice.sees(f"settled {RUN}")
            assert told(isoctl)[0] == 0


def test_a_dismissed_prompt_is_told_in_a_sentence(host: Lab, alice: User) -> None:
    with asking(host, "run", "blog", "true") as isoctl:
        alice.sees(f"asked {RUN}")
        alice.does("dismiss")
        alice.sees(f"settled {RUN}")
        code, _, err = told(isoctl)
    assert (code, err) == (125, f"isoctl: not permitted: the password prompt for {RUN} was dismissed\n")


def test_a_wrong_password_starts_nothing(host: Lab, alice: User) -> None:
    with asking(host, "run", "blog", "true") as isoctl:
        alice.sees(f"asked {RUN}")
        alice.does("answer cheshire")
        alice.sees(f"settled {RUN}")
        code, _, err = told(isoctl)
    assert code == 125
    assert f"not permitted: polkit refused {RUN}" in err


@pytest.mark.attack("C05")
def test_without_an_agent_it_is_told_at_once(host: Lab) -> None:
    with session(host, "cat"):
        done = host.run("isoctl", "run", "blog", "true", user="alice", check=False, timeout_sec=SOON_SEC)
    assert done.returncode == 125
    assert done.stderr.startswith(f"isoctl: {RUN} needs a password, but nobody can be asked for it: no polkit agent")


@pytest.mark.attack("C32")
def test_without_an_active_session_the_answer_is_no(host: Lab) -> None:
    done = host.run("isoctl", "run", "blog", "true", user="alice", check=False, timeout_sec=SOON_SEC)
    assert done.returncode == 125
    assert "your session is not active" in done.stderr


@pytest.mark.attack("C32")
def test_variables_of_a_session_make_nobody_present(host: Lab) -> None:
    """CVE-2025-6018, CVE-2025-6019: variables were taken for a seat, and a seat for a person before it."""
    forged = {"XDG_SEAT": "seat0", "XDG_VTNR": "1", "XDG_SESSION_ID": "1", "XDG_SESSION_TYPE": "wayland"}
    done = host.run("isoctl", "run", "blog", "true", user="alice", check=False, timeout_sec=SOON_SEC, env=forged)
    assert done.returncode == 125
    assert "your session is not active" in done.stderr


@pytest.mark.attack("C05")
def test_without_polkit_nobody_is_let_in_and_it_is_told_at_once(host: Lab, alice: User) -> None:
    host.run("systemctl", "mask", "--now", "polkit.service")
    try:
        done = host.run("isoctl", "run", "blog", "true", user="alice", check=False, timeout_sec=SOON_SEC)
    finally:
        host.run("systemctl", "unmask", "polkit.service")
    assert done.returncode == 125
    assert f"{RUN} needs a password, but nobody can be asked for it: polkit does not answer" in done.stderr


@pytest.mark.parametrize(
    ("account", "action", "prompts"),
    [((), RUN, 1), (("root",), ROOT, 2)],
    ids=["own account: kept for the process", "root: never kept"],
)
def test_an_answer_is_kept_as_its_action_says(host: Lab, account: tuple[str, ...], action: str, prompts: int) -> None:
    password = "secret" if account else "wonderland"
    with (
        session(host, "python3", "/run/polkit_agent.py") as alice,
        host.popen(
            "python3", "-c", CLIENT, *account, user="alice", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as tool,
    ):
        alice.sees("ready")
        assert tool.stdin is not None
        assert tool.stdout is not None
        for turn in range(2):
            tool.stdin.write(b"run\n")
            tool.stdin.flush()
            assert tool.stdout.readline().decode().startswith(names.APP_PATH_PREFIX)
            if turn < prompts:
                alice.sees(f"asked {action}")
                alice.does(f"answer {password}")
                alice.sees(f"settled {action}")
            assert tool.stdout.readline() == b"exited\n"
        assert alice.sees_nothing()
        tool.stdin.close()


def test_run_answers_with_the_app_while_the_prompt_is_open(host: Lab, alice: User) -> None:
    with host.popen("python3", "-c", CLIENT, user="alice", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tool:
        assert tool.stdin is not None
        assert tool.stdout is not None
        tool.stdin.write(b"run\n")
        tool.stdin.flush()
        path = tool.stdout.readline().decode().strip()
        alice.sees(f"asked {RUN}")
        state = host.run("busctl", "get-property", names.BUS_NAME, path, names.APP, "State").stdout
        assert state == 's "authorizing"\n'
        alice.does("dismiss")
        alice.sees(f"settled {RUN}")
        assert tool.stdout.readline() == b"failed\n"
        tool.stdin.close()


def test_start_is_asked_about_too(host: Lab, alice: User) -> None:
    host.stop_container("blog")
    for answer, code, sentence in (
        ("dismiss", 1, f"isoctl: not permitted: the password prompt for {RUN} was dismissed\n"),
        ("answer wonderland", 0, ""),
    ):
        with asking(host, "start", "blog") as isoctl:
            alice.sees(f"asked {RUN}")
            assert host.run("systemctl", "is-active", host.unit("blog"), check=False).stdout == "inactive\n"
            alice.does(answer)
            alice.sees(f"settled {RUN}")
            assert told(isoctl) == (code, "", sentence)


def _killed(isoctl: LabProcess, _lab: Lab) -> None:
    isoctl.signal_inner(signal.SIGKILL)


def _interrupted(isoctl: LabProcess, _lab: Lab) -> None:
    isoctl.signal_inner(signal.SIGINT)


def _ended_by_another(_isoctl: LabProcess, lab: Lab) -> None:
    lab.run("isoctl", "kill", str(apps(lab)[-1]["id"]), user="alice")


@pytest.mark.attack("C06")
@pytest.mark.parametrize("leave", [_killed, _interrupted, _ended_by_another])
def test_who_leaves_takes_the_prompt_along_and_nothing_starts(
    host: Lab, alice: User, leave: Callable[[LabProcess, Lab], None]
) -> None:
    """CVE-2021-3560: polkit's answer about somebody who is gone must not count."""
    host.stop_container("blog")
    with asking(host, "run", "blog", "sleep", "600") as isoctl:
        alice.sees(f"asked {RUN}")
        app_id = str(apps(host)[-1]["id"])
        leave(isoctl, host)
        alice.sees(f"cancelled {RUN}")
    host.wait_for(lambda: records(host, ISOCTL_APP=app_id, ISOCTL_METHOD="Manager.Run") == [("decision", "refused")])
    # What remains is the end, and what alice did to it.
    others = [record for record in records(host, ISOCTL_APP=app_id) if record[0] != "decision"]
    assert others == [("exit", "failed")]
    assert host.run("systemctl", "is-active", host.unit("blog"), check=False).stdout == "inactive\n"


@pytest.mark.attack("C06")
def test_a_user_who_is_withdrawn_while_he_is_asked_starts_nothing(host: Lab, alice: User) -> None:
    with asking(host, "run", "blog", "true") as isoctl:
        alice.sees(f"asked {RUN}")
        write_policy(host, ASKING_POLICY.replace("alice", "bob"))
        try:
            alice.sees(f"cancelled {RUN}")
            assert told(isoctl)[0] == 125
        finally:
            write_policy(host, ASKING_POLICY)


def test_no_more_prompts_are_open_than_the_administrator_allows(host: Lab, alice: User) -> None:
    write_policy(host, "[limits]\nprompts = 2\n", "isod.toml")
    try:
        with asking(host, "run", "blog", "true"), asking(host, "run", "blog", "true"):
            alice.sees(f"asked {RUN}")
            alice.sees(f"asked {RUN}")
            done = host.run("isoctl", "run", "blog", "true", user="alice", check=False, timeout_sec=SOON_SEC)
            assert done.returncode == 125
            assert "limit reached: 2 password prompts of uid 1000 are open already" in done.stderr
        alice.sees(f"cancelled {RUN}")
        alice.sees(f"cancelled {RUN}")
    finally:
        write_policy(host, "", "isod.toml")


def test_a_tool_on_the_session_bus_may_leave_before_the_answer(host: Lab, alice: User) -> None:
    """isod-session is who asks then, and it stays: `busctl --user` is gone at once."""
    done = host.run(
        *("busctl", "--user", "call", "-j", names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "Run"),
        *("sasa{sv}", "blog", "1", "true", "0"),
        user="alice",
    )
    path = json.loads(done.stdout)["data"][0]
    alice.sees(f"asked {RUN}")
    alice.does("answer wonderland")
    alice.sees(f"settled {RUN}")

    def kinds() -> list[str]:
        return [kind for kind, _ in records(host, ISOCTL_APP=path.rsplit("/", 1)[1])]

    host.wait_for(lambda: kinds() == ["decision", "launch", "exit"])


def test_another_users_app_is_ended_only_by_an_administrator(host: Lab, alice: User) -> None:
    host.run("isoctl", "run", "-d", "shared", "sleep", "600", user="carol")
    plain = host.run("isoctl", "stop", "shared", user="alice", check=False)
    assert plain.returncode == 1
    assert "container 'shared' is in use" in plain.stderr
    for answer, code in (("dismiss", 1), ("answer wonderland", 1), ("answer secret", 0)):
        with asking(host, "stop", "--force", "shared") as isoctl:
            alice.sees(f"asked {MANAGE}")
            alice.does(answer)
            alice.sees(f"settled {MANAGE}")
            assert told(isoctl)[0] == code
        active = host.run("systemctl", "is-active", host.unit("shared"), check=False).stdout
        assert active == ("inactive\n" if code == 0 else "active\n")


def test_an_administrator_is_asked_before_a_running_container_gets_more(host: Lab, alice: User) -> None:
    """The user's own password does not do, and what he may not have he can't ask for."""
    host.run("isoctl", "start", "blog")
    with asking(host, "grant", "blog", "gpu=render") as isoctl:
        alice.sees(f"asked {GRANT}")
        alice.does("answer wonderland")
        alice.sees(f"settled {GRANT}")
        code, _, err = told(isoctl)
    assert code == 1
    assert err.startswith(f"isoctl: not permitted: polkit refused {GRANT}")
    with asking(host, "grant", "blog", "gpu=render") as isoctl:
        alice.sees(f"asked {GRANT}")
        alice.does("answer secret")
        alice.sees(f"settled {GRANT}")
        code, _, err = told(isoctl)
    assert (code, err) == (0, "isoctl: gpu: no such device now; it is attached when it is plugged in\n")
    # who granted takes it back without a question
    assert host.run("isoctl", "revoke", "--quiet", "blog", "gpu", user="alice").stderr == ""
    assert alice.sees_nothing()
