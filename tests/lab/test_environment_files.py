"""Variables of an app: what it was given arrives byte for byte, and nobody else inside can read it anywhere."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.machine import Lab

TOKEN = "s3cr3t-of-alice"
NASTY = {
    "SPACES": "  two at both ends  ",
    "QUOTES": "a\"b'c`d\\e\\\\f$g${HOME}$(id)!",
    "LINES": "one\ntwo\\\nthree\n",
    "TABS": "\tx\t",
    "COMMENT": "# not one; nor this",
    "UNICODE": "grüße 漢字 \U0001f600",
    "EMPTY": "",
    "LONG": "x" * 32_000,
}
CONTAINERS = ["blog", "priv", "plain", "deb", "broker", "nologind"]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("flags", [(), ("--no-login-shell",)], ids=["login shell", "no login shell"])
def test_values_arrive_as_they_are(lab: Lab, container: str, flags: tuple[str, ...]) -> None:
    """Quoted for EnvironmentFile= by one function; read by the container's own systemd."""
    given = [f"--env={name}={value}" for name, value in NASTY.items()]
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    done = lab.run("isoctl", "run", *flags, *given, container, "python3", "-c", script, user="alice")
    found = json.loads(done.stdout)
    assert {name: found.get(name) for name in NASTY} == NASTY


@pytest.fixture
def app(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """An app of alice's with a secret, in a container that others use too."""
    container = str(request.param)
    flags = ("--detach", f"--env=TOKEN={TOKEN}")
    lab.run("isoctl", "run", *flags, container, "sleep", "4921", user="alice")
    yield container
    found = json.loads(lab.run("isoctl", "ps", "--json", user="alice").stdout)
    for one in found:
        if one["command"] == ["sleep", "4921"] and one["running"]:
            lab.run("isoctl", "kill", one["id"], user="alice")


LOOK = """
systemctl show '*' --all --no-pager
cat /run/systemd/transient/* 2>/dev/null
for socket in "$(systemctl show-environment)"; do echo "$socket"; done
cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n'
journalctl --no-pager 2>/dev/null
ls -lR /run/isoctl 2>/dev/null
find /run/isoctl -type f -exec cat {} + 2>/dev/null
"""


@pytest.mark.attack("C56")
@pytest.mark.parametrize("app", ["shared", "priv", "plain"], indirect=True)
def test_a4_no_other_account_inside_reads_a_value(lab: Lab, app: str) -> None:
    """A4: `systemctl show` inside gave carol and nobody alice's TOKEN."""
    for user in ("carol", "nobody"):
        done = lab.in_container(app, "sh", "-c", LOOK, user=user, check=False)
        assert "isoctl-app-" in done.stdout
        assert TOKEN not in done.stdout
    # The app itself has it.
    assert lab.in_container(app, "pgrep", "-f", "sleep 4921").stdout.split()
    pid = lab.in_container(app, "pgrep", "-nxf", "sleep 4921").stdout.strip()
    assert f"TOKEN={TOKEN}" in lab.in_container(app, "sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout


@pytest.mark.attack("C56")
@pytest.mark.parametrize("container", ["blog", "priv", "plain"])
def test_a4_no_file_is_left_when_the_start_is_over(lab: Lab, container: str) -> None:
    lab.run("isoctl", "run", "--env=TOKEN=x", container, "true", user="alice")
    lab.run("isoctl", "run", "--env=TOKEN=x", "--no-login-shell", container, "/nonexistent", user="alice", check=False)
    lab.wait_for(lambda: not lab.in_container(container, "ls", "/run/isoctl/launch").stdout)


@pytest.mark.attack("C56")
def test_a4_a_file_that_an_earlier_isod_left_is_swept(lab: Lab) -> None:
    lab.run("isoctl", "run", "blog", "true", user="alice")
    left = lab.host_path("/run/isod/container/blog/run/launch/left")
    left.write_text("TOKEN=x\n")
    lab.run("systemctl", "kill", "--signal=KILL", "isod.service")
    lab.wait_for(lambda: not left.exists(), 20)
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0


@pytest.mark.parametrize("container", ["blog", "plain"])
def test_300_launches_at_once_have_room_for_their_files(lab: Lab, container: str) -> None:
    """The tmpfs had 256 inodes, those of users' sockets among them. A bus gives a user 256 connections."""
    script = f"seq 300 | xargs -P 240 -I{{}} isoctl run --env=N={{}} {container} sh -c 'echo $N'"
    done = lab.run("bash", "-c", script, user="alice", timeout_sec=240, check=False)
    refused = [line for line in done.stderr.splitlines() if "limit reached" not in line]
    assert refused == []
    ran = [int(line) for line in done.stdout.split()]
    assert len(ran) == len(set(ran)) >= 272


@pytest.mark.parametrize("value", ["\x1b[1m", "a\x7f"])
def test_a_value_that_systemd_would_drop_is_refused_by_name(lab: Lab, value: str) -> None:
    done = lab.run("isoctl", "run", f"--env=PROMPT={value}", "blog", "true", user="alice", check=False)
    assert done.returncode == 125
    assert "environment: PROMPT holds U+00" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_value_that_is_not_utf8_is_refused_by_name(lab: Lab) -> None:
    script = "PROMPT=$(printf '\\377') exec isoctl run --env=PROMPT blog true"
    done = lab.run("sh", "-c", script, user="alice", check=False, stdin=subprocess.DEVNULL)
    assert done.returncode in (2, 125)
    assert "PROMPT" in done.stderr
    assert "UTF-8" in done.stderr
