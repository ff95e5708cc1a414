"""Bounds on what callers may send and on what isod holds for them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PerUid:
    """How much one user may have of something: the default, and what [limits] of isod.toml may say instead.

    uid 0 is held to `most`, since nothing may be without a bound. Whatever is over it is refused at once, by the error
    LimitExceeded.
    """

    default: int
    least: int
    most: int
    doc: str


# By the key in [limits]. Each is kept in one place: the calls by isod.bus.ratelimit, the launches by isod.core.queue,
# the apps by isod.core.launch, the prompts by isod.bus.prompts, the subscriptions by isod.bus.signals, the logs by
# isod.core.apps.
PER_UID = {
    # 256 `isoctl run` of one user at once, with about six calls each, pass without a refusal.
    "calls_burst": PerUid(2048, 16, 65536, "Calls at once after a time without any, and 1 KiB of lists for each."),
    "calls_per_sec": PerUid(100, 1, 10_000, "Calls in a second in the long run, and of lists 4 KiB for each."),
    "calls_open": PerUid(512, 16, 4096, "Calls that are not answered yet."),
    "launches_starting": PerUid(16, 1, 64, "Launches that are being started in one container at once."),
    "launches_queued": PerUid(256, 0, 4096, "Launches that wait for their turn in one container."),
    "apps": PerUid(1024, 1, 16384, "Apps that run or wait."),
    "subscriptions": PerUid(32, 1, 1024, "Subscribers to signals."),
    # at most, a third of the 48 calls to one service that the transport has out at once
    "prompts": PerUid(4, 1, 16, "Password prompts that are open."),
    "logs": PerUid(16, 1, 256, "Logs that are open in one container."),
}

# Descriptors that systemd keeps for isod while it is restarted, of all users together: below FileDescriptorStoreMax= of
# isod.service, beyond which systemd closes them without a word. The difference is for the sockets of displays.
STORED_FDS_MAX = 4000
ATTACHED_APPS_MAX = 3400
# Beyond that only for users who have few, so that those who have many leave the others some.
ATTACHED_APPS_RESERVED = 350
ATTACHED_APPS_FEW = 8

ARGV_STRINGS_MAX = 4096
ARGV_BYTES_MAX = 200 * 1024
ARGUMENT_BYTES_MAX = 128 * 1024 - 1
ENVIRONMENT_ENTRIES_MAX = 256
ENVIRONMENT_VALUE_BYTES_MAX = 32 * 1024
HINT_ENTRIES_MAX = 48
HINT_VALUE_BYTES_MAX = 1024
POLICY_HINTS_MAX = 32
PATH_BYTES_MAX = 4095

MESSAGE_FDS_MAX = 5
EXPOSED_ENTRIES_MAX = 64
X11_COOKIE_BYTES_MAX = 256

# Below a request of X11 without BIG-REQUESTS; larger texts are sent in parts, which is not done here.
CLIPBOARD_BYTES_MAX = 200 * 1024
CLIPBOARD_TIMEOUT_SEC = 3.0

APPLICATIONS_MAX = 1000
DESKTOP_ENTRY_BYTES_MAX = 64 * 1024

# Of one reply that lists apps or records, and of the command of each in it: a message has 256 KiB.
LIST_BYTES_MAX = 240 * 1024
LIST_COMMAND_CHARS_MAX = 256
LIST_APPS_OF_CONTAINER_MAX = 500

HISTORY_RECORDS_DEFAULT = 50
HISTORY_RECORDS_MAX = 1000
LOG_LINES_MAX = 10000

# A container may be hostile, so no launch waits longer for it than ten seconds: for its bus, from handshake to
# subscription and once it says that it has booted; for one call; and for all of the start of an app.
GUEST_CONNECT_TIMEOUT_SEC = 4.0
GUEST_CALL_TIMEOUT_SEC = 5.0
GUEST_START_TIMEOUT_SEC = 8.0
HOST_CALL_TIMEOUT_SEC = 25.0
# All of polkit's part of a call: whether a question is needed at all, which it knows at once, and the question.
POLKIT_TIMEOUT_SEC = 120.0
POLKIT_CHECK_TIMEOUT_SEC = 10.0
