"""How much of everything one connection may use, and the sets of caps for our three kinds of bus."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A token bucket: `burst` messages at once, then `per_sec`."""

    burst: int
    per_sec: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Limits of one connection.

    `disconnect_on_violation` tells a peer whose messages reach us unchecked (a container's bus) from a broker that
    validates: the first is cut off when it breaks the protocol or a cap, the second only loses the message, since a
    disconnect would let one local user take the service off the bus.
    """

    max_message_bytes: int
    max_depth: int = 32
    max_values: int = 32_768  # decoded values in one body: bounds the time and memory that small bytes can cost
    max_fds: int = 16
    max_queue_bytes: int = MIB
    max_total_queue_bytes: int = 8 * MIB
    send_buffer_bytes: int | None = None  # what the kernel holds that the peer has not read; None: its default
    max_messages_per_turn: int = 32
    max_outstanding_calls: int = 64
    max_calls_per_destination: int = 48  # so that one silent service (polkit, waiting for a password) leaves room
    auth_timeout_sec: float = 10.0
    max_auth_line_bytes: int = 4 * KIB
    disconnect_on_violation: bool = False
    unsolicited: Rate | None = None  # calls, stray replies, and signals that no match asked for
    signals: Rate | None = None  # all signals


# dbus-daemon takes 4 KiB of a connection in a turn, and a turn of all connections may last a second: what the kernel
# holds by then can't be put behind the reply to another caller any more.
SYSTEM_BUS_CAPS = Caps(max_message_bytes=256 * KIB, send_buffer_bytes=4 * KIB)
SESSION_CAPS = Caps(max_message_bytes=256 * KIB)
CONTAINER_CAPS = Caps(
    max_message_bytes=MIB,
    max_queue_bytes=4 * MIB,
    auth_timeout_sec=5.0,
    disconnect_on_violation=True,
    unsolicited=Rate(burst=100, per_sec=10.0),
    # All units' changes come here, whoever watches them; one that nobody watches costs 45 us of processor time.
    signals=Rate(burst=10_000, per_sec=1_500.0),
)
