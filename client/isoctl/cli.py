"""The parser of the command line; argparse alone would cost a third of the start-up time."""

from isoctl.contract_generated import CHOICES
from isoctl.verbs import HIDDEN, VERBS, Flag, Verb

Value = bool | int | str | list[str]


class UsageError(Exception):
    """The command line is wrong; the text is one line, `verb` names the help that would tell more."""

    def __init__(self, text: str, verb: str = "") -> None:
        """Keep both."""
        self.text = text
        self.verb = verb
        super().__init__(text)


class Request:
    """A parsed command line: verb, flags given (by key), operands, and the command for `run`."""

    __slots__ = ("command", "operands", "options", "verb")

    def __init__(self, verb: Verb) -> None:
        """Start with nothing given."""
        self.verb = verb
        self.options: dict[str, Value] = {}
        self.operands: list[str] = []
        self.command: list[str] = []


def find_verb(untrusted_name: str) -> Verb:
    """Give the verb of a name or alias; UsageError if there is none."""
    for verb in (*VERBS, *HIDDEN):
        if untrusted_name == verb.name or untrusted_name in verb.aliases:
            return verb
    from isoctl.habits import of_verb

    meant = of_verb(untrusted_name)
    message = f"no verb {untrusted_name!r}; " + (f"`isoctl {meant}`?" if meant else "`isoctl --help` lists them")
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
        from isoctl.habits import of_flag

        if instead := of_flag(request.verb.name, name):
            message = f"{request.verb.name} has no flag {name!r}; {instead}"
            raise UsageError(message, request.verb.name)
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
