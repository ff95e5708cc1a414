"""Bounds on what callers may send and on what isod holds for them."""

ARGV_STRINGS_MAX = 4096
ARGV_BYTES_MAX = 200 * 1024
ARGUMENT_BYTES_MAX = 128 * 1024 - 1
ENVIRONMENT_ENTRIES_MAX = 256
ENVIRONMENT_VALUE_BYTES_MAX = 32 * 1024
HINT_ENTRIES_MAX = 48
HINT_VALUE_BYTES_MAX = 1024
PATH_BYTES_MAX = 4095

MESSAGE_FDS_MAX = 4
EXPOSED_ENTRIES_MAX = 64
LAUNCHES_STARTING_PER_UID = 16
LAUNCHES_QUEUED_PER_UID = 256
APPS_PER_UID = 1024
SUBSCRIPTIONS_PER_UID = 32
PROMPTS_PER_UID = 4
LOGS_PER_UID = 16

# The most that [limits] of isod.toml may say. uid 0 is held to these alone, since nothing may be without a bound.
LAUNCHES_STARTING_MOST = 64
LAUNCHES_QUEUED_MOST = 4096
APPS_MOST = 16384
SUBSCRIPTIONS_MOST = 1024
PROMPTS_MOST = 16  # of the 48 calls to one service that the transport has out at once
LOGS_MOST = 256

APPLICATIONS_MAX = 1000
DESKTOP_ENTRY_BYTES_MAX = 64 * 1024

# Of one reply that lists apps or records, and of the command of each in it: a message has 256 KiB.
LIST_BYTES_MAX = 240 * 1024
LIST_COMMAND_CHARS_MAX = 256

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

# 256 `isoctl run` of one user at once, with about six calls each, pass without a refusal.
CALLS_BURST_PER_UID = 2048
CALLS_PER_SEC_PER_UID = 100.0
CALLS_OPEN_PER_UID = 512
