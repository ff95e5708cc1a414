"""What a problem with policy says beside the fact: what holds in its place, and the way out (N15, N26)."""

from pathlib import Path

import pytest

from policy_etc import Etc


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path / "isod")


def test_a_file_that_nobody_reads_is_named_unless_it_is_an_editors(etc: Etc) -> None:
    """N15: `blog`, `blog.conf` and `blog.toml~` were passed over in silence, and the container did not exist."""
    for name in ("blog", "web.conf", "shop.toml~", "mail.TOML", "mine.toml~", "my_own"):
        (etc.containers / name).write_text('users = ["alice"]\n')
    etc.write("mine", 'users = ["alice"]\n')
    said = "the name does not end with .toml, so nobody reads it"
    assert etc.problems() == [f"containers/{name}: {said}" for name in ("blog", "mail.TOML", "shop.toml~", "web.conf")]
    assert etc.load().problems[0].way_out == "rename it to blog.toml"
    assert [*etc.load().policy.containers] == ["mine"]


def test_each_problem_says_what_holds_now(etc: Etc) -> None:
    """N26: "refused" left open whether the old policy or none was in force."""
    etc.write("blog", 'users = ["alice"]\n')
    good = etc.load().policy
    etc.write("blog", "users = [alice]\n")
    etc.write("web", "users = [alice]\n")
    first, second = etc.load(good).problems
    assert first.effect == "what was read of it last stays in force"
    assert second.effect == "nothing of it is in force"
    assert etc.load().problems[0].effect == "nothing of it is in force"
    etc.write("isod", "x")
    assert etc.load(good).problems[0].effect == "what was read of it last stays in force"
    assert etc.load().problems[0].effect == "no policy is in force, so no container is there for users"


def test_a_link_is_called_a_link(etc: Etc, tmp_path: Path) -> None:
    """N26: "a symlink, or not what it must be"."""
    (etc.containers / "blog.toml").symlink_to("/etc/passwd")
    assert etc.problems() == ["containers/blog.toml: a symlink; put the file itself in its place"]
    (etc.containers / "blog.toml").unlink()
    etc.containers.rename(tmp_path / "moved")
    etc.containers.symlink_to(tmp_path / "moved")
    assert etc.problems() == ["containers: a symlink; put the directory itself in its place"]
    etc.containers.unlink()
    etc.containers.write_text("")
    assert etc.problems() == ["containers: not a directory"]
