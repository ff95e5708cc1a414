"""Completion as a user gets it: the installed files, in the real shells, with the user's own containers and apps."""

from collections.abc import Iterator

import pytest

from lab.machine import Lab
from lab.terminal import Terminal

# where its own start-up files leave the shell, with a key that shows what is in the line now
ZSH = (
    "PS1='READY>'; autoload -Uz compinit; compinit -u -D; "
    "show() { zle -I; print -r -- \"<$BUFFER>\" }; zle -N show; bindkey '^T' show; print up-$((1+1))\r"
)


@pytest.fixture(scope="module")
def app_id(lab: Lab) -> Iterator[str]:
    started = lab.run("isoctl", "run", "--detach", "blog", "sleep", "600", user="alice").stdout.strip()
    yield started
    lab.run("isoctl", "kill", started, user="alice")


@pytest.fixture
def zsh(lab: Lab) -> Iterator[Terminal]:
    with lab.pty("zsh", "-f", "-i", user="alice", columns=200) as terminal:
        terminal.send(ZSH)
        terminal.read_until("up-2")
        yield terminal


def fish(lab: Lab, line: str, user: str = "alice") -> list[str]:
    """What fish offers at the end of a line, without the explanations."""
    shown = lab.run("fish", "-c", f"complete -C '{line}'", user=user)
    assert shown.stderr == ""
    return [offer.split("\t")[0] for offer in shown.stdout.splitlines()]


def test_fish_offers_verbs_flags_containers_and_apps(lab: Lab, app_id: str) -> None:
    assert fish(lab, "isoctl st") == ["start", "status", "stop"]
    assert fish(lab, "isoctl run bl") == ["blog"]
    assert fish(lab, "isoctl run --no-") == ["--no-login-shell", "--no-terminal"]
    assert "--since" in fish(lab, "isoctl history --")
    assert fish(lab, "isoctl history --det") == []
    assert app_id[:12] in fish(lab, "isoctl kill ")
    assert fish(lab, "isoctl run blog --no-such") == []


def test_fish_offers_bob_nothing_of_alices(lab: Lab, app_id: str) -> None:
    assert fish(lab, "isoctl run ", user="bob") == ["bobs"]
    assert fish(lab, "isoctl kill ", user="bob") == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("isoctl hist", "isoctl history "),
        ("isoctl run bl", "isoctl run blog "),
        ("isoctl enter bl", "isoctl enter blog "),
        ("isoctl run --no-l", "isoctl run --no-login-shell "),
        ("isoctl history --si", "isoctl history --since "),
        ("isoctl stop nodb", "isoctl stop nodbus "),
    ],
)
def test_zsh_completes_verbs_flags_and_containers(zsh: Terminal, typed: str, completed: str) -> None:
    zsh.send(f"{typed}\t\x14")
    zsh.read_until(f"<{completed}>")


def test_zsh_completes_apps(zsh: Terminal, app_id: str) -> None:
    zsh.send(f"isoctl kill {app_id[:5]}\t\x14")
    zsh.read_until(f"<isoctl kill {app_id[:12]} >")
