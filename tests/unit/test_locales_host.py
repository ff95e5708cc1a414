"""The locales of a container, as the C library's own tool made them, and as an attacker would."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from isod.core.environment import with_known_locales
from isod.host.locales import locale_names


def names(root: Path) -> frozenset[str]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return locale_names(fd)
    finally:
        os.close(fd)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The place of the archive in an empty root."""
    place = tmp_path / "usr/lib/locale/locale-archive"
    place.parent.mkdir(parents=True)
    return place


@pytest.mark.skipif(not shutil.which("localedef"), reason="needs localedef of the C library")
def test_an_archive_of_the_c_librarys_own_tool_is_read(tmp_path: Path, archive: Path) -> None:
    subprocess.run(
        ["localedef", f"--prefix={tmp_path}", "-i", "POSIX", "-f", "UTF-8", "xx_YY.UTF-8"],
        check=False,
        capture_output=True,
    )
    assert archive.exists()
    (archive.parent / "C.utf8").mkdir()
    assert names(tmp_path) == {"xx_YY.utf8", "C.utf8"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x09\x01\x02\xde",
        b"\x09\x01\x02\xde" + b"\xff" * 52,
        b"\x09\x01\x02\xde" + bytes(4) + b"\x14\0\0\0" + b"\1\0\0\0" * 2 + b"\xff" * 12,
    ],
)
def test_a_broken_archive_names_nothing(tmp_path: Path, archive: Path, data: bytes) -> None:
    archive.write_bytes(data)
    assert names(tmp_path) <= {""}


@pytest.mark.attack("C02")
def test_what_is_no_file_is_not_read(tmp_path: Path, archive: Path) -> None:
    os.mkfifo(archive)
    assert names(tmp_path) == frozenset()
    archive.unlink()
    archive.symlink_to("/proc/self/mem")
    assert names(tmp_path) == frozenset()


def test_locales_that_are_not_there_are_left_out() -> None:
    variables = {
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "en_GB.utf8",
        "LC_ALL": "C.UTF-8",
        "LC_CTYPE": "fr_FR.UTF-8",
        "LANGUAGE": "fr:de",
        "TZ": "Mars",
    }
    known = frozenset({"C.utf8", "de_DE.utf8", "en_GB.utf8"})
    assert with_known_locales(variables, known) == {
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "en_GB.utf8",
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "fr:de",
        "TZ": "Mars",
    }
    assert with_known_locales({"LANGUAGE": "fr"}, known) == {}
    assert with_known_locales(variables, frozenset()) == variables
