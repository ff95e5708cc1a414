"""What a menu tells an account of files that it may not look at itself."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from desktop_root import Root, container_root, entry
from isod.ports import Account


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with container_root(tmp_path / "root") as made:
        yield made


@pytest.mark.attack("C30")
@pytest.mark.parametrize(("owner", "mode"), [(1001, 0o700), (0, 0o700), (1001, 0o750), (0, 0o701)])
def test_links_of_an_account_tell_it_nothing_of_closed_directories(root: Root, owner: int, mode: int) -> None:
    """Read with rights that the account lacks, bob's closed home was told to alice, file by file, and root's too."""
    closed = root.path / "home/closed"
    root.write("home/closed/share/applications/mail.desktop", entry("bob's mail", "bob-secret"))
    root.write("home/closed/run", "").chmod(0o755)
    root.write("home/closed/key", "").chmod(0o600)
    for path in (closed, *closed.rglob("*")):
        os.chown(path, owner, owner)
    closed.chmod(mode)
    own = root.path / "home/alice/.local/share/applications"
    own.mkdir(parents=True)
    (own / "file.desktop").symlink_to("/home/closed/share/applications/mail.desktop")
    (own / "directory").symlink_to("/home/closed/share/applications")
    (root.path / "home/alice/bin").symlink_to("/home/closed")
    names = ("run", "key", "absent")
    for name in names:
        (root.path / f"home/alice/{name}").symlink_to(f"/home/closed/{name}")
        for kind, program in (("path", f"/home/closed/{name}"), ("link", f"/home/alice/{name}"), ("word", name)):
            (own / f"{kind}-{name}.desktop").write_text(entry(f"{kind} {name}", TryExec=program))
    # What is there and what is not are told alike: shown, since the account is to find out itself.
    assert root.names() == sorted(f"{kind} {name}" for kind in ("path", "link", "word") for name in names)
    assert len(root.applications(Account("root", 0, 0, "/home/alice", "/bin/sh"))) > 0


def test_a_file_of_its_own_that_leads_to_root_s_is_read_where_it_may_be(root: Root) -> None:
    """NixOS and Home Manager have links to root's files in a home."""
    root.write("nix/store/abc/mail.desktop", entry("mail"))
    root.link("home/alice/.local/share/applications/mail.desktop", "/nix/store/abc/mail.desktop")
    root.link("home/alice/.nix-profile", "../../nix/var/profile")
    root.write("nix/var/profile/share/applications/other.desktop", entry("other"))
    assert root.names() == ["mail", "other"]
    (root.path / "nix/store/abc/mail.desktop").chmod(0o600)
    assert root.names() == ["other"]
