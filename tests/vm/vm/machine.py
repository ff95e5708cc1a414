"""The virtual machine as tests use it: run commands on the host that it is, and in that host's containers."""

from __future__ import annotations

import fcntl
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from lab.machine import CommandFailed
from lab.tree import cache_dir, exclusive
from vm import disk, needs

# Of the clock outside, so they tell nothing but that something hangs: emulation is slow, and slower on a busy machine.
BOOT_TIMEOUT_SEC = 1800.0
RUN_TIMEOUT_SEC = 900.0
_POLL_SEC = 0.2

# PCI addresses of the two graphics devices.
GPUS = ("0000:00:10.0", "0000:00:11.0")

_SSH = (
    "ssh -q -oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oConnectTimeout=120 "
    "-oServerAliveInterval=300"
).split()
# An emulated processor whose clock counts its instructions, one a nanosecond: so nothing in it times out because the
# machine outside is slow or busy, and what is measured in it is the same everywhere.
_PROCESSOR = "-accel tcg,thread=single,tb-size=512 -icount shift=0,sleep=on -cpu max -smp 1"
_KERNEL = "console=ttyS0 root=/dev/vda rw quiet mitigations=off net.ifnames=0 systemd.show_status=no"

Stream = int | IO[str] | None


class BootFailed(RuntimeError):
    """The machine did not come up; the text has the end of its console."""


class Vm:
    """One booted virtual machine; use it as a context manager, it is gone at the end."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.boot_sec = 0.0
        self._key = run_dir / "key"
        self._console = run_dir / "console.log"
        self._port = _free_port()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._connections: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def boot(cls) -> Vm:
        """Make a disk, boot from it, and return when the host is up."""
        needs.check()
        vm = cls(_new_run_dir())
        try:
            vm._start()
            vm._await_boot()
        except BaseException:
            vm.stop()
            raise
        return vm

    def stop(self) -> None:
        """End the machine at once; nothing of it remains."""
        for process in (*self._connections.values(), self._qemu):
            if process is not None:
                process.kill()
                process.wait()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def __enter__(self) -> Vm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        image = disk.make(self.run_dir, self._key.with_suffix(".pub").read_text())
        kernel, initrd = disk.boot_files()
        options = (
            f"{_PROCESSOR} -machine q35 -m 2048 -nodefaults -no-user-config -no-reboot -display none "
            f"-serial file:{self._console} -kernel {kernel} -initrd {initrd} "
            f"-drive file={image},if=none,id=disk,format=raw,cache=unsafe -device virtio-blk-pci,drive=disk "
            f"-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22 "
            "-device virtio-net-pci,netdev=net,romfile="
        ).split()
        for address in GPUS:
            options += ["-device", f"virtio-gpu-pci,addr={address.rpartition(':')[2]}"]
        argv = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *options, "-append", _KERNEL]
        with (self.run_dir / "lock").open("w") as lock:
            # held by qemu alone: as long as it lives, so does this directory
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._qemu = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(lock.fileno(),)
            )

    def _await_boot(self) -> None:
        began = time.monotonic()
        try:
            self._connect("root", BOOT_TIMEOUT_SEC)
            state = self.run("systemctl", "is-system-running", "--wait", timeout_sec=BOOT_TIMEOUT_SEC, check=False)
        except TimeoutError as error:
            console = self._console.read_text(errors="replace")[-6000:] if self._console.exists() else ""
            raise BootFailed(f"{error}\n{console}") from error
        if state.stdout != "running\n":
            raise BootFailed(state.stdout + self.run("systemctl", "--failed", check=False).stdout)
        self.boot_sec = time.monotonic() - began
        # qemu has it open; so it is gone with qemu, whoever ends that
        (self.run_dir / "disk").unlink()

    # -- commands on the host

    def _connect(self, user: str, timeout_sec: float = RUN_TIMEOUT_SEC) -> list[str]:
        """Have a connection of this user's, through which all of his commands go; gives ssh's options for that."""
        socket_path = self.run_dir / user
        options = [*_SSH, "-i", str(self._key), "-p", str(self._port), f"-oControlPath={socket_path}"]
        deadline = time.monotonic() + timeout_sec
        while not socket_path.exists():
            if self._qemu is not None and self._qemu.poll() is not None:
                raise BootFailed("qemu ended")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no connection as {user}")
            if user not in self._connections or self._connections[user].poll() is not None:
                argv = ["setpriv", "--pdeathsig", "KILL", *options, "-MN", f"{user}@127.0.0.1"]
                self._connections[user] = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            time.sleep(_POLL_SEC)
        return options

    def popen(
        self,
        *argv: str,
        user: str = "root",
        stdin: Stream = subprocess.PIPE,
        stdout: Stream = None,
        stderr: Stream = None,
        terminal: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a command on the host, in a login session of the user's."""
        options = [*self._connect(user), "-t" if terminal else "-T", f"{user}@127.0.0.1", "--"]
        return subprocess.Popen([*options, shlex.join(argv)], stdin=stdin, stdout=stdout, stderr=stderr, text=True)

    def run(
        self,
        *argv: str,
        user: str = "root",
        stdin: str = "",
        timeout_sec: float = RUN_TIMEOUT_SEC,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host to its end, and capture what it says."""
        with self.popen(*argv, user=user, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(stdin, timeout_sec)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check and done.returncode:
            raise CommandFailed(done)
        return done

    def in_container(self, name: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as root in a running container, in a unit of the container's own."""
        return self.run("systemd-run", "-M", name, "--quiet", "--pipe", "--wait", "--", *argv, check=check)

    def write(self, path: str, text: str) -> None:
        """Write a file of the host."""
        self.run("sh", "-c", 'cat > "$0"', path, stdin=text)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_sec: float = RUN_TIMEOUT_SEC) -> None:
        """Wait until a condition holds that no event tells."""
        deadline = time.monotonic() + timeout_sec
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(_POLL_SEC)


def _new_run_dir() -> Path:
    """A directory for one machine, in place of those whose machine was killed."""
    base = cache_dir() / "vm-runs"
    with exclusive(base / "turn"):
        for lock in base.glob("*/lock"):
            with lock.open() as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
        return Path(tempfile.mkdtemp(dir=base))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def script(name: str, *arguments: str) -> Sequence[str]:
    """The command line that runs one of the programs beside this module, wherever that is needed."""
    return "python3", "-uc", (Path(__file__).parent / name).read_text(), *arguments
