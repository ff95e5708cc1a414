"""What anybody can read of this host without isod: names on the bus, systemd's view of units, files, versions.

Everything is read when a check first asks for it, and once.
"""

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from isoctl import forwarding, inotify_use, installation, isod, wire
from isoctl.contract_generated import BUS_NAME, MANAGER, ROOT_PATH, VERSION
from isoctl.marshal import plain
from isod_contract.names import escape_label

SYSTEMD = "org.freedesktop.systemd1"
_SYSTEMD_PATH = "/org/freedesktop/systemd1"
POLKIT = "org.freedesktop.PolicyKit1"
_POLKIT_PATH = "/org/freedesktop/PolicyKit1/Authority"
MACHINED = "org.freedesktop.machine1"
LOGIN = "org.freedesktop.login1"
_LOGIN_PATH = "/org/freedesktop/login1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_PEER = "org.freedesktop.DBus.Peer"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
# Where both brokers look for policy (dbus-daemon(1), "Configuration file").
_POLICY_DIRECTORIES = (
    "/usr/share/dbus-1/system.d",
    "/etc/dbus-1/system.d",
    "/run/current-system/sw/share/dbus-1/system.d",
)
# Programs that ask for polkit's passwords: those that say so, and desktops that do it themselves.
_AGENT = re.compile(r"polkit(?!d\b)|policykit|pkttyagent", re.IGNORECASE)
_DESKTOPS = frozenset({"gnome-shell", "cinnamon", "phosh", "cosmic-osd", "enlightenment", "soteria", "quickshell"})
# A service that must be started first has this long; one that hangs shall not hold up all other checks.
_TIMEOUT_SEC = 10.0
# isod's exit code where what it needs is missing or too old (isod(8)).
_EXIT_REFUSED = 69


class Host:
    """This host, for one user who looks at it. Every read is lazy; none of them raises."""

    version = VERSION

    @cached_property
    def bus_problem(self) -> str:
        """Why the system bus can't be reached; "" if it can."""
        try:
            self.bus  # noqa: B018 - connects
        except wire.WireError as error:
            return str(error)
        return ""

    @cached_property
    def bus(self) -> wire.Bus:
        """The system bus. Raises WireError."""
        return wire.Bus(wire.system_bus_address())

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The caller's environment."""
        return dict(os.environ)

    @cached_property
    def uid(self) -> int:
        """Who looks."""
        return os.geteuid()

    @cached_property
    def kernel(self) -> str:
        """The running kernel's version."""
        return os.uname().release

    @cached_property
    def systemd(self) -> str:
        """The version of the systemd that runs; "" where none answers."""
        return str(self._property(SYSTEMD, _SYSTEMD_PATH, f"{SYSTEMD}.Manager", "Version"))

    @cached_property
    def polkit(self) -> str:
        """The version of the polkit that runs; "" where none answers."""
        return str(self._property(POLKIT, _POLKIT_PATH, f"{POLKIT}.Authority", "BackendVersion"))

    @cached_property
    def isod(self) -> str:
        """The version of the isod that runs; "" where none answers."""
        return str(self._property(BUS_NAME, ROOT_PATH, MANAGER, "Version"))

    @cached_property
    def policy_files(self) -> tuple[str, ...]:
        """The files of isod's bus policy."""
        paths = (f"{directory}/{BUS_NAME}.conf" for directory in _POLICY_DIRECTORIES)
        return tuple(path for path in paths if os.path.exists(path))

    @cached_property
    def refusal(self) -> str:
        """Why isod can't run on this host's Python, in its own words; "" where it can, or where it is not installed.

        Asked of the program that isod.service runs: its log is for administrators alone.
        """
        commands = self.unit("isod.service").get("ExecStart")
        if not commands:
            return ""
        program = str(commands[0][0])
        try:
            done = subprocess.run(
                [program, "--check", "/nonexistent"], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_TIMEOUT_SEC, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return ""
        except OSError as error:
            # The kernel says the same of a program whose interpreter is gone.
            return f"{program}, or the Python that it names, can't be started: {error.strerror}"
        said = done.stderr.decode(errors="replace").strip()
        return said if done.returncode == _EXIT_REFUSED else ""

    def ping(self, name: str) -> str:
        """Give the D-Bus error that a service answers with, started if it can be; "" if it answers.

        One that answers, with whatever error of its own, is there.
        """
        if name not in self._answers:
            self._answers[name] = self._ping(name)
        return self._answers[name]

    def _ping(self, name: str) -> str:
        try:
            self.bus.call("/", _PEER, "Ping", destination=name, timeout_sec=_TIMEOUT_SEC)
        except wire.RemoteError as error:
            return "" if error.name.endswith((".UnknownObject", ".UnknownMethod")) else error.name
        except wire.WireError:
            return wire.DBUS + ".Error.NoReply"
        return ""

    @cached_property
    def _answers(self) -> dict[str, str]:
        return {}

    def unit(self, name: str) -> Mapping[str, Any]:
        """Give what systemd says of a service or socket: its properties, {} where it does not answer."""
        path = f"{_SYSTEMD_PATH}/unit/{escape_label(name)}"
        kind = name.rpartition(".")[2].capitalize()
        values: dict[str, Any] = {}
        for interface in ("Unit", kind):
            try:
                reply = self.bus.call(
                    path, _PROPERTIES, "GetAll", "s", (f"{SYSTEMD}.{interface}",), destination=SYSTEMD
                )
            except (wire.RemoteError, wire.WireError):
                return {}
            values |= plain(reply.body[0])
        return values

    @cached_property
    def containers(self) -> list[dict[str, Any]]:
        """The containers that the caller may see; none where isod does not answer."""
        try:
            return isod.objects(self.bus, "ListContainers") if self.isod else []
        except (wire.RemoteError, wire.WireError):
            return []

    def asks_for_password(self, container: str) -> bool:
        """Tell whether policy has a question for the caller before an app starts there."""
        try:
            return bool(isod.manager(self.bus, "Explain", "ssa{sv}", container, "run", {})["outcome"] == "asked")
        except (wire.RemoteError, wire.WireError):
            return False

    @cached_property
    def session(self) -> str:
        """The caller's session as polkit finds it: that of the process, else their graphical one; "" without any."""
        named = self.environment.get("XDG_SESSION_ID", "")
        path = f"{_LOGIN_PATH}/user/{escape_label(str(self.uid))}"
        display = self._property(LOGIN, path, f"{LOGIN}.User", "Display")
        return named or (str(display[0]) if isinstance(display, tuple) else "")

    @cached_property
    def has_agent(self) -> bool:
        """Whether a program of the caller's runs that asks for passwords, by the names of those that are known.

        polkit lists no agents, and to try to be one keeps a desktop's own from its place for that moment.
        """
        return any(_is_agent(words) for words in _commands_of(self.uid))

    def journald_setting(self, name: str) -> str:
        """Give a setting of journald as its files say (journald.conf(5)); "" where none does."""
        return self._journald.get(name, "")

    @cached_property
    def _journald(self) -> Mapping[str, str]:
        directories = [f"{place}/systemd" for place in ("/usr/lib", "/usr/local/lib", "/run", "/etc")]
        mains = [path for path in (f"{directory}/journald.conf" for directory in directories) if os.path.exists(path)]
        # Of drop-ins with one name the one in /etc counts, whatever order they are read in.
        drop_ins: dict[str, str] = {}
        for directory in directories:
            for path in sorted(glob.glob(f"{directory}/journald.conf.d/*.conf")):
                drop_ins[os.path.basename(path)] = path
        settings: dict[str, str] = {}
        for path in (*mains[-1:], *(drop_ins[name] for name in sorted(drop_ins))):
            settings |= _settings(path)
        return settings

    def number(self, path: str) -> int | None:
        """Read a file that holds a number; None where it can't be read."""
        try:
            with open(path) as file:
                return int(file.read(64))
        except (OSError, ValueError):
            return None

    def exists(self, path: str) -> bool:
        """Tell whether something is there, or may be: what can't be looked at counts as there."""
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def watches(self, enough: int) -> int:
        """Count the caller's inotify watches, up to what is enough to know."""
        return inotify_use.watches_of(self.uid, enough)

    @cached_property
    def forwarding_closed_by(self) -> str:
        """What drops that containers send to others, as root alone can see; "" for nothing, or nobody to ask."""
        return forwarding.closed_by() if self.uid == 0 and forwarding.has_links() else ""

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """What this user can't see of the host, and would be told by who can."""
        if self.uid == 0 or not forwarding.has_links() or not forwarding.is_likely_closed():
            return ()
        return ("whether the host's firewall forwards what containers send takes root to see: `sudo isoctl doctor`",)

    @cached_property
    def prefix(self) -> str:
        """Where this isoctl is installed; "" where that says nothing."""
        return installation.prefix()

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """Where installations are, first the one that is taken first."""
        return installation.prefixes()

    @cached_property
    def installed_at_usec(self) -> int:
        """When the isod that is installed beside this isoctl was put there, since 1970; 0 where that says nothing."""
        return installation.installed_at_usec()

    def has_program(self, name: str) -> bool:
        """Tell whether a program is on PATH."""
        return shutil.which(name) is not None

    def _property(self, name: str, path: str, interface: str, key: str) -> object:
        if self.bus_problem or self.ping(name):
            return ""
        try:
            reply = self.bus.call(
                path, _PROPERTIES, "Get", "ss", (interface, key), destination=name, timeout_sec=_TIMEOUT_SEC
            )
        except (wire.RemoteError, wire.WireError):
            return ""
        return plain(reply.body[0])


def _settings(path: str) -> dict[str, str]:
    """Read the assignments of a file of systemd's; none where it can't be read."""
    try:
        with open(path, errors="replace") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if not line.startswith(("#", ";", "[")))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _commands_of(uid: int) -> Iterator[list[str]]:
    """Give program and first argument of each process of a user's, without their directories (proc_pid_cmdline(5))."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    yield [os.path.basename(os.fsdecode(word)) for word in file.read(4096).split(b"\0")[:2]]
        except OSError:
            continue  # it has ended


def _is_agent(words: list[str]) -> bool:
    return any(word in _DESKTOPS or _AGENT.search(word) for word in words)
