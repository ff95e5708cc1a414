"""Variables as a file for systemd: written so that exactly these values are read, where nobody but root reads them."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.environment_file import content, why_not_passable
from isod.host.launch_files import SecretFiles
from isod_contract.errors import InvalidArgument, NoSpace, UnsafePath

pytestmark = pytest.mark.attack("C56")


def read_as_systemd_does(text: str) -> dict[str, str]:
    """Read as parse_env_file_internal() of systemd's src/basic/env-file.c reads what is in double quotes."""
    found: dict[str, str] = {}
    rest = text
    while rest:
        name, _, rest = rest.partition('="')
        value = ""
        while not rest.startswith('"'):
            if rest[0] == "\\":
                value += rest[1] if rest[1] in '"\\`$' else "" if rest[1] == "\n" else rest[:2]
                rest = rest[2:]
            else:
                value, rest = value + rest[0], rest[1:]
        assert rest.startswith('"\n')
        found[name], rest = value, rest[2:]
    return found


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
VALUES = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\"'\\$`\n\t #;=")))


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_a4_systemd_reads_what_was_written_or_it_is_refused_by_name(variables: dict[str, str]) -> None:
    refused = [name for name, value in variables.items() if why_not_passable(value)]
    if refused:
        with pytest.raises(InvalidArgument, match=f"environment: {refused[0]} holds"):
            content(variables)
    else:
        assert read_as_systemd_does(content(variables).decode()) == variables


@pytest.mark.parametrize("value", ["\x1b[1m", "a\rb", "\x7f", "\x00", "\udcff", "\ufffe", "\ufdd0", "\U0010ffff"])
def test_what_systemd_would_drop_and_quote_in_its_journal_is_refused_by_name_and_not_quoted(value: str) -> None:
    with pytest.raises(InvalidArgument, match=r"environment: TOKEN holds U\+[0-9A-F]{4,6}, which systemd") as caught:
        content({"FINE": "x", "TOKEN": f"secret{value}"})
    assert "secret" not in str(caught.value)


@pytest.fixture
def run_fd(tmp_path: Path) -> int:
    directory = tmp_path / "blog/run"
    directory.mkdir(parents=True)
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def test_a_file_is_the_containers_roots_alone_and_gone_afterwards(tmp_path: Path, run_fd: int) -> None:
    files, owner = SecretFiles(tmp_path), os.geteuid()
    place = tmp_path / "blog/run/launch/id"
    with files.hold(run_fd, "blog", "id", b"data", owner):
        status = place.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, place.read_bytes()) == (0o600, owner, b"data")
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        files.sweep(())
        assert place.exists()
    assert not place.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(run_fd)


def test_what_an_earlier_isod_left_is_swept_but_for_what_is_being_started(tmp_path: Path, run_fd: int) -> None:
    os.close(run_fd)
    launch = tmp_path / "blog/run/launch"
    launch.mkdir()
    (launch / "left").touch()
    (launch / "starting").touch()
    (tmp_path / "without").mkdir()
    SecretFiles(tmp_path).sweep({"starting"})
    assert [path.name for path in launch.iterdir()] == ["starting"]
    SecretFiles(tmp_path / "absent").sweep(())


@pytest.mark.parametrize("trap", ["a link for the directory", "a link for the file", "a directory for the file"])
def test_what_root_inside_plants_there_is_refused_and_followed_by_nobody(
    tmp_path: Path, run_fd: int, trap: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    launch = tmp_path / "blog/run/launch"
    if trap == "a link for the directory":
        launch.symlink_to(outside)
    else:
        launch.mkdir()
        (launch / "id").symlink_to(outside / "id") if "link" in trap else (launch / "id").mkdir()
    with (
        pytest.raises(UnsafePath, match="/run/isoctl/launch"),
        SecretFiles(tmp_path).hold(run_fd, "blog", "id", b"data", os.geteuid()),
    ):
        pass
    assert list(outside.iterdir()) == []


def test_a_full_directory_is_told_as_that(run_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchown", full)
    with pytest.raises(NoSpace), SecretFiles(tmp_path).hold(run_fd, "blog", "id", b"data", 7):
        pass
