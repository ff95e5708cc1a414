"""What programs in containers do to the terminal they are started from: input pushed into it, and texts it acts on."""

import json
import time
from collections.abc import Callable

import pytest

from isod_contract import names
from lab.caller import BusCaller
from lab.machine import Lab

INJECTED = "touch /tmp/injected\n"
# Tries each way to push input into a terminal, or to take it over, on all that it has; prints how many were tried.
INJECT = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p)
TIOCSTI, TIOCLINUX, TIOCSETD, TIOCSCTTY = 0x5412, 0x541C, 0x5423, 0x540E
fds = [0, 1, 2]
for path in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/proc/self/fd/0", "/proc/1/fd/0"):
    try:
        fds.append(os.open(path, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        pass
tried = 0
for fd in fds:
    for request in (TIOCSTI, TIOCSTI | 1 << 32, TIOCSTI | 0xFFFFFFFF << 32):
        for character in {INJECTED!r}.encode():
            libc.ioctl(fd, request, bytes([character]))
        tried += 1
    for subcode in (2, 3):
        libc.ioctl(fd, TIOCLINUX, bytes([subcode]) + bytes(15))
        tried += 1
    libc.ioctl(fd, TIOCSCTTY, b"1")
    tried += 1
print("TRIED", tried, flush=True)
"""
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;b3duZWQ=\x07\x9b31m\u202egnp.exe\u2066\x08\x7f"
PAYLOADS = (b"\x1b]0;owned", b"\x1b[2J", b"\x1b]52", b"\x9b31m", "\x9b31m".encode(), "\u202e".encode(), b"\x07")


@pytest.mark.attack("C11")
@pytest.mark.parametrize("user", ["alice", "root"])
@pytest.mark.parametrize("streams", ["", "< /dev/null", "2> /dev/null", "> /tmp/inject-out-$(id -un)"])
def test_nothing_is_pushed_into_the_callers_terminal(lab: Lab, user: str, streams: str) -> None:
    """S11, CVE-2017-5226, CVE-2019-10063, CVE-2023-28100, CVE-2023-1523."""
    script = (
        f'isoctl run evil -- python3 -c "$INJECT" {streams}; echo code=$?; '
        "if read -r -t 0.5 -n 1 typed; then echo PUSHED; else echo EMPTY; fi; echo DONE"
    )
    with lab.pty("bash", "--norc", "-c", script, user=user, env={"INJECT": INJECT}) as terminal:
        output = terminal.read_until("DONE", 30)
    assert b"code=0" in output
    assert b"EMPTY" in output
    assert b"PUSHED" not in output
    assert not lab.host_path("/tmp/injected").exists()


@pytest.mark.attack("C13")
def test_no_text_of_a_container_reaches_a_terminal_as_it_is(lab: Lab, attempts: Callable[..., int]) -> None:
    """S13, CVE-2021-25743, CVE-2023-28101: a text that a terminal acts on hides, or does, what nobody sees."""
    lab.start("evil")
    release = f'NAME="{ESCAPES}"\nPRETTY_NAME="{ESCAPES}"\nID=debian\n'
    lab.in_container("evil", "sh", "-c", "cp -p /etc/os-release /etc/os-release.real; cat > /etc/os-release",
                     stdin=release.encode())  # fmt: skip
    script = f"printf '%s\\n' '{ESCAPES}'; sleep 600"
    app = lab.run("isoctl", "run", "-d", "evil", "sh", "-c", script, ESCAPES, user="alice").stdout.strip()
    try:
        commands = (
            "isoctl list", "isoctl ps", "isoctl status", "isoctl status evil", "isoctl history",
            f"isoctl logs {app}", "isoctl why evil run", "isoctl doctor evil", "isoctl why '{}' run",
            "isoctl kill '{}'", "isoctl run -w '/{}' evil true", "isoctl run -u '{}' evil true",
        )  # fmt: skip
        lab.wait_for(lambda: bool(lab.run("isoctl", "logs", app, user="alice").stdout))
        for command in commands:
            line = command.replace("{}", ESCAPES)
            with lab.pty("bash", "--norc", "-c", f"{line}; echo DONE", user="alice", columns=250) as terminal:
                shown = terminal.read_until("DONE", 30)
            assert not [payload for payload in PAYLOADS if payload in shown], (command, shown)
        attempts(len(commands))
    finally:
        lab.run("isoctl", "kill", app, user="alice")
        lab.in_container("evil", "mv", "/etc/os-release.real", "/etc/os-release")


ENTRY = "[Desktop Entry]\nType=Application\nName={name}\nExec={command}\n"
HOSTILE = {
    "escapes": ENTRY.format(name=ESCAPES, command=f"true {ESCAPES}"),
    "shell": ENTRY.format(name="`id`$(id);id", command='sh -c "touch /tmp/injected; `id`" ; touch /tmp/injected'),
    "forwarding": ENTRY.format(name="x", command="true @@u %u @@ @@f /etc/shadow @@"),
    "second": ENTRY.format(name="x\nExec=false\n[Desktop Action a]", command="true\n[Desktop Entry]\nExec=false"),
    "icon": ENTRY.format(name="x", command="true") + "Icon=/etc/shadow\nIcon[$e]=$(touch /tmp/injected)\n",
    "long": ENTRY.format(name="x" * 60_000, command="true"),
}


@pytest.mark.attack("C14")
def test_hostile_desktop_entries_are_harmless_or_absent(lab: Lab, attempts: Callable[..., int]) -> None:
    """S14, CVE-2021-21381, CVE-2024-32462, CVE-2019-14744, CVE-2024-29069."""
    lab.run("isoctl", "run", "evil", "true", user="alice")
    directory = "/home/alice/.local/share/applications"
    plant = (
        f"import json, os, sys; os.makedirs('{directory}'); os.chdir('{directory}')\n"
        "for name, text in json.load(sys.stdin).items(): open(name + '.desktop', 'w').write(text)\n"
        "os.mkfifo('fifo.desktop'); os.symlink('/etc/shadow', 'shadow.desktop'); os.symlink('.', 'loop.desktop')\n"
        "os.truncate(os.open('huge.desktop', os.O_CREAT | os.O_RDWR), 2 << 30)\n"
        "for number in range(3000): open(f'{number}.desktop', 'w').write('[Desktop Entry]')\n"
        "open(b'odd\\xff\\n.desktop', 'w').write('[Desktop Entry]')\n"
    )
    lab.in_container("evil", "python3", "-c", plant, stdin=json.dumps(HOSTILE).encode())
    try:
        with BusCaller(lab, "alice") as alice:
            started_sec = time.monotonic()
            answer = alice.call(names.container_path("evil"), names.CONTAINER, "ListApplications")
            assert time.monotonic() - started_sec < 5
        attempts(len(HOSTILE) + 3005)
        assert not answer.error
        for entry in answer.body[0]:
            told = {key: value for key, (_, value) in entry.items()}
            for text in (told["id"], told["name"], told.get("comment", "")):
                assert text.isprintable()
                assert len(text) < 1000
            assert "root:" not in json.dumps(told)
        assert lab.run("isoctl", "menu", "evil", user="alice", check=False, timeout_sec=20).returncode != 0
        assert not lab.host_path("/tmp/injected").exists()
        assert lab.in_container("evil", "test", "-e", "/tmp/injected", check=False).returncode == 1
    finally:
        lab.in_container("evil", "rm", "-rf", "/home/alice/.local")


@pytest.mark.attack("C26")
@pytest.mark.parametrize("user", ["alice", "root"])
def test_keys_of_the_host_are_out_of_reach(lab: Lab, user: str) -> None:
    """CVE-2016-0728: keyrings know no container; nspawn's filter refuses all three calls."""
    script = (
        "import ctypes, os, platform; libc = ctypes.CDLL(None, use_errno=True)\n"
        "first = {'x86_64': 248, 'aarch64': 217}[platform.machine()]\n"
        "for number in range(3):\n"
        "    done = libc.syscall(first + number, b'user', b'isoctl', b'x', 1, -4)\n"
        "    print(done, os.strerror(ctypes.get_errno()))\n"
    )
    account = ("--user=root",) if user == "root" else ()
    done = lab.run("isoctl", "run", *account, "evil", "--", "python3", "-c", script, user=user)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"-1"}
    assert {line.partition(" ")[2] for line in done.stdout.splitlines()} <= {
        "Operation not permitted",
        "Function not implemented",
    }
