"""`isoctl run` against a stand-in for isod whose apps are local processes: streams, exit codes, signals, restarts."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buses import Bus
from client import Isoctl, until
from fakeisod import FakeIsod, fake_isod


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


@pytest.fixture
def isoctl(bus: Bus, isod: FakeIsod) -> Isoctl:
    return Isoctl(bus.address)


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 255])
def test_the_exit_code_is_the_commands(isoctl: Isoctl, code: int) -> None:
    """I-67: `machinectl shell` gave 0 for everything."""
    assert isoctl.run("run", "blog", "sh", "-c", f"exit {code}").returncode == code


def test_a_signal_gives_128_and_its_number(isoctl: Isoctl) -> None:
    assert isoctl.run("run", "blog", "sh", "-c", "kill -KILL $$").returncode == 137


def test_an_unknown_exit_is_never_0(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.loses_exits = True
    done = isoctl.run("run", "blog", "true")
    assert (done.returncode, done.stderr) == (125, b"isoctl: exit code unknown\n")


def test_a_failed_start_is_one_line_and_125(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.start_error = ("org.isoctl1.Error.StartFailed", "container 'blog' did not start: \x1b[31mred")
    done = isoctl.run("run", "blog", "true")
    assert done.returncode == 125
    assert done.stderr == b"isoctl: container 'blog' did not start: \\x1b[31mred\n"


def test_a_refusal_is_one_line_and_125(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.run_error = ("org.isoctl1.Error.NoSuchContainer", "no container 'blog'")
    done = isoctl.run("run", "blog", "true")
    assert (done.returncode, done.stderr) == (125, b"isoctl: no container 'blog'\n")


def test_without_isod_the_way_out_is_named(bus: Bus) -> None:
    done = Isoctl(bus.address).run("run", "blog", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"systemctl start isod" in done.stderr


def test_without_a_bus_it_says_so(tmp_path: Path) -> None:
    done = Isoctl(f"unix:path={tmp_path}/none").run("run", "blog", "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"isoctl: no message bus")


# -- what the app gets


def test_arguments_arrive_as_they_were_typed(isoctl: Isoctl, isod: FakeIsod) -> None:
    """I-80 to I-87, as far as isoctl goes: it joins and quotes nothing."""
    words = ["", " a  b ", "$$", "%h", '"', "\\", "\n", "--", "-e", "--help", "\N{SNOWMAN}", "x" * 100_000]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    done = isoctl.run("run", "blog", "python3", "-c", script, *words)
    assert json.loads(done.stdout) == words
    assert isod.only_app.argv[3:] == words


def test_bytes_that_are_not_utf8_are_named_by_position(isoctl: Isoctl, isod: FakeIsod) -> None:
    done = isoctl.run("run", "blog", "echo", b"ab\xe9")
    assert done.returncode == 2
    assert b"argument 1" in done.stderr
    assert b"byte 2" in done.stderr
    assert not isod.apps


def test_only_what_was_asked_for_is_sent(isoctl: Isoctl, isod: FakeIsod) -> None:
    """So that an old isod takes the calls of a new isoctl."""
    isoctl.run("run", "blog", "true")
    assert set(isod.only_app.options) == {"stdin", "stdout", "stderr", "lifetime", "id", "hints"}


def test_flags_arrive(isoctl: Isoctl, isod: FakeIsod) -> None:
    """I-7, I-9, I-13: no value is mangled, no name is filtered."""
    environment = {"_JAVA_OPTIONS": "-Da=b", "ODD": 'won`t \\ "$x"\nline', "LC_TIME": "fr_FR.UTF-8", "SECRET": "s"}
    isoctl.run(
        "run", "-e", "ODD", "-e_JAVA_OPTIONS", "--env=X=1=2", "-w", "/srv", "--no-login-shell", "root@blog", "true",
        environment=environment,
    )  # fmt: skip
    options = isod.only_app.options
    assert options["environment"] == [f"ODD={environment['ODD']}", "_JAVA_OPTIONS=-Da=b", "X=1=2"]
    assert (options["directory"], options["login-shell"], options["user"]) == ("/srv", False, "root")
    assert "LC_TIME=fr_FR.UTF-8" in options["hints"]
    assert not any("SECRET" in hint for hint in options["hints"])
    assert re.fullmatch("[0-9a-f]{32}", options["id"])


def test_a_directory_of_the_host_travels_as_what_it_is(isoctl: Isoctl, isod: FakeIsod, tmp_path: Path) -> None:
    """Issue 13.4: isod opens nothing by a caller's path; `~` is the one inside."""
    (tmp_path / "sub").mkdir()
    for directory, path in (("sub", None), (str(tmp_path / "sub"), str(tmp_path / "sub"))):
        isoctl.run("run", "-w", directory, "blog", "true", cwd=tmp_path)
        options = [*isod.apps.values()][-1].options
        assert options.get("directory") == path
        assert "directory-fd" in options
    isoctl.run("run", "-w", "~/sub", "blog", "true", cwd=tmp_path)
    assert "directory-fd" not in [*isod.apps.values()][-1].options
    done = isoctl.run("run", "-w", "nosuch", "blog", "true", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--directory nosuch: No such file or directory" in done.stderr


def test_variables_that_policy_names_travel_if_the_caller_has_them(isoctl: Isoctl, isod: FakeIsod) -> None:
    """R-10: http_proxy and EDITOR of the host, for containers whose policy says so."""
    isod.answers["Get"] = ("v", (("as", ["http_proxy", "EDITOR", "ODD"]),))
    environment = {"http_proxy": "http://proxy:3128", "ODD": "a\nb", "OTHER": "x"}
    for container in ("blog", "with-dash.1"):
        isoctl.run("run", container, "true", environment=environment)
    asked = [body for member, body in isod.calls if member == "Get"]
    assert asked == [("org.isoctl1.Container", "Hints")] * 2
    assert [app.options.get("more-hints") for app in isod.apps.values()] == [["http_proxy=http://proxy:3128"]] * 2


def test_values_that_are_paths_of_the_host_are_named(isoctl: Isoctl, isod: FakeIsod, tmp_path: Path) -> None:
    """Issue 13.12: `-e SSH_AUTH_SOCK` gave a path that nothing inside has, in silence."""
    entries = (f"SSH_AUTH_SOCK={tmp_path}", "OUT=/nowhere/new", "WORD=x", f"LIST={tmp_path}:/x")
    isoctl.run("run", *(f"-e{entry}" for entry in entries), "blog", "true")
    assert isod.only_app.options["host-paths"] == ["SSH_AUTH_SOCK"]


def test_a_variable_that_is_not_set_is_refused(isoctl: Isoctl, isod: FakeIsod) -> None:
    done = isoctl.run("run", "-e", "NOT_SET_HERE", "blog", "true")
    assert done.returncode == 2
    assert b"NOT_SET_HERE" in done.stderr
    assert not isod.apps


def test_the_login_shell_is_the_accounts(isoctl: Isoctl) -> None:
    done = isoctl.run("shell", "-e", "SHELL=/bin/echo", "blog")
    assert done.stdout == b"-l\n"


# -- streams


def test_streams_are_kept_apart_and_complete(isoctl: Isoctl) -> None:
    """I-69, I-70, I-76."""
    done = isoctl.run("run", "blog", "sh", "-c", "cat; echo err >&2", input=b"in" * 500_000)
    assert done.stdout == b"in" * 500_000
    assert done.stderr == b"err\n"


def test_pipes_go_in_as_they_are(isoctl: Isoctl) -> None:
    reader, writer = os.pipe()
    done = isoctl.run("run", "blog", "readlink", "/proc/self/fd/0", stdin=reader)
    assert done.stdout.decode().strip() == os.readlink(f"/proc/self/fd/{reader}")
    os.close(reader)
    os.close(writer)


def test_a_stream_socket_goes_in_and_a_file_does_not(isoctl: Isoctl, tmp_path: Path) -> None:
    """CVE-2024-21626: an app could reopen a file for writing through /proc/self/fd."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = isoctl.run("run", "blog", "readlink", "/proc/self/fd/0", stdin=theirs)
    assert done.stdout.startswith(b"socket:")
    file = tmp_path / "file"
    file.write_text("content")
    with file.open("rb") as opened:
        done = isoctl.run("run", "blog", "sh", "-c", "readlink /proc/self/fd/0; cat", stdin=opened)
    assert done.stdout.startswith(b"pipe:")
    assert done.stdout.endswith(b"content")


def test_files_both_ways_unchanged(isoctl: Isoctl, tmp_path: Path) -> None:
    data = os.urandom(32 << 20)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        assert isoctl.run("run", "blog", "cat", stdin=source, stdout=target).returncode == 0
    assert (tmp_path / "out").read_bytes() == data


def test_one_file_for_both_outputs_keeps_the_order(isoctl: Isoctl, tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do echo out; echo err >&2; done"
    isoctl.shell(f"isoctl run blog sh -c '{script}' > {tmp_path}/both 2>&1 < /dev/null")
    assert (tmp_path / "both").read_text() == "out\nerr\n" * 9


def test_appending_appends(isoctl: Isoctl, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    isoctl.shell(f"isoctl run blog echo after >> {tmp_path}/log < /dev/null")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_what_the_app_leaves_of_a_file_is_left_to_others(isoctl: Isoctl, tmp_path: Path) -> None:
    """A `while read` loop over a file must go round for each line, whatever runs in it."""
    (tmp_path / "list").write_text("a\nb\nc\n")
    script = f"while read -r line; do isoctl run blog echo got $line; done < {tmp_path}/list"
    assert isoctl.shell(script).stdout == b"got a\ngot b\ngot c\n"
    script = f"{{ isoctl run blog sh -c 'read -r first; echo $first'; cat; }} < {tmp_path}/list"
    assert isoctl.shell(script).stdout == b"a\nb\nc\n"


def test_a_reader_that_leaves_ends_the_app(isoctl: Isoctl, isod: FakeIsod) -> None:
    """SIGPIPE, not a hang; also where isoctl stands between the app and the reader."""
    assert isoctl.shell("isoctl run blog yes | head -1").stdout == b"y\n"
    assert isod.only_app.over.wait(5)


def test_a_writer_whose_reader_closed_is_told(isoctl: Isoctl) -> None:
    done = isoctl.shell("yes | { isoctl run blog head -1; }; echo over", stdin=subprocess.DEVNULL)
    assert done.stdout == b"y\nover\n"
    done = isoctl.shell("isoctl run blog head -c 3 < /dev/zero | wc -c")
    assert done.stdout.strip() == b"3"


def test_a_pipe_is_let_go_once_the_app_has_it(isoctl: Isoctl) -> None:
    """Else its other end would not see that the app closed it."""
    reader, writer = os.pipe()
    process = isoctl.popen("run", "blog", "sh", "-c", "exec >&-; sleep 20", stdout=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    began = time.monotonic()
    assert os.read(reader, 1) == b""
    assert time.monotonic() - began < 10
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 143
    os.close(reader)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_dev_null(isoctl: Isoctl, closed: str) -> None:
    done = isoctl.shell(
        f"isoctl run blog sh -c 'cat; echo out; echo err >&2; exit 3' {closed}", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&- " in closed or closed == ">&-" else b"out\n")


def test_a_directory_starts_nothing(isoctl: Isoctl, isod: FakeIsod, tmp_path: Path) -> None:
    """A directory as stdin gave an app the host's root by openat. Python itself ends at it, before isoctl begins."""
    fd = os.open(tmp_path, os.O_RDONLY)
    done = isoctl.run("run", "blog", "cat", stdin=fd)
    os.close(fd)
    assert done.returncode != 0
    assert b"directory" in done.stderr
    assert not isod.apps


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("isoctl run blog cat <(echo hi)", None),
        ("isoctl run blog diff --label=x /etc/fstab <(echo hi)", None),
        ("isoctl run blog sh -c 'cat <&5' 5< /etc/fstab", 5),
        ("isoctl run blog cat /dev/fd/7 7< /etc/fstab", 7),
        ("isoctl run blog gpg --passphrase-fd 9 -d 9< /etc/fstab", 9),
        ("isoctl run blog gpg --passphrase-fd=9 -d 9< /etc/fstab", 9),
        ("echo x > >(isoctl run blog tee >(cat))", None),
    ],
)
def test_a_descriptor_that_does_not_enter_is_named_before_the_start(
    isoctl: Isoctl, isod: FakeIsod, script: str, number: int | None
) -> None:
    """Issue 13, point 9: `cat <(echo hi)` said "No such file" of a name that nobody had typed."""
    done = isoctl.bash(f"{script}; code=$?; wait; exit $code")
    assert b"names descriptor " in done.stderr
    assert done.stderr.count(b"\n") == 1
    if number is not None:
        assert f"names descriptor {number} (/etc/fstab)".encode() in done.stderr
        assert done.returncode == 125
    assert not isod.apps


@pytest.mark.parametrize(
    "script",
    [
        "isoctl run blog sh -c 'exec 5< /dev/null; cat <&5' 5< /etc/fstab",
        "isoctl run blog sh -c 'cat <&0' 5< /etc/fstab",
        "isoctl run blog sh -c 'cat /dev/fd/5' < /dev/null 2> /dev/null || true",
        "isoctl run blog true 5< /etc/fstab",
    ],
)
def test_a_descriptor_that_is_not_meant_is_no_error(isoctl: Isoctl, isod: FakeIsod, script: str) -> None:
    """Issue 13, point 9: make, editors and terminals leave some open to all that they start."""
    assert isoctl.bash(script).returncode == 0
    assert isod.apps


def test_output_that_cannot_be_written_is_an_error(isoctl: Isoctl) -> None:
    done = isoctl.shell("isoctl run blog echo lost > /dev/full < /dev/null")
    assert done.returncode == 125
    assert b"No space left" in done.stderr


def test_a_program_that_forks_and_leaves_does_not_hold_isoctl(isoctl: Isoctl, tmp_path: Path) -> None:
    """Its code is told at once, and what it left goes on writing to the file."""
    script = f"echo now; (until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo later) & exit 5"
    done = isoctl.shell(f"isoctl run blog sh -c '{script}' > {tmp_path}/out 2>&1 < /dev/null")
    assert done.returncode == 5
    assert (tmp_path / "out").read_text() == "now\n"
    (tmp_path / "go").touch()
    until(lambda: (tmp_path / "out").read_text() == "now\nlater\n")


# -- signals and life time


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_signals_are_passed_on_and_the_exit_is_waited_for(isoctl: Isoctl, isod: FakeIsod, number: int) -> None:
    """I-78, I-79."""
    script = f"trap 'echo caught; exit 42' {signal.Signals(number).name[3:]}; echo ready; while :; do sleep 0.05; done"
    process = isoctl.popen("run", "blog", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    until(lambda: isod.only_app.values["State"] == "running")
    time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(10) == 42
    assert process.stdout.read() == b"caught\n"
    process.stdout.close()


def test_a_signal_that_was_ignored_stays_so(isoctl: Isoctl) -> None:
    """nohup(1)."""
    start = "trap '' HUP; isoctl run blog sh -c 'sleep 0.5; exit 4' < /dev/null & pid=$!"
    done = isoctl.shell(f"{start}; sleep 0.3; kill -HUP $pid; wait $pid")
    assert done.returncode == 4


def test_an_interrupt_during_the_start_ends_it(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.start_sec = 2.0
    process = isoctl.popen("run", "blog", "sleep", "60", stdin=subprocess.DEVNULL)
    until(lambda: isod.apps)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    # By Stop, or by the lifetime pipe where isoctl had not been answered yet.
    until(lambda: isod.count("Stop") == 1 or isod.only_app.over.is_set())


def test_kill_9_ends_the_app(isoctl: Isoctl, isod: FakeIsod) -> None:
    """I-77: the kernel closes the lifetime pipe, whatever happened to isoctl."""
    process = isoctl.popen("run", "blog", "sleep", "60", stdin=subprocess.DEVNULL)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    process.kill()
    process.wait(5)
    assert isod.only_app.over.wait(5)


def test_detach_returns_when_it_runs_and_ties_nothing(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.start_sec = 0.3
    done = isoctl.run("run", "-d", "blog", "sleep", "60")
    assert done.returncode == 0
    app = isod.only_app
    assert done.stdout.decode().strip() == app.id
    assert app.values["State"] == "running"
    assert not {"lifetime", "stdin", "stdout", "stderr"} & set(app.options)
    assert not app.over.wait(0.3)


def test_detach_tells_a_failed_start(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.start_error = ("org.isoctl1.Error.StartFailed", "it did not start")
    done = isoctl.run("run", "-d", "blog", "true")
    assert (done.returncode, done.stdout, done.stderr) == (125, b"", b"isoctl: it did not start\n")


@pytest.mark.attack("C07")
def test_signals_from_anybody_else_are_not_believed(bus: Bus, isoctl: Isoctl, isod: FakeIsod) -> None:
    """Any user may send signals on the system bus; the app's path is all he would have to know."""
    process = isoctl.popen("run", "blog", "sh", "-c", "read -r x; exit 9", stdin=subprocess.PIPE)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    (victim,) = isod.only_app.followers
    command = ["dbus-send", f"--bus={bus.address}", "--type=signal", f"--dest={victim}",
               f"/org/isoctl1/app/{isod.only_app.id}", "org.isoctl1.App.Exited", "int32:0", "int32:0"]  # fmt: skip
    subprocess.run(command, check=True)
    time.sleep(0.3)
    assert process.poll() is None
    process.communicate(b"\n", 5)
    assert process.returncode == 9
