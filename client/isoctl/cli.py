"""The table of verbs and the parser of the command line; argparse alone would cost a third of the start-up time."""

from isoctl.contract_generated import CHOICES, FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Value = bool | int | str | list[str]


class UsageError(Exception):
    """The command line is wrong; the text is one line, `verb` names the help that would tell more."""

    def __init__(self, text: str, verb: str = "") -> None:
        """Keep both."""
        self.text = text
        self.verb = verb
        super().__init__(text)


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
                yield Flag(key, kind, ("--no-" + word,), metavar, "the opposite", value=False)
            else:
                yield Flag(key, kind, spellings, metavar, doc)
        yield from self.own_flags
        yield HELP


class Request:
    """A parsed command line: verb, flags given (by key), operands, and the command for `run`."""

    __slots__ = ("command", "operands", "options", "verb")

    def __init__(self, verb: Verb) -> None:
        """Start with nothing given."""
        self.verb = verb
        self.options: dict[str, Value] = {}
        self.operands: list[str] = []
        self.command: list[str] = []


HELP = Flag("help", "b", ("-h", "--help"), "", "show this help")
JSON = Flag("json", "b", ("--json",), "", "print JSON, for programs")
QUIET = Flag("quiet", "b", ("-q", "--quiet"), "", "no progress, no warnings")
RUN_FLAGS = (
    Flag("detach", "b", ("-d", "--detach"), "", "do not wait; the app outlives isoctl, its output goes to `logs`"),
    Flag("terminal", "b", ("-t", "--terminal"), "", "give it a terminal even if output is redirected"),
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
        "Show what your apps wrote to a container's journal",
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
        "NAME [run|start|stop|restart]",
        "Explain whether you may do something, and by which rule",
        (("isoctl why blog", "may I run apps in it?"), ("isoctl why blog stop", "")),
        contract="explain",
        own_flags=(JSON,),
        counts=(1, 2),
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

COMPLETE = Verb("__complete", "KIND", "Names for the shell's completion", (), counts=(1, 1))


def find_verb(untrusted_name: str) -> Verb:
    """Give the verb of a name or alias; UsageError if there is none."""
    for verb in VERBS:
        if untrusted_name == verb.name or untrusted_name in verb.aliases:
            return verb
    if untrusted_name == COMPLETE.name:
        return COMPLETE
    message = f"no verb {untrusted_name!r}; `isoctl --help` lists them"
    raise UsageError(message)


def parse(verb: Verb, arguments: list[str]) -> Request:
    """Parse what follows the verb.

    Flags may stand anywhere before `--`, but with a verb that takes a command only before NAME: everything
    after it belongs to the command, one `--` directly after NAME aside. Raises UsageError.
    """
    request = Request(verb)
    spelled = {spelling: flag for flag in verb.flags() for spelling in flag.spellings}
    waiting = list(reversed(arguments))
    flags_may_follow = True
    while waiting:
        word = waiting.pop()
        if flags_may_follow and word == "--":
            flags_may_follow = False
        elif flags_may_follow and word.startswith("-") and word != "-":
            _take_flag(request, spelled, word, waiting)
        else:
            request.operands.append(word)
            if verb.command_follows:
                request.command = waiting[::-1]
                if request.command[:1] == ["--"]:
                    del request.command[0]
                break
    if "help" not in request.options:
        _check_count(request)
    return request


def _take_flag(request: Request, spelled: dict[str, Flag], word: str, waiting: list[str]) -> None:
    """Read one word that holds one long or several short flags, and the value after it if one is due."""
    if word.startswith("--"):
        name, has_value, value = word.partition("=")
        flag = _known(request, spelled, name)
        if flag.kind == "b":
            if has_value:
                message = f"{name} takes no value"
                raise UsageError(message, request.verb.name)
            request.options[flag.key] = flag.value
        else:
            _store(request, flag, name, value if has_value else _next_value(request, name, waiting))
        return
    letters = word[1:]
    while letters:
        name, letters = "-" + letters[0], letters[1:]
        flag = _known(request, spelled, name)
        if flag.kind == "b":
            request.options[flag.key] = flag.value
        else:
            _store(request, flag, name, letters or _next_value(request, name, waiting))
            return


def _known(request: Request, spelled: dict[str, Flag], name: str) -> Flag:
    """Give the flag of a spelling; UsageError if the verb has none such."""
    flag = spelled.get(name)
    if flag is None:
        where = "; flags of the command stand after NAME" if request.verb.command_follows else ""
        message = f"{request.verb.name} has no flag {name!r}{where}"
        raise UsageError(message, request.verb.name)
    return flag


def _next_value(request: Request, name: str, waiting: list[str]) -> str:
    """Take the word after a flag as its value."""
    if not waiting:
        message = f"{name} needs a value"
        raise UsageError(message, request.verb.name)
    return waiting.pop()


def _store(request: Request, flag: Flag, name: str, value: str) -> None:
    """Check a flag's value by its kind and keep it."""
    if flag.kind == "as":
        values = request.options.setdefault(flag.key, [])
        assert isinstance(values, list)
        values.append(value)
    elif flag.kind == "u":
        if not (value.isascii() and value.isdigit() and int(value) < 2**32):
            message = f"{name}: {value!r} is not a number"
            raise UsageError(message, request.verb.name)
        request.options[flag.key] = int(value)
    else:
        choices: dict[str, tuple[str, ...]] = {**CHOICES}
        if value not in choices.get(flag.key, (value,)):
            message = f"{name}: {value!r} is none of {', '.join(choices[flag.key])}"
            raise UsageError(message, request.verb.name)
        request.options[flag.key] = value


def _check_count(request: Request) -> None:
    """Refuse too few or too many operands."""
    least, most = request.verb.counts
    count = len(request.operands)
    if count < least or (most is not None and count > most):
        words = f"{request.verb.name} {request.verb.operands}".strip()
        if count < least:
            message = f"something is missing: isoctl {words}"
        elif most == 0:
            message = f"{request.verb.name} takes no operand, but {request.operands[0]!r} was given"
        else:
            message = f"too many operands: isoctl {words}"
        raise UsageError(message, request.verb.name)


def split_account(untrusted_name: str) -> tuple[str | None, str]:
    """Split `user@NAME` into account (None: not said) and container."""
    account, at, container = untrusted_name.rpartition("@")
    if not at:
        return None, container
    if not account or not container:
        message = f"{untrusted_name!r} is not USER@NAME"
        raise UsageError(message)
    return account, container
