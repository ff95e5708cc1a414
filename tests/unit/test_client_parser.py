"""isoctl's command line: where flags end and the command begins, and what is refused."""

import pytest

from isoctl import cli, help_text
from isoctl.verbs import VERBS
from isod_contract import options


def parse(*words: str) -> cli.Request:
    return cli.parse(cli.find_verb(words[0]), list(words[1:]))


@pytest.mark.parametrize(
    ("words", "container", "command"),
    [
        (["blog", "idea-community"], "blog", ["idea-community"]),
        (["blog", "--", "ls", "-la"], "blog", ["ls", "-la"]),
        (["blog", "ls", "-q", "--help", "-e"], "blog", ["ls", "-q", "--help", "-e"]),
        (["--", "blog", "ls"], "blog", ["ls"]),
        (["--", "blog", "--", "--", "x"], "blog", ["--", "x"]),
        (["blog", "--", ""], "blog", [""]),
        (["-q", "root@blog", "x", "--", "y"], "root@blog", ["x", "--", "y"]),
        (["blog"], "blog", []),
    ],
)
def test_everything_after_the_name_is_the_command(words: list[str], container: str, command: list[str]) -> None:
    request = parse("run", *words)
    assert (request.operands, request.command) == ([container], command)


def test_flags_in_all_their_spellings() -> None:
    request = parse(
        "exec", "-qd", "-eA=1", "-e", "B", "--env=C=x=y", "--env", "D=", "-w", "/srv", "-uroot", "blog", "x"
    )
    assert request.options == {
        "quiet": True,
        "detach": True,
        "environment": ["A=1", "B", "C=x=y", "D="],
        "directory": "/srv",
        "user": "root",
    }
    assert parse("run", "--login-shell", "--no-login-shell", "blog", "x").options == {"login-shell": False}


def test_flags_of_other_verbs_may_follow_the_name() -> None:
    request = parse("logs", "blog", "-f", "-n", "20")
    assert (request.operands, request.options) == (["blog"], {"follow": True, "lines": 20})


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "-e"],
        ["run", "--env"],
        ["run", "--nosuch", "blog", "x"],
        ["run", "-z", "blog", "x"],
        ["run", "--quiet=yes", "blog", "x"],
        ["run", "--display=perhaps", "blog", "x"],
        ["run", "--directo", "/", "blog", "x"],
        ["list", "blog"],
        ["logs"],
        ["logs", "-n", "many", "blog"],
        ["logs", "-n", "-1", "blog"],
        ["logs", "-n", "4294967296", "blog"],
        ["logs", "a", "b"],
        ["why", "blog", "run", "x"],
        ["kill"],
        ["nosuch"],
        [""],
    ],
)
def test_what_is_wrong_is_refused(words: list[str]) -> None:
    with pytest.raises(cli.UsageError) as refusal:
        parse(*words)
    assert "\n" not in refusal.value.text


def test_accounts() -> None:
    assert cli.split_account("blog") == (None, "blog")
    assert cli.split_account("alice@blog") == ("alice", "blog")
    for wrong in ("@blog", "alice@", "@"):
        with pytest.raises(cli.UsageError):
            cli.split_account(wrong)


def test_every_verb_is_complete() -> None:
    names = [name for verb in VERBS for name in (verb.name, *verb.aliases)]
    assert len(names) == len(set(names))
    for verb in VERBS:
        module = __import__(f"isoctl.commands.{verb.name}", fromlist=["execute"])
        assert callable(module.execute)
        assert verb.examples, verb.name
        spellings = [spelling for flag in verb.flags() for spelling in flag.spellings]
        assert len(spellings) == len(set(spellings)), verb.name
        page = help_text.of_verb(verb)
        assert all(spelling in page for spelling in spellings)


def test_examples_parse() -> None:
    """`--help` teaches nothing that isoctl itself refuses."""
    for verb in VERBS:
        for line, _ in verb.examples:
            words = line[line.index("isoctl") :].split("|")[0].split()
            assert parse(*words[1:]).verb is verb


def test_every_option_of_the_contract_that_has_a_flag_is_offered() -> None:
    offered = {spelling for flag in cli.find_verb("run").flags() for spelling in flag.spellings}
    for wire in options.wire_options(options.RunOptions).values():
        for flag in wire.flags:
            assert flag.replace("[no-]", "") in offered


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "-it", "blog", "bash"], "run has no flag '-i'; leave it out: standard input is always connected"),
        (["run", "--rm", "blog", "bash"], "run has no flag '--rm'; leave it out: an app leaves nothing to remove"),
        (["exec", "--tty", "blog", "x"], "run has no flag '--tty'; it is -t here"),
        (["run", "-v", "/a:/b", "blog", "x"], "run has no flag '-v'; directories are settings of the container"),
        (["run", "--name=blog", "x"], "run has no flag '--name'; the name of the container stands alone"),
        (["shell", "-M", "blog"], "shell has no flag '-M'; the name of the container stands alone"),
        (["attach", "blog"], "no verb 'attach'; `isoctl shell`?"),
        (["statsu"], "no verb 'statsu'; `isoctl status`?"),
        (["frobnicate"], "no verb 'frobnicate'; `isoctl --help` lists them"),
    ],
)
def test_habits_of_other_tools_are_answered_with_what_isoctl_has(words: list[str], says: str) -> None:
    """N11: of docker, podman, machinectl."""
    with pytest.raises(cli.UsageError) as refusal:
        parse(*words)
    assert refusal.value.text.startswith(says)
