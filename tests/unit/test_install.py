"""What `make install` puts where, without pip and without a network."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("install")
    for _ in range(2):  # the second is an upgrade
        subprocess.run(
            ["make", "--no-print-directory", "install", f"DESTDIR={tree}", "PREFIX=/usr"],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
    return tree


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/isoctl",
        "usr/libexec/isoctl",
        "usr/libexec/isod",
        "usr/libexec/isod-helper",
        "usr/libexec/isod-prepare",
        "usr/libexec/isod-session",
        "usr/lib/systemd/system/isod.service",
        "usr/lib/systemd/system/container@.service.d/50-isod.conf",
        "usr/lib/systemd/user/isod-session.service",
        "usr/lib/tmpfiles.d/isod.conf",
        "usr/share/dbus-1/system.d/org.isoctl1.conf",
        "usr/share/dbus-1/system-services/org.isoctl1.service",
        "usr/share/dbus-1/services/org.isoctl1.service",
    ],
)
def test_it_is_there(tree: Path, path: str) -> None:
    assert (tree / path).is_file()
    assert not re.search(r"@\w+dir@", (tree / path).read_text())


def test_nobody_but_root_can_write_what_runs_as_root(tree: Path) -> None:
    writable = [path for path in tree.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert writable == []


@pytest.mark.attack("C08")
def test_programs_do_not_look_where_their_caller_is(tree: Path) -> None:
    for program in (tree / "usr/libexec").iterdir():
        assert re.fullmatch(r"#!/usr/bin/python3 -IS?", program.read_text().splitlines()[0])
        assert os.access(program, os.X_OK)


def test_isoctl_passes_everything_on_to_the_program_proper(tree: Path, tmp_path: Path) -> None:
    front = (tree / "usr/bin/isoctl").read_text()
    proper = tmp_path / "isoctl"
    proper.write_text('#!/bin/sh\nprintf "<%s>" "$@"\ncat\n')
    proper.chmod(0o755)
    copy = tmp_path / "front"
    copy.write_text(front.replace("/usr/libexec/isoctl", str(proper)))
    done = subprocess.run(
        ["sh", copy, "run", "", "a  b", "$x", "*"], input="given", capture_output=True, text=True, check=True
    )
    assert done.stdout == "<run><><a  b><$x><*>given"


@pytest.mark.parametrize("stream", ["<", "1<", "2<"])
def test_isoctl_ends_with_a_code_of_its_own_if_a_stream_is_a_directory(tree: Path, stream: str) -> None:
    """Python itself ends with 1 and a dump, which a caller of `isoctl run` would take for the app's."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" run blog true {stream} /', tree / "usr/bin/isoctl"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert done.stderr.startswith("isoctl: ") or stream == "2<"


def test_everything_is_compiled(tree: Path) -> None:
    library = tree / "usr/lib/isoctl"
    sources = [path for path in library.rglob("*.py") if path.stat().st_size]
    compiled = {path.name.split(".")[0] for path in library.rglob("*.pyc")}
    assert {path.stem for path in sources} <= compiled


@pytest.mark.attack("C26")
@pytest.mark.parametrize("unit", ["isod.service", "isod-helper@.service"])
def test_services_are_confined(tree: Path, unit: str) -> None:
    """Peers measure 6.2 to 9.6 by the same tool; 1.5 is the design's aim."""
    path = tree / "usr/lib/systemd/system" / unit
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=15", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout[-2000:]


def test_isod_keeps_what_safe_paths_need(tree: Path) -> None:
    """With RestrictSUIDSGID=yes systemd's filter answers openat2 with ENOSYS."""
    settings = (tree / "usr/lib/systemd/system/isod.service").read_text().splitlines()
    assert not [line for line in settings if line.startswith(("RestrictSUIDSGID=yes", "RuntimeDirectory="))]


def test_uninstalling_leaves_nothing_but_what_is_anothers(tmp_path: Path) -> None:
    """F12: what stays behind, a drop-in above all, must not be what keeps a container from starting."""
    make = ["make", "--no-print-directory", f"DESTDIR={tmp_path}", "PREFIX=/usr"]
    subprocess.run([*make, "install"], cwd=REPOSITORY, check=True, capture_output=True)
    anothers = tmp_path / "usr/lib/systemd/system/container@.service.d/90-anothers.conf"
    anothers.write_text("")
    (tmp_path / "etc/isod").mkdir(parents=True)
    (tmp_path / "etc/isod/isod.toml").write_text("")
    subprocess.run([*make, "uninstall"], cwd=REPOSITORY, check=True, capture_output=True)
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == ["etc/isod/isod.toml", anothers.relative_to(tmp_path).as_posix()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["PREFIX=/opt/isoctl"], "PREFIX=/opt/isoctl is not where systemd and D-Bus look; take /usr/local or /usr"),
        (["PREFIX=/usr", "PYTHON=/opt/nothing/python3", "DESTDIR="], "there is no /opt/nothing/python3"),
    ],
)
def test_what_could_not_run_is_refused_in_a_line_before_anything_is_copied(
    tmp_path: Path, words: list[str], told: str
) -> None:
    """N19: it ended well, with units that nobody would ever read."""
    make = ["make", "--no-print-directory", "install", f"DESTDIR={tmp_path}", *words]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert told in next(line for line in done.stderr.splitlines() if line.startswith("make install: "))
    assert "Nothing was installed." in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["install", "enable", "uninstall"])
def test_users_are_told_in_a_line_that_it_takes_root(target: str) -> None:
    """N19: 500 lines of "Permission denied"."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*nobody, "make", "--no-print-directory", target, "PREFIX=/usr"],
        # a make of the tests' own is none of theirs
        env={"PATH": os.environ["PATH"]},
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1
    assert lines[0].startswith(f"make {target}: must run as root")


def test_a_distribution_may_have_places_of_its_own(tmp_path: Path) -> None:
    words = ["PREFIX=/own", "DBUSDIR=/own/bus", "POLKITDIR=/own/polkit", f"DESTDIR={tmp_path}"]
    subprocess.run(["make", "install", *words], cwd=REPOSITORY, check=True, capture_output=True)
    assert (tmp_path / "own/bus/org.isoctl1.conf").is_file()


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md"])
def test_what_an_installed_page_links_to_is_installed(tree: Path, page: str) -> None:
    """N29: the README in /usr/share/doc led nowhere."""
    documents = tree / "usr/share/doc/isoctl"
    links = re.findall(r"\]\(([^)#]+)\)", (documents / page).read_text())
    assert links
    assert [link for link in links if not link.startswith("http") and not (documents / link).exists()] == []


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
def test_uninstalling_leaves_nothing_that_is_ours(tmp_path: Path, prefix: str) -> None:
    """N19: with /usr/local the bus policy and the polkit actions lie elsewhere, and stayed."""
    make = ["make", "--no-print-directory", f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    for target in ("install", "uninstall"):
        subprocess.run([*make, target], cwd=REPOSITORY, check=True, capture_output=True)
    assert [path for path in tmp_path.rglob("*") if re.search("isoctl|isod|container@|nspawn@", path.name)] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
