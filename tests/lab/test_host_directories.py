"""`-w` with directories of the host: those that a container sees are understood, others refused with a way out."""

import subprocess
from collections.abc import Iterator

import pytest

from lab.changes import kept
from lab.machine import Lab

SOURCE = "/home/alice/src/b c"


@pytest.fixture(params=["blog", "priv"])
def container(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container that has alice's sources elsewhere, and a part of them below the same name."""
    name: str = request.param
    lab.run("mkdir", "-p", f"{SOURCE}/deep", "/home/alice/src/same", "/home/alice/own", user="alice")
    lab.run("ln", "-sfn", SOURCE, "/home/alice/link", user="alice")
    path = f"/etc/systemd/nspawn/{name}.nspawn"
    shares = "Bind=/home/alice/src:/mnt/work\nBind=/home/alice/src/same:/home/alice/src/same\n"
    with kept(lab, path):
        file = lab.host_path(path)
        file.write_text(file.read_text().replace("[Files]\n", "[Files]\n" + shares))
        lab.run("systemctl", "restart", f"container@{name}")
        yield name
    lab.run("systemctl", "stop", f"container@{name}")


def pwd(lab: Lab, container: str, directory: str, cwd: str = "/home/alice") -> subprocess.CompletedProcess[str]:
    return lab.run(
        "isoctl", "run", "-w", directory, container, "sh", "-c", "pwd -P", user="alice", cwd=cwd, check=False
    )


def test_a_shared_directory_is_found_where_the_container_has_it(lab: Lab, container: str) -> None:
    """R-7, issue 13.4: `-w .` was refused, and a path of the host was looked for inside."""
    found = {
        (".", SOURCE): "/mnt/work/b c",
        ("deep", SOURCE): "/mnt/work/b c/deep",
        ("..", SOURCE): "/mnt/work",
        ("link", "/home/alice"): "/mnt/work/b c",
        (SOURCE, "/"): "/mnt/work/b c",
        ("/home/alice/link/../b c", "/"): "/mnt/work/b c",
        # The same name inside, where it is the same directory, is preferred.
        (".", "/home/alice/src/same"): "/home/alice/src/same",
        # What the container does not share is meant as a path inside.
        ("/tmp", SOURCE): "/tmp",
        ("/mnt/work/b c", "/"): "/mnt/work/b c",
        ("~", SOURCE): "/home/alice",
        # And /usr, which the lab shares with all of its containers.
        (".", "/usr/share"): "/usr/share",
    }
    for (directory, cwd), expected in found.items():
        done = pwd(lab, container, directory, cwd)
        assert (done.stdout, done.stderr, done.returncode) == (f"{expected}\n", "", 0), (directory, cwd)
    # A container that does not run yet is started first.
    lab.run("systemctl", "stop", f"container@{container}")
    assert pwd(lab, container, ".", SOURCE).stdout == "/mnt/work/b c\n"


def test_what_is_not_shared_is_said_with_a_way_out(lab: Lab, container: str) -> None:
    """Issue 13.4: it must not be taken for one of the same name, as /home/alice is."""
    for directory, cwd in ((".", "/home/alice/own"), (".", "/home/alice"), ("/home/alice/own", "/"), (".", "/tmp")):
        done = pwd(lab, container, directory, cwd)
        real = cwd if directory == "." else directory
        assert done.returncode == 125
        assert f"'{real}' of the host is not shared with container {container}; share it (Bind= in " in done.stderr
        assert done.stderr.count("\n") == 1
    done = pwd(lab, container, "nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--directory nosuch: No such file or directory; one inside begins with / or ~/" in done.stderr


@pytest.mark.attack("C02")
def test_what_is_mounted_over_a_share_is_not_the_share(lab: Lab, container: str) -> None:
    """Root inside hides a share: the app must not get what lies there in its place."""
    script = "mkdir -p /srv/x && mount -t tmpfs none '/mnt/work/b c' && mount --bind /etc /srv/x"
    lab.in_container(container, "sh", "-c", script)
    done = pwd(lab, container, ".", SOURCE)
    assert (done.returncode, done.stdout) == (125, "")
    assert "is not shared" in done.stderr
    # Nor does a mount of the container's own show a directory of the host that it was not given.
    assert "is not shared" in pwd(lab, container, ".", "/etc").stderr


@pytest.mark.attack("C30")
def test_directories_and_files_of_others_tell_nothing_by_being_there(lab: Lab, container: str) -> None:
    """Where alice has such names on the host, bob has a closed directory inside: what is in it is bob's to know."""
    for closed in ("/home/alice/closed", "/home/alice/src/closed"):
        lab.run("mkdir", "-p", f"{closed}/x", f"{closed}/y", user="alice")
        lab.in_container(container, "sh", "-c", f"install -d -m 700 -o bob {closed} && mkdir {closed}/x")
    answers = []
    for name in ("x", "y"):
        alone, shared = f"/home/alice/closed/{name}", f"/home/alice/src/closed/{name}"
        told = lab.run("isoctl", "run", "-e", f"V={alone}", container, "true", user="alice")
        done = (pwd(lab, container, alone, "/"), pwd(lab, container, shared, "/"), told)
        answers.append([(one.returncode, f"{one.stdout}{one.stderr}".replace(f"/{name}", "/?")) for one in done])
    assert answers[0] == answers[1]
    assert "is not shared with container" in answers[0][0][1]
    assert answers[0][1:] == [(0, "/mnt/work/closed/?\n"), (0, "")]
