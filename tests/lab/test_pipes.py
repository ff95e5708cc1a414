"""A caller's pipe is the caller's: it ends with the command, whatever that leaves running in the container."""

import json
import os
import signal
import subprocess
import time

import pytest

from lab.apps import apps
from lab.machine import Lab
from lab.policies import added_policy

LEAVES = "setsid sleep {} >/dev/null 2>&1 </dev/null & exit {}"
CONTAINERS = ["blog", "priv", "plain", "broker", "nologind"]
# A reader that waits for what is left would take as long as that lives.
LIFE_SEC, MOST_SEC = 4931, 20.0


def of_command(lab: Lab, user: str = "alice", part: str = str(LIFE_SEC)) -> list[dict[str, object]]:
    return [app for app in apps(lab, user).values() if part in " ".join(app["Command"]) and app["Running"]]


def end(lab: Lab, *, expect: int = 1) -> None:
    """Kill what is left of the one app, as its owner does; nothing may be there then."""
    found = of_command(lab)
    assert len(found) == expect
    for app in found:
        lab.run("isoctl", "kill", str(app["Id"]), user="alice")
    lab.wait_for(lambda: not of_command(lab), 20, "what an app left lives on after a kill")


def wait_until_left(lab: Lab) -> None:
    """Until the one app is in the scope of what it left running."""
    lab.wait_for(lambda: [str(app["Unit"]).startswith("isoctl-left-") for app in of_command(lab)] == [True], 30)


def sleeps(lab: Lab, container: str) -> bool:
    return lab.in_container(container, "pgrep", "-xf", f"sleep {LIFE_SEC}", check=False).returncode == 0


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("code", [0, 7, 143, 203])
def test_command_substitution_ends_with_the_command(lab: Lab, container: str, code: int) -> None:
    """Container's PID 1 holds a unit's streams for as long as the unit lives; `systemd-run --pipe` is no other."""
    script = f"x=$(isoctl run {container} sh -c 'echo hello; {LEAVES.format(LIFE_SEC, code)}'); echo $? $x"
    began_sec = time.monotonic()
    done = lab.run("bash", "-c", script, user="alice", timeout_sec=60)
    assert time.monotonic() - began_sec < MOST_SEC
    assert done.stdout == f"{code} hello\n"
    wait_until_left(lab)
    assert sleeps(lab, container)
    end(lab)
    assert not sleeps(lab, container)
    units = lab.in_container(container, "systemctl", "list-units", "--all", "--plain", "isoctl-app-*", "isoctl-left-*")
    assert "isoctl-" not in units.stdout


def test_other_readers_and_writers_end_with_the_command(lab: Lab) -> None:
    leaves = LEAVES.format(LIFE_SEC, 0)
    python = f"import subprocess; subprocess.run(['isoctl','run','blog','sh','-c','{leaves}'], capture_output=True)"
    scripts = {
        "cat": f"isoctl run blog sh -c '{leaves}' | cat",
        "yes": f"yes | isoctl run blog sh -c '{leaves}'; echo ${{PIPESTATUS[@]}}",
        "capture_output": f'python3 -c "{python}"',
    }
    for name, script in scripts.items():
        began_sec = time.monotonic()
        lab.run("bash", "-c", script, user="alice", timeout_sec=60)
        assert time.monotonic() - began_sec < MOST_SEC, name
        lab.wait_for(lambda: bool(of_command(lab)))
        end(lab)


def test_what_itself_kept_the_pipe_holds_it_as_on_the_host(lab: Lab) -> None:
    script = "x=$(isoctl run blog sh -c 'sleep 3 & echo one'); echo $x $SECONDS"
    said, seconds = lab.run("bash", "-c", script, user="alice").stdout.split()
    assert said == "one"
    assert int(seconds) >= 2


def test_what_forks_all_the_time_is_moved_too(lab: Lab) -> None:
    """Whatever forks faster than it is listed is stopped for a moment, and goes on."""
    script = (
        "import os, sys, time\nif os.fork(): sys.exit(3)\nos.close(1); os.close(2)\n"
        "end = time.time() + 3\nwhile time.time() < end:\n    if os.fork(): os._exit(0)\ntime.sleep(4931)"
    )
    line = f"isoctl run blog python3 -c '{script}' | cat; echo ${{PIPESTATUS[0]}}"
    done = lab.run("bash", "-c", line, user="alice", timeout_sec=60)
    assert done.stdout == "3\n"
    wait_until_left(lab)
    time.sleep(4)  # one signal reaches all processes only if none of them forks meanwhile
    end(lab)
    assert lab.in_container("blog", "pgrep", "-f", "4931", check=False).stdout == ""


@pytest.mark.parametrize("how", ["reload", "stop", "lifetime"])
def test_what_is_left_ends_with_what_ends_the_app(lab: Lab, how: str) -> None:
    """One that is still running is ended whole, too: each process gets one TERM."""
    count = "n=0; trap 'n=$((n+1)); echo term $n >&2' TERM; while :; do sleep 0.1; [ $n -gt 0 ] && exit 5; done"
    lab.start("blog")
    if how == "lifetime":
        with lab.popen("isoctl", "run", "blog", "sh", "-c", f"setsid sleep {LIFE_SEC} & {count}", user="alice",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:  # fmt: skip
            lab.wait_for(lambda: sleeps(lab, "blog"), 20)
            # not what entered the lab for it: with that gone nobody finds it
            waiting.signal_inner(signal.SIGKILL)
            waiting.wait(20)
        lab.wait_for(lambda: not sleeps(lab, "blog"), 20, "left running by a caller that was killed")
    else:
        lab.run("bash", "-c", f"x=$(isoctl run blog sh -c '{LEAVES.format(LIFE_SEC, 0)}')", user="alice")
        lab.wait_for(lambda: bool(of_command(lab)))
        if how == "stop":
            end(lab)
        else:
            path = lab.host_path("/etc/isod/containers/blog.toml")
            before = path.read_text()
            try:
                path.write_text('users = ["carol"]\n')
                lab.run("isoctl", "reload")
                lab.wait_for(lambda: not sleeps(lab, "blog"), 20, "left running though withdrawn")
            finally:
                path.write_text(before)
                lab.run("isoctl", "reload")
    lab.wait_for(lambda: not of_command(lab), 20)


def test_it_is_followed_over_a_restart_of_isod(lab: Lab) -> None:
    lab.run("bash", "-c", f"x=$(isoctl run blog sh -c '{LEAVES.format(LIFE_SEC, 0)}')", user="alice")
    wait_until_left(lab)
    lab.run("systemctl", "kill", "--signal=KILL", "isod.service")
    lab.wait_for(lambda: lab.run("isoctl", "list", user="alice", check=False).returncode == 0, 20)
    assert [str(app["State"]) for app in of_command(lab)] == ["exited"]
    assert sleeps(lab, "blog")
    end(lab)


def test_idle_stop_waits_for_what_is_left(lab: Lab) -> None:
    with added_policy(lab, "net", "idle_stop_sec = 1"):
        lab.run("bash", "-c", f"x=$(isoctl run net sh -c '{LEAVES.format(LIFE_SEC, 0)}')", user="alice")
        time.sleep(3)
        assert sleeps(lab, "net")
        end(lab)


def test_ps_calls_it_running_list_counts_it_and_status_says_how_many(lab: Lab) -> None:
    lab.run("bash", "-c", f"x=$(isoctl run net sh -c '{LEAVES.format(LIFE_SEC, 0)}')", user="alice")
    lab.run("isoctl", "run", "net", "true", user="alice")
    wait_until_left(lab)
    (row,) = (line.split() for line in lab.run("isoctl", "ps", "net", user="alice").stdout.splitlines()[1:])
    assert row[1:4] == ["net", "alice", "running"]
    (listed,) = (line.split() for line in lab.run("isoctl", "list", user="alice").stdout.splitlines() if "net" in line)
    assert listed[:4] == ["net", "running", "alice", "1"]
    status = lab.run("isoctl", "status", "net", user="alice").stdout
    assert any(line.split() == ["Apps:", "1", "runs"] for line in status.splitlines()), status
    refused = lab.run("isoctl", "kill", "", user="alice", check=False)
    assert refused.returncode == 2
    assert of_command(lab)
    end(lab)


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [("nonexistent", 127, "not found"), ("/etc/hostname", 126, "can't be executed")],
)
@pytest.mark.parametrize("flags", [(), ("--no-login-shell",)], ids=["login shell", "no login shell"])
def test_n4_a_detached_launch_that_can_not_start_says_so(
    lab: Lab, flags: tuple[str, ...], command: str, code: int, text: str
) -> None:
    """N-4: it was exit code 0 and not a word, from a terminal and from a menu."""
    done = lab.run("isoctl", "run", "-d", *flags, "blog", command, user="alice", check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert f"{command}: {text} in container blog" in done.stderr


def test_n4_a_slow_profile_is_waited_for_and_a_detached_app_that_starts_is_not(lab: Lab) -> None:
    profile = lab.host_path("/var/lib/machines/blog/etc/profile.d/slow.sh")
    profile.write_text("sleep 1\n")
    try:
        done = lab.run("isoctl", "run", "-d", "blog", "nonexistent", user="alice", check=False)
        assert done.returncode == 127
    finally:
        profile.unlink()
    app_id = lab.run("isoctl", "run", "-d", "blog", "sleep", "4932", user="alice").stdout.strip()
    (app,) = of_command(lab, part="4932")
    assert (app["State"], app["Id"]) == ("running", app_id)
    assert json.dumps(app["Command"]) == '["sleep", "4932"]'
    lab.run("isoctl", "kill", app_id, user="alice")
    assert os.path.basename(app_id) == app_id


def test_how_a_detached_app_ended_at_once_is_nobodys_exit_code(lab: Lab) -> None:
    """It began, so it was launched; whether isoctl still saw its end would be chance."""
    for command in (["false"], ["sh", "-c", "kill -TERM $$"]):
        done = lab.run("isoctl", "run", "-d", "blog", *command, user="alice", check=False)
        assert (done.returncode, len(done.stdout.strip()), done.stderr) == (0, 32, "")
