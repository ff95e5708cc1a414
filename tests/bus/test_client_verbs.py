"""isoctl's other verbs against a stand-in for isod: what they ask, print and exit with."""

import json
import os
import pwd
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from buses import Bus
from client import Isoctl, until
from fakeisod import FakeIsod, fake_isod
from screen import Screen

HOSTILE = "a\x1b[2Jb\x9bc\u202ed\u200be\nf\x7f"
HARMLESS = "a\\x1b[2Jb\\x9bc\\u202ed\\u200be\\x0af\\x7f"
IDS = ("1234" + "a" * 28, "1299" + "b" * 28)


def app(app_id: str, container: str = "blog", state: str = "running", command: str = "sleep") -> tuple[str, Any]:
    values = {
        "Id": ("s", app_id),
        "Container": ("s", container),
        "State": ("s", state),
        "User": ("s", "alice"),
        "Command": ("as", [command, "60"]),
        "StartedUSec": ("t", 1_700_000_000_000_000),
        "Running": ("b", state == "running"),
        "ExitCode": ("i", -1),
        "Problem": ("(ss)", ("", "")),
    }
    return (f"/org/isoctl1/app/{app_id}", values)


def container(name: str, state: str = "running", problem: str = "") -> tuple[str, Any]:
    values = {
        "Name": ("s", name),
        "State": ("s", state),
        "User": ("s", "alice"),
        "Unit": ("s", f"container@{name}.service"),
        "Apps": ("ao", []),
        "AppCount": ("u", 4711),
        "Problem": ("(ss)", ("org.isoctl1.Error.StartFailed" if problem else "", problem)),
    }
    return (f"/org/isoctl1/container/{name}", values)


def texts(value: Any) -> list[str]:
    """Give all strings in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in texts(item)] if isinstance(value, list) else [value]


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        running.answers = {
            "ListContainers": ("a(oa{sv})", ([container("blog"), container("db", "failed", HOSTILE)],)),
            "ListAppsAfter": ("a(oa{sv})b", ([app(IDS[0]), app(IDS[1], "db", command=HOSTILE)], False)),
            "GetContainer": ("o", ("/org/isoctl1/container/blog",)),
            "Subscribe": ("", ()),
        }
        yield running


@pytest.fixture
def isoctl(bus: Bus, isod: FakeIsod) -> Isoctl:
    return Isoctl(bus.address)


@pytest.mark.attack("C13")
@pytest.mark.parametrize("verb", ["list", "ls", "ps"])
def test_nothing_from_a_container_acts_on_the_terminal(isoctl: Isoctl, verb: str) -> None:
    """I-71: control characters, and what reverses or hides text, are shown by number."""
    done = isoctl.run(verb)
    assert done.returncode == 0
    assert HARMLESS in done.stdout.decode()
    assert done.stdout.replace(b"\n", b"").decode().isprintable()


@pytest.mark.attack("C13")
@pytest.mark.parametrize("verb", ["list", "ps", "status"])
def test_json_is_json_and_ascii(isoctl: Isoctl, isod: FakeIsod, verb: str) -> None:
    isod.answers["GetAll"] = ("a{sv}", ({"Version": ("s", HOSTILE)},))
    done = isoctl.run(verb, "--json")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"\x1b" not in done.stdout
    assert HOSTILE in texts(json.loads(done.stdout))


def test_ps_leaves_out_what_is_over(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers["ListAppsAfter"] = ("a(oa{sv})b", ([app(IDS[0]), app(IDS[1], state="exited")], False))
    assert [entry["id"] for entry in json.loads(isoctl.run("ps", "--json").stdout)] == [IDS[0]]


def test_kill_takes_a_unique_start_of_an_id(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers["Signal"] = ("", ())
    assert isoctl.run("kill", "123").returncode == 0
    assert isoctl.run("kill", "-s", "KILL", "db/12").returncode == 0
    assert isoctl.run("kill", "--signal=SIGUSR1", IDS[1]).returncode == 0
    assert [body for member, body in isod.calls if member == "Signal"] == [(15,), (9,), (10,)]


def test_a_full_id_goes_straight_to_its_object(isoctl: Isoctl, isod: FakeIsod) -> None:
    """F11: of 600 apps the oldest stood in no list, and `isoctl kill FULL-ID` said that it means no app."""
    isod.answers["Signal"] = ("", ())
    isod.answers["OpenLog"] = ("h", (os.open("/dev/null", os.O_RDONLY),))
    isod.answers.pop("GetContainer")
    other = "f" * 32
    assert isoctl.run("kill", other).returncode == 0
    assert isoctl.run("logs", other).returncode == 0
    assert (isod.count("Signal"), isod.count("OpenLog"), isod.count("ListAppsAfter")) == (1, 1, 0)


def test_a_list_of_several_pages_is_read_to_its_end(isoctl: Isoctl, isod: FakeIsod) -> None:
    """F11: `isoctl ps` showed 307 of 600 running apps, and said nothing of the others."""
    everything = [app(f"{number:032x}") for number in range(7)]

    def page(started_usec: int, app_id: str) -> tuple[Any, ...]:
        rest = [item for item in everything if (item[1]["StartedUSec"][1], item[1]["Id"][1]) > (started_usec, app_id)]
        return ("a(oa{sv})b", (rest[:3], len(rest) > 3))

    isod.answers["ListAppsAfter"] = page  # type: ignore[assignment]
    assert [item["id"] for item in json.loads(isoctl.run("ps", "--json").stdout)] == [
        item[1]["Id"][1] for item in everything
    ]
    assert isod.count("ListAppsAfter") == 3


def test_the_list_of_containers_shows_how_many_apps_there_are(isoctl: Isoctl) -> None:
    """F18: APPS counted ended ones, and would be cut with the list of their paths."""
    assert b" 4711 " in isoctl.run("list").stdout


@pytest.mark.parametrize("name", ["12", "zz", "blog/1299", "", "blog/"])
def test_kill_never_guesses(isoctl: Isoctl, isod: FakeIsod, name: str) -> None:
    done = isoctl.run("kill", name)
    assert done.returncode == 2
    assert done.stderr.startswith(b"isoctl: ")
    assert not isod.count("Signal")


def test_kill_refuses_what_is_no_signal(isoctl: Isoctl, isod: FakeIsod) -> None:
    assert isoctl.run("kill", "-s", "NOSUCH", "123").returncode == 2
    assert not isod.count("Signal")


@pytest.mark.attack("C13")
def test_logs_of_a_container_are_made_harmless_for_a_terminal(isoctl: Isoctl, isod: FakeIsod) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"line\n\x1b]0;title\x07\xff\n")
    os.close(writer)
    isod.answers["OpenLog"] = ("h", (reader,))
    done = isoctl.run("logs", "-n", "5", "-f", "blog")
    os.close(reader)
    assert done.stdout == b"line\n\\x1b]0;title\\x07\\xff\n"
    (options,) = (body[0] for member, body in isod.calls if member == "OpenLog")
    assert options == {"follow": ("b", True), "lines": ("u", 5)}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("blog",), "isoctl: no app of `isoctl run -d` has written anything yet"),
        (("--since", "10m", "blog"), "isoctl: no app of `isoctl run -d` has written anything since then"),
        (("f" * 32,), "isoctl: nothing of this app is logged yet; an app without -d writes where it was started"),
    ],
)
def test_an_empty_log_is_told_in_a_sentence(
    screen: Screen, isod: FakeIsod, arguments: tuple[str, ...], text: str
) -> None:
    isod.answers["OpenLog"] = ("h", (os.open("/dev/null", os.O_RDONLY),))
    if len(arguments[0]) == 32:
        isod.answers.pop("GetContainer")
    assert screen.start("logs", *arguments).wait(10) == 0
    assert screen.read_until(b"\n").decode().strip() == text


def test_a_log_without_an_end_of_line_takes_no_more_memory(isoctl: Isoctl, isod: FakeIsod) -> None:
    """A12: a journalctl of root's inside that writes no line end made isoctl grow by 160 MB a second."""
    reader, writer = os.pipe()
    isod.answers["OpenLog"] = ("h", (reader,))
    limit = 256 * 1024 * 1024
    with isoctl.popen(
        "logs",
        "blog",
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    ) as process:
        total = 0

        def write() -> None:
            nonlocal total
            with open(writer, "wb") as end:
                while total < limit:
                    total += end.write(b"x" * 65536)

        writing = threading.Thread(target=write)
        writing.start()
        assert process.stdout is not None
        got = 0
        while data := process.stdout.read(1 << 20):
            got += len(data)
        writing.join(20)
        os.close(reader)
    assert process.returncode == 0
    assert got >= total == limit


def test_why_says_by_what_and_fails_for_a_refusal(isoctl: Isoctl, isod: FakeIsod) -> None:
    decision = {"outcome": ("s", "refused"), "rule": ("s", "users"), "reason": ("s", HOSTILE)}
    isod.answers["Explain"] = ("a{sv}", (decision,))
    done = isoctl.run("why", "blog", "stop")
    assert done.returncode == 1
    assert b"may not stop blog: " in done.stdout
    assert HARMLESS.encode() in done.stdout
    assert isod.calls[-1][1][:2] == ("blog", "stop")


@pytest.mark.parametrize(
    ("action", "decision", "sentence"),
    [
        ("run", ("allowed", "users", ""), "may run apps in blog: their name stands in `users` of its policy"),
        (
            "start",
            ("allowed", "groups:dev", ""),
            "may start blog: they are in the group dev, which stands in `groups` of",
        ),
        ("run", ("allowed", "uid 0", ""), "may run apps in blog: root may do everything"),
        (
            "run",
            ("asked", "ask", "run"),
            "may run apps in blog, once they have typed their password: their name stands in",
        ),
        (
            "stop",
            ("asked", "busy", "manage"),
            "may stop blog, once an administrator has agreed: an app of another user",
        ),
        (
            "grant",
            ("asked", "grant", "grant"),
            "may grant devices of the host to blog, once an administrator has agreed",
        ),
        ("revoke", ("allowed", "own", ""), "may take back what was granted to blog: they granted it themselves"),
        ("run", ("allowed", "a rule of tomorrow", ""), "may run apps in blog: a rule of tomorrow"),
    ],
)
def test_why_is_a_sentence(
    isoctl: Isoctl, isod: FakeIsod, action: str, decision: tuple[str, str, str], sentence: str
) -> None:
    """N23: it said "run blog: asked by ask" and "allowed by users"."""
    outcome, rule, asks = decision
    values = {"outcome": ("s", outcome), "rule": ("s", rule), "reason": ("s", "")}
    values |= {"action": ("s", f"org.isoctl1.{asks}")} if asks else {}
    isod.answers["Explain"] = ("a{sv}", (values,))
    done = isoctl.run("why", "blog", action)
    assert done.returncode == 0
    name = pwd.getpwuid(os.getuid()).pw_name
    assert done.stdout.decode().startswith(f"{name} {sentence}")


def test_an_error_has_its_declared_exit_code(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers.pop("GetContainer")
    done = isoctl.run("start", "nosuch")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_a_start_that_fails_says_why(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers |= {"Start": ("", ()), "GetAll": ("a{sv}", (container("blog", "failed", "the unit failed")[1],))}
    done = isoctl.run("start", "blog")
    assert done.returncode == 1
    assert done.stderr.endswith(b"isoctl: the unit failed\n")


def test_force_is_sent_only_when_asked_for(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers |= {"Stop": ("", ()), "GetAll": ("a{sv}", (container("blog", "stopped")[1],))}
    assert isoctl.run("stop", "blog").returncode == 0
    assert isoctl.run("stop", "--force", "blog").returncode == 0
    assert [body[0] for member, body in isod.calls if member == "Stop"] == [{}, {"force": ("b", True)}]


# isoctl whose socket waits for half a second, where it is half a minute.
IMPATIENT = (
    "import sys, isoctl.wire; isoctl.wire._SEND_TIMEOUT_SEC = 0.3; from isoctl.__main__ import main; "
    "sys.argv[0] = 'isoctl'; sys.exit(main())"
)


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [("stop", "stopping", "stopped"), ("start", "starting", "running"), ("restart", "stopping", "running")],
)
def test_what_takes_long_is_waited_for(isoctl: Isoctl, isod: FakeIsod, verb: str, before: str, after: str) -> None:
    """N-1, R-42: after the 30 s of its socket it said "the message bus went away: None", and the container went on."""
    isod.answers |= {verb.capitalize(): ("", ()), "GetAll": ("a{sv}", (container("blog", before)[1],))}
    command = [sys.executable, "-S", "-c", IMPATIENT, verb, "blog"]
    process = subprocess.Popen(command, env=isoctl.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1.5)
    assert process.poll() is None
    isod.answers["GetAll"] = ("a{sv}", (container("blog", after)[1],))
    _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (0, b"")


def test_an_isod_that_is_restarted_while_a_container_stops_is_waited_for(isoctl: Isoctl, isod: FakeIsod) -> None:
    """F3, as a kind: a restart of isod ended who waited for a container, though the container went on."""
    isod.answers |= {"Stop": ("", ()), "GetAll": ("a{sv}", (container("blog", "stopping")[1],))}
    process = isoctl.popen("stop", "blog", stderr=subprocess.PIPE)
    until(lambda: isod.count("GetAll") > 1)
    isod.leave()
    time.sleep(1.5)
    isod.answers["GetAll"] = ("a{sv}", (container("blog", "stopped")[1],))
    isod.join()
    assert (process.communicate(timeout=10)[1], process.returncode) == (b"", 0)


def test_a_start_that_a_stop_ended_is_no_problem_of_the_stop(isoctl: Isoctl, isod: FakeIsod) -> None:
    """F16: "start failed: ... canceled", exit code 1, of a container that stopped as it should."""
    values = container("blog", "stopping", "container 'blog': start failed: canceled")[1]
    isod.answers |= {"Stop": ("", ()), "GetAll": ("a{sv}", (values,))}
    process = isoctl.popen("stop", "blog", stderr=subprocess.PIPE)
    until(lambda: isod.count("GetAll") > 2)
    isod.answers["GetAll"] = ("a{sv}", (container("blog", "stopped")[1],))
    assert (process.communicate(timeout=10)[1], process.returncode) == (b"", 0)


def test_a_reader_that_leaves_is_no_error(isoctl: Isoctl) -> None:
    done = isoctl.shell("isoctl list | head -1")
    assert done.stdout.startswith(b"NAME")
    assert done.stderr == b""


def test_completion_knows_containers_and_running_apps_and_is_silent_without_isod(
    isoctl: Isoctl, isod: FakeIsod
) -> None:
    assert isoctl.run("__complete", "containers").stdout == b"blog\ndb\n"
    assert isoctl.run("__complete", "apps").stdout.split() == [app_id[:12].encode() for app_id in IDS]
    isod.leave()
    done = isoctl.run("__complete", "containers")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("verb", ["list", "ps", "top", "history", "status"])
def test_without_isod_every_verb_names_the_way_out(isoctl: Isoctl, isod: FakeIsod, verb: str) -> None:
    isod.leave()
    done = isoctl.run(verb)
    assert done.returncode == 1
    assert b"systemctl start isod" in done.stderr


def test_status_fits_a_screen_however_many_apps_there_were(isoctl: Isoctl, isod: FakeIsod) -> None:
    """N9, N-6: it printed the path of each app that had ended, thousands of characters on one line."""
    (path, values) = container("blog")
    values["Apps"] = ("ao", [f"/org/isoctl1/app/{number:032x}" for number in range(500)])
    values["AppCount"] = ("u", 3)
    isod.answers["GetAll"] = ("a{sv}", (values,))
    isod.answers["ListContainers"] = ("a(oa{sv})", ([(path, values)],))
    lines = isoctl.run("status", "blog").stdout.decode().splitlines()
    assert "Apps:         3 run" in lines
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[-1] for line in isoctl.run("list").stdout.decode().splitlines()[1:]] == ["3"]


def test_an_empty_list_says_why(isoctl: Isoctl, isod: FakeIsod) -> None:
    """N29: it was a bare header."""
    isod.answers["ListContainers"] = ("a(oa{sv})", ([],))
    done = isoctl.run("list")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"no container that you may use" in done.stderr
    assert json.loads(isoctl.run("list", "--json").stdout) == []


def test_kill_of_nothing_is_no_question_of_how_many(isoctl: Isoctl, isod: FakeIsod) -> None:
    """N9: `kill ''` said that it "means 43 apps"."""
    done = isoctl.run("kill", "")
    assert (done.returncode, done.stderr) == (
        2,
        b"isoctl: '' is no app's ID; `isoctl ps` shows them; see `isoctl kill --help`\n",
    )
