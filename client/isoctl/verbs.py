"""The table of verbs: names, operands, flags, help; completion and the manual are made of it."""

from isoctl.contract_generated import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Flag:
    """One flag: wire key or own name, spellings, kind (`b` switch, `s` text, `as` repeated, `u` number, `t` time)."""

    __slots__ = ("doc", "key", "kind", "metavar", "spellings", "value")

    def __init__(
        self, key: str, kind: str, spellings: tuple[str, ...], metavar: str, doc: str, *, value: bool = True
    ) -> None:
        """Declare a flag; `value` is what a switch sets."""
        self.key = key
        self.kind = kind
        self.spellings = spellings
        self.metavar = metavar
        self.doc = doc
        self.value = value


class Verb:
    """One verb: names, what it takes, what it says of itself, the flags of the contract and its own."""

    __slots__ = (
        "aliases",
        "command_follows",
        "contract",
        "counts",
        "examples",
        "name",
        "operands",
        "own_flags",
        "summary",
    )

    def __init__(
        self,
        name: str,
        operands: str,
        summary: str,
        examples: tuple[tuple[str, str], ...],
        *,
        aliases: tuple[str, ...] = (),
        contract: str = "",
        own_flags: tuple[Flag, ...] = (),
        command_follows: bool = False,
        counts: tuple[int, int | None] = (0, 0),
    ) -> None:
        """Declare a verb; `counts` is the least and greatest number of operands, None without a bound."""
        self.name = name
        self.aliases = aliases
        self.operands = operands
        self.summary = summary
        self.examples = examples
        self.contract = contract
        self.own_flags = own_flags
        self.command_follows = command_follows
        self.counts = counts

    def flags(self) -> "Iterator[Flag]":
        """Give all flags, those of the contract first."""
        for key, kind, spellings, metavar, doc in FLAGS.get(self.contract, ()):
            if spellings[0].startswith("--[no-]"):
                word = spellings[0].removeprefix("--[no-]")
                yield Flag(key, kind, ("--" + word,), metavar, doc)
                yield Flag(key, kind, ("--no-" + word,), metavar, _SWITCHED_OFF[key], value=False)
            else:
                yield Flag(key, kind, spellings, metavar, _SAID.get(key, doc))
        yield from self.own_flags
        yield HELP


# What switches of the contract do that are set to false.
_SWITCHED_OFF = {"login-shell": "start the program itself, so that no profile applies"}
# Where isoctl takes something else than what travels.
_SAID = {"since-usec": "only what is from then on: 30s, 10m, 2h or 3d ago, today, or @SECONDS since 1970"}
HELP = Flag("help", "b", ("-h", "--help"), "", "show this help")
JSON = Flag("json", "b", ("--json",), "", "print JSON, for programs")
QUIET = Flag("quiet", "b", ("-q", "--quiet"), "", "no progress, no warnings")
RUN_FLAGS = (
    Flag("detach", "b", ("-d", "--detach"), "", "do not wait for its end; it outlives isoctl, and writes to `logs`"),
    Flag(
        "terminal",
        "b",
        ("-t", "--terminal"),
        "",
        "give it a terminal (/dev/tty) whatever is redirected, which stays so",
    ),
    Flag("no-terminal", "b", ("-T", "--no-terminal"), "", "never give it a terminal"),
    QUIET,
)

VERBS = (
    Verb(
        "run",
        "[USER@]NAME [--] COMMAND [ARGUMENT...]",
        "Run a command in a container, starting the container first if need be",
        (
            ("isoctl run blog idea-community", "an app that only the container has"),
            ("isoctl run blog -- ls -la /etc", "everything after the name is the command"),
            ("seq 100 | isoctl run blog sort -n | tail -1", "in the middle of a pipe"),
            ("isoctl run -e LANG=C -w /srv blog make", "flags of isoctl stand before the name"),
            ("isoctl run -d blog syncthing", "start it and leave it running"),
            ("isoctl run root@blog apt update", "as another account, where policy grants it"),
        ),
        aliases=("exec",),
        contract="run",
        own_flags=RUN_FLAGS,
        command_follows=True,
        counts=(1, 1),
    ),
    Verb(
        "shell",
        "[USER@]NAME",
        "Open the account's login shell in a container",
        (
            ("isoctl shell blog", "leave it with Ctrl-D or `exit`"),
            ("isoctl shell root@blog", "as root, where policy grants it"),
        ),
        aliases=("enter",),
        contract="run",
        own_flags=(RUN_FLAGS[1], RUN_FLAGS[2], QUIET),
        counts=(1, 1),
    ),
    Verb(
        "menu",
        "[NAME]",
        "Choose an application of a container in your launcher, and start it",
        (
            ("isoctl menu blog", "for a key binding; needs fuzzel, wofi, rofi, tofi, bemenu or dmenu"),
            ("isoctl menu", "choose the container first"),
        ),
        own_flags=(QUIET,),
        counts=(0, 1),
    ),
    Verb(
        "clipboard",
        "copy|paste NAME",
        "Copy text out of X programs of a container, or paste yours into them; nothing else moves it",
        (
            ("isoctl clipboard copy blog", "what an X program of blog has copied becomes your clipboard"),
            ("isoctl clipboard paste blog", "your clipboard becomes that of blog's X programs"),
        ),
        counts=(2, 2),
    ),
    Verb(
        "list",
        "",
        "List the containers that you may use",
        (("isoctl list", ""), ("isoctl list --json | jq -r '.[].name'", "names only")),
        aliases=("ls",),
        own_flags=(JSON,),
    ),
    Verb(
        "status",
        "[NAME]",
        "Show isod, or one container: state, grants, what of the host is reachable in it, apps",
        (("isoctl status", ""), ("isoctl status blog", "")),
        own_flags=(JSON,),
        counts=(0, 1),
    ),
    Verb(
        "start",
        "NAME...",
        "Start containers and wait until they are ready",
        (("isoctl start blog", "`run` does this by itself"),),
        contract="container",
        own_flags=(QUIET,),
        counts=(1, None),
    ),
    Verb(
        "stop",
        "NAME...",
        "Stop containers and all that runs in them",
        (("isoctl stop blog", ""), ("isoctl stop --force blog", "even if another user's app runs in it")),
        contract="container",
        own_flags=(QUIET,),
        counts=(1, None),
    ),
    Verb(
        "restart",
        "NAME...",
        "Stop containers and start them again",
        (("isoctl restart blog", ""),),
        contract="container",
        own_flags=(QUIET,),
        counts=(1, None),
    ),
    Verb(
        "grant",
        "NAME RESOURCE=VALUE...",
        "Grant devices of the host to a running container, until it stops; asks an administrator",
        (
            ("isoctl grant blog gpu=render", "the render nodes of all graphics processors"),
            ("isoctl grant blog gpu=0000:01:00.0", "of one, by its PCI address"),
            ("isoctl grant blog 'devices=SUBSYSTEM=hidraw ID_VENDOR_ID=1050'", "a security key"),
        ),
        own_flags=(QUIET,),
        counts=(2, None),
    ),
    Verb(
        "revoke",
        "NAME RESOURCE...",
        "Take back what was granted to a running container; what a program has open it keeps until it ends",
        (("isoctl revoke blog gpu", ""),),
        own_flags=(QUIET,),
        counts=(2, None),
    ),
    Verb(
        "ps",
        "[NAME]",
        "List your apps",
        (("isoctl ps", ""), ("isoctl ps blog", "only those in one container")),
        own_flags=(JSON,),
        counts=(0, 1),
    ),
    Verb(
        "top",
        "[NAME...]",
        "Show processor time and memory of your apps, refreshed every 2 seconds until Ctrl-C",
        (("isoctl top", ""), ("isoctl top --once blog", "print once and end")),
        own_flags=(Flag("once", "b", ("--once",), "", "print once and end"), JSON),
        counts=(0, None),
    ),
    Verb(
        "kill",
        "APP...",
        "Send a signal to all processes of an app",
        (
            ("isoctl kill 3f2a", "the start of an ID that `isoctl ps` shows"),
            ("isoctl kill blog/3f2a", "the same, if it is in blog"),
            ("isoctl kill -s KILL 3f2a", ""),
        ),
        own_flags=(Flag("signal", "s", ("-s", "--signal"), "SIGNAL", "name or number; default TERM"),),
        counts=(1, None),
    ),
    Verb(
        "logs",
        "NAME|APP",
        "Show what apps that you started with -d wrote; others write to the terminal or file that you gave them",
        (
            ("isoctl logs -f blog", "go on as lines are written"),
            ("isoctl logs -n 20 3f2a", "the last lines of one app"),
            ("isoctl logs --since 10m blog", "the last ten minutes"),
        ),
        contract="log",
        counts=(1, 1),
    ),
    Verb(
        "history",
        "[NAME]",
        "Show what you asked of isod, and what it answered",
        (("isoctl history", ""), ("isoctl history -n 5 --since today blog", "")),
        contract="history",
        own_flags=(JSON,),
        counts=(0, 1),
    ),
    Verb(
        "why",
        "NAME [run|start|stop|restart|grant|revoke]",
        "Explain whether you may do something, and by which rule",
        (("isoctl why blog", "may I run apps in it?"), ("isoctl why blog stop", "")),
        contract="explain",
        own_flags=(JSON,),
        counts=(1, 2),
    ),
    Verb(
        "doctor",
        "[NAME]",
        "Say what is wrong with this host, and with a container, and the setting or command that ends it",
        (
            ("isoctl doctor", "exits with 1 if anything is wrong"),
            ("isoctl doctor blog", "a container too; more of it if it runs"),
        ),
        own_flags=(JSON,),
        counts=(0, 1),
    ),
    Verb(
        "exposure",
        "NAME",
        "Measure what an app in a container can reach of the host, the worst first, with the setting that closes it",
        (
            ("isoctl exposure blog", "runs a probe in it, as an app of yours; starts it if need be"),
            ("isoctl exposure --json blog | jq -r '.exposures[].code'", "for programs"),
        ),
        own_flags=(JSON,),
        counts=(1, 1),
    ),
    Verb(
        "reload",
        "",
        "Have isod read its policy again",
        (("isoctl reload --dry-run", "what would change, and what it would end"), ("isoctl reload", "")),
        contract="reload",
        own_flags=(JSON,),
    ),
)

# For programs alone.
HIDDEN = (
    Verb("__complete", "KIND", "Names for the shell's completion", (), counts=(1, 1)),
    Verb("__terminal", "TOKEN", "What a terminal was opened for", (), counts=(1, 1)),
)
