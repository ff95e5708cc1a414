"""X servers of containers that the host's systemd runs for a user: in the same sandbox that their own would make."""

import socket
from collections.abc import Awaitable, Callable, Sequence

from isod.core.container import Container
from isod.core.reconcile import Reconciler
from isod.core.sessions import Sessions
from isod.ports import Caller, HostUnits
from isod_contract.errors import ContainerGone, InvalidArgument, NoSession, NotGranted, StartFailed, UnsafeFd
from isod_contract.names import x_server_unit
from isod_contract.sandbox import Property, properties, x_server
from isod_contract.versions import numbers
from isod_kernel import untrusted_fds


class XServerUnits:
    """Starts and stops them for registered isod-sessions; what is run, and how, the caller has no say in."""

    def __init__(
        self,
        *,
        units: HostUnits,
        sessions: Sessions,
        reconciler: Reconciler,
        render_nodes: Callable[[Container], Sequence[str]],
        program: str,
        systemd_version: Callable[[], Awaitable[str]],
    ) -> None:
        """`program` is the path of isod-xserver; `render_nodes` gives the devices that a container is granted."""
        self._systemd_version = systemd_version
        self._units = units
        self._sessions = sessions
        self._reconciler = reconciler
        self._render_nodes = render_nodes
        self._program = program

    async def start(self, container: Container, caller: Caller, control: int | None) -> None:
        """Start the server of a container for the caller; owns the descriptor.

        Raises NoSession, NotGranted, ContainerGone, InvalidArgument, UnsafeFd; StartFailed where systemd does not.
        """
        try:
            self._check(container, caller)
            if control is None:
                raise InvalidArgument(argument="control", reason="is missing")
            if not _is_unix_socket(control):
                raise UnsafeFd(argument="control", reason="is not a UNIX socket")
            version = numbers(await self._systemd_version())[0]
            program = x_server(self._program, container.name, self._render_nodes(container))
            wanted = [*properties(program, systemd=version, by_host=True), *_for_user(caller.uid)]
            await self._units.start_transient(x_server_unit(container.name, caller.uid), wanted, (control,))
        except TimeoutError as error:
            raise StartFailed(container=container.name, reason=f"its X server: {error}") from None
        finally:
            if control is not None:
                untrusted_fds.close(control)

    async def stop(self, container: Container, caller: Caller) -> None:
        """Stop it; that there is none is no error. Raises NoSession."""
        self._check_session(caller)
        await self._units.stop(x_server_unit(container.name, caller.uid))

    def _check(self, container: Container, caller: Caller) -> None:
        self._check_session(caller)
        if container.guest is None:
            raise ContainerGone(container=container.name, reason="it does not run")
        if not self._reconciler.has_own_x_server(container, caller):
            raise NotGranted(resource="x11", container=container.name, reason="it has no X server of its own")

    def _check_session(self, caller: Caller) -> None:
        session = self._sessions.find(caller.uid)
        if session is None or session.caller.sender != caller.sender:
            raise NoSession(
                uid=caller.uid, reason="X servers are started for isod-session; RegisterSession comes first"
            )


def _for_user(uid: int) -> list[Property]:
    """Run it as the user, among what is theirs, and no longer than their login."""
    manager = f"user@{uid}.service"
    return [
        ("StandardInputFileDescriptor", "h", 0),
        ("User", "s", str(uid)),
        ("Slice", "s", f"user-{uid}.slice"),
        ("BindsTo", "as", [manager]),
        ("After", "as", [manager]),
    ]


def _is_unix_socket(fd: int) -> bool:
    """Tell it without a call that a file system could answer, since that may be the caller's, and never answer.

    The host's systemd holds what we give it, and closes it.
    """
    try:
        claimed = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
    except OSError:
        return False
    try:
        return claimed.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_UNIX
    finally:
        claimed.detach()
