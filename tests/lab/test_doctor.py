"""`isoctl doctor`: a host or container broken in each of many ways gets the finding that fits, and its fix mends it."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.changes import kept
from lab.container_faults import OF_A_CONTAINER
from lab.faults import OF_THE_HOST, Fault, command_in, drop_in
from lab.login import Login
from lab.machine import Lab

AGENT = Path(__file__).parent / "lab/polkit_agent.py"
RUNNING = ("blog", "net", "priv", "deb", "nologind")


def doctor(lab: Lab, *where: str, env: Mapping[str, str] | None = None, user: str = "alice") -> list[dict[str, str]]:
    """What it finds; its exit code must say the same."""
    done = lab.run("isoctl", "doctor", "--json", *where, user=user, env=env, check=False)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert (done.returncode, done.stderr) == (1 if found else 0, "")
    return found


@pytest.fixture(scope="module", autouse=True)
def files_stay_as_they_are(lab: Lab) -> Iterator[None]:
    """isod_was_updated has Python compile the changed files; nothing of that may be left to run."""
    yield
    lab.run("find", "/usr/lib/isoctl", "-name", "*.pyc", "-newer", "/usr/lib/isoctl", "-delete")


@pytest.fixture(scope="module", autouse=True)
def containers_run(lab: Lab) -> None:
    """They have run an app of alice's once; accounts are broken in one where none has, so that nothing is in use."""
    lab.run("mkdir", "-p", "/tmp/.X11-unix")
    for name in RUNNING:
        lab.run("isoctl", "start", name)


@pytest.mark.parametrize("user", ["root", "alice", "mallory"])
def test_a_healthy_host_has_no_finding(lab: Lab, user: str) -> None:
    assert doctor(lab, user=user) == []
    assert lab.run("isoctl", "doctor", user=user).stdout == "nothing wrong found\n"


@pytest.mark.parametrize(
    "container", ["blog", "priv", "privchown", "net", "plain", "shells", "nixlike", "Upper.Case-1"]
)
def test_a_healthy_container_has_no_finding(lab: Lab, container: str) -> None:
    lab.run("isoctl", "run", container, "true", user="alice")
    assert doctor(lab, container) == []
    assert doctor(lab, container, user="root") == []


# what a fix enables or sets is undone, but leaves directories
@pytest.mark.breaks("host-files")
@pytest.mark.parametrize("fault", [*OF_THE_HOST, *OF_A_CONTAINER], ids=lambda fault: fault.code)
def test_a_fault_is_exactly_the_finding_that_fits_and_its_fix_clears_it(lab: Lab, fault: Fault) -> None:
    with ExitStack() as stack:
        stack.enter_context(fault.planted(lab))
        # isod reads the policy's files at most once a second
        lab.wait_for(lambda: bool(doctor(lab, *fault.where, env=fault.env)), what="nothing is found")
        (finding,) = doctor(lab, *fault.where, env=fault.env)
        assert finding["code"] == fault.code
        assert finding["container"] == "".join(fault.where)
        if fault.mend:
            fault.mend(lab, finding["fix"])
        else:
            lab.run("sh", "-c", command_in(finding["fix"]), timeout_sec=90)
        lab.wait_for(lambda: doctor(lab, *fault.where, env=fault.env) == [], 60, f"not cleared by {finding['fix']}")


def test_something_useful_is_said_while_isod_does_not_run(lab: Lab) -> None:
    with ExitStack() as stack:
        stack.enter_context(drop_in("isod.service", "[Unit]", "ConditionPathExists=/nowhere")(lab))
        lab.run("systemctl", "stop", "isod")
        try:
            done = lab.run("isoctl", "doctor", "blog", user="alice", check=False)
        finally:
            stack.close()
            lab.run("systemctl", "start", "isod")
    assert done.returncode == 1
    assert "isod.service is inactive" in done.stdout
    assert "[isod-stopped]" in done.stdout
    assert "blog was not looked at" in done.stderr
    assert done.stdout.count("\n") == 1


def test_a_stopped_container_is_looked_at_from_outside_and_not_started(lab: Lab) -> None:
    lab.stop_container("Upper.Case-1")
    with drop_in("container@Upper.Case-1.service", "DevicePolicy=auto")(lab):
        done = lab.run("isoctl", "doctor", "Upper.Case-1", user="alice", check=False)
    assert "[device-policy]" in done.stdout
    assert "is stopped, so nothing inside it was looked at" in done.stderr
    assert lab.run("isoctl", "list", user="alice").stdout.count("Upper.Case-1") == 1
    assert lab.run("systemctl", "is-active", lab.unit("Upper.Case-1"), check=False).stdout == "inactive\n"


def test_whose_container_it_is_not_learns_nothing_of_it(lab: Lab) -> None:
    done = lab.run("isoctl", "doctor", "blog", user="mallory", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no container 'blog' that you may use" in done.stderr


def test_a_session_without_an_agent_is_told_if_a_container_asks(lab: Lab) -> None:
    session = Login(lab, "alice", seat="seat0", desktop="sway")
    try:
        env = {"XDG_SESSION_ID": session.id}
        assert doctor(lab, env=env) == []
        with kept(lab, "/etc/isod/containers/blog.toml"):
            lab.host_path("/etc/isod/containers/blog.toml").write_text('ask = ["alice"]\n')
            lab.run("isoctl", "reload")
            (finding,) = doctor(lab, env=env)
            assert finding["code"] == "agent-missing"
            assert "blog" in finding["what"]
            lab.host_path("/run/polkit_agent.py").write_text(AGENT.read_text())
            pipe = subprocess.PIPE
            with session.popen("python3", "/run/polkit_agent.py", stdin=pipe, stdout=pipe) as agent:
                assert agent.stdout is not None
                assert agent.stdout.readline() == b"ready\n"
                assert doctor(lab, env=env) == []
                agent.end()
    finally:
        session.end()
        lab.run("isoctl", "reload")


def test_the_answer_is_fast_enough_to_ask_for_it(lab: Lab) -> None:
    """Nothing in it waits for a time-out of its own."""
    began = time.monotonic()
    doctor(lab, "blog")
    assert time.monotonic() - began < 10
