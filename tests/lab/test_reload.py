"""`isoctl reload` on a running host: what it tells before and after, and which file a mistake leaves in force."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.apps import apps, run_app, wait_for_state
from lab.changes import kept
from lab.machine import Lab


@pytest.fixture
def shared_policy(lab: Lab) -> Iterator[Path]:
    """The policy file of the container that alice and carol share; put back at the end."""
    path = "/etc/isod/containers/shared.toml"
    with kept(lab, path):
        yield lab.host_path(path)
    lab.run("isoctl", "reload")


def reload(lab: Lab, *flags: str) -> list[dict[str, Any]]:
    return list(json.loads(lab.run("isoctl", "reload", "--json", *flags, check=False).stdout))


def ends(changes: list[dict[str, Any]]) -> set[str]:
    return {change["app"] for change in changes if change.get("ends") and "app" in change}


def app_id(path: str) -> str:
    return path.rsplit("/", 1)[1]


def test_a_dry_run_lists_the_apps_that_the_reload_then_ends(lab: Lab, shared_policy: Path) -> None:
    hers, carols = (run_app(lab, user, "shared", "sleep", "4820") for user in ("alice", "carol"))
    waiting = lab.popen("isoctl", "run", "shared", "sleep", "4821", user="carol", stderr=subprocess.PIPE)
    with waiting:
        wait_for_state(lab, "alice", hers, "running")
        wait_for_state(lab, "carol", carols, "running")
        lab.wait_for(lambda: "4821" in str([app for app in apps(lab, "carol").values() if app["State"] == "running"]))
        of_carol = {app_id(path) for path, app in apps(lab, "carol").items() if app["Running"]}
        shared_policy.write_text('users = ["alice"]\n')
        told = reload(lab, "--dry-run")
        assert ends(told) == of_carol
        shown = lab.run("isoctl", "reload", "--dry-run").stdout.splitlines()
        assert "shared users: alice, carol -> alice (withdrawn)" in shown
        assert f"shared app: {app_id(carols)[:12]} of carol ends: sleep 4820" in shown
        # Nothing has happened yet.
        assert apps(lab, "carol")[carols]["State"] == "running"
        assert lab.run("isoctl", "run", "shared", "true", user="carol").returncode == 0
        assert ends(reload(lab)) == of_carol
        wait_for_state(lab, "carol", carols, "exited")
        assert apps(lab, "carol")[carols]["ExitSignal"] == signal.SIGTERM
        assert waiting.wait(20) == 143
    assert apps(lab, "alice")[hers]["State"] == "running"
    refused = lab.run("isoctl", "run", "shared", "true", user="carol", check=False)
    absent = lab.run("isoctl", "run", "absent", "true", user="carol", check=False)
    assert (refused.returncode, refused.stderr) == (125, absent.stderr.replace("absent", "shared"))
    assert reload(lab) == []
    lab.run("isoctl", "kill", app_id(hers), user="alice")


@pytest.mark.parametrize(
    ("text", "line", "about"),
    [
        ('users = ["alice"]\nusrs = ["bob"]\n', 2, "unknown key usrs"),
        ('users = ["alice"\n', 2, ""),
        ('users = ["alice"]\n\n[grants]\nx11 = "all"\n', 4, "x11"),
    ],
    ids=["unknown key", "not TOML", "unknown level"],
)
def test_a_broken_file_keeps_the_last_good_one_and_says_where(
    lab: Lab, shared_policy: Path, text: str, line: int, about: str
) -> None:
    carols = run_app(lab, "carol", "shared", "sleep", "4822")
    wait_for_state(lab, "carol", carols, "running")
    shared_policy.write_text(text)
    place = f"/etc/isod/containers/shared.toml:{line}: "
    for flags in (["--dry-run"], []):
        done = lab.run("isoctl", "reload", *flags, check=False)
        assert done.returncode == 1
        (said,) = done.stdout.splitlines()
        assert said.startswith(f"refused: {place}")
        assert about in said
    record = lab.journal(unit="isod.service", ISOCTL_KIND="policy")[-1]
    assert record["ISOCTL_OUTCOME"] == "refused"
    assert place in record["ISOCTL_ERROR"]
    check = lab.run("/usr/libexec/isod", "--check", check=False)
    assert (check.returncode, place in check.stderr) == (1, True)
    # The last good one is in force: for what runs, and for what is new.
    assert apps(lab, "carol")[carols]["State"] == "running"
    assert lab.run("isoctl", "run", "shared", "true", user="carol").returncode == 0
    lab.run("isoctl", "kill", app_id(carols), user="carol")


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_the_session_of_a_withdrawn_user_ends(lab: Lab, shared_policy: Path, how: str) -> None:
    """N28: it stayed, with their user manager and all that runs there, until the container stopped."""
    for user in ("alice", "carol"):
        lab.run("isoctl", "run", "shared", "true", user=user)
    lab.run("isoctl", "run", "shared", "systemd-run", "--user", "sleep", "4829", user="carol")

    def active(*units: str) -> list[str]:
        return lab.in_container("shared", "systemctl", "is-active", *units, check=False).stdout.split()

    carols = ("isoctl-session-1003.service", "user@1003.service")
    assert active(*carols) == ["active", "active"]
    shared_policy.write_text('users = ["alice"]\n')
    if how == "reload":
        shown = lab.run("isoctl", "reload", "--dry-run").stdout
        assert "shared session: the session of carol inside ends" in shown
        assert "of alice inside" not in shown
        assert active(*carols) == ["active", "active"]
        assert lab.run("isoctl", "reload").stdout == shown
    else:
        lab.run("systemctl", "restart", "isod")
    lab.wait_for(lambda: "active" not in active(*carols), 60, "the session of a withdrawn user stays")
    assert lab.journal(unit="isod.service", ISOCTL_KIND="session-end")[-1]["ISOCTL_ACCOUNT"] == "carol"
    assert lab.in_container("shared", "pgrep", "-f", "sleep 4829", check=False).returncode == 1
    assert active("isoctl-session-1000.service", "user@1000.service") == ["active", "active"]


def test_a_deleted_file_starts_nothing_new_and_ends_nothing(lab: Lab, shared_policy: Path) -> None:
    hers = run_app(lab, "alice", "shared", "sh", "-c", "echo deleted-later; exec sleep 4823")
    wait_for_state(lab, "alice", hers, "running")
    shared_policy.unlink()
    assert ends(reload(lab, "--dry-run")) == set()
    assert lab.run("isoctl", "reload").stdout == "shared container: present -> -\n"
    for user in ("alice", "carol", "root"):
        refused = lab.run("isoctl", "run", "shared", "true", user=user, check=False)
        assert (refused.returncode, "no container 'shared'" in refused.stderr) == (125, True)
        assert "shared" not in lab.run("isoctl", "list", user=user).stdout
    assert apps(lab, "alice")[hers]["State"] == "running"
    # Her app is hers still: to read, to end.
    lab.wait_for(lambda: "deleted-later" in lab.run("isoctl", "logs", app_id(hers), user="alice").stdout)
    lab.run("isoctl", "kill", app_id(hers), user="alice")
    wait_for_state(lab, "alice", hers, "exited")


def test_only_an_administrator_reloads(lab: Lab, shared_policy: Path) -> None:
    shared_policy.write_text('users = ["alice", "carol", "mallory"]\n')
    for user in ("alice", "mallory"):
        for flags in ([], ["--dry-run"]):
            done = lab.run("isoctl", "reload", *flags, user=user, check=False)
            assert done.returncode == 1
            assert done.stdout == ""
            # N23: it named polkit's reasons, and no way out.
            assert "as root by `sudo isoctl reload`" in done.stderr
    assert "shared" not in lab.run("isoctl", "list", user="mallory").stdout


def test_a_mistyped_name_is_told_by_reload_and_doctor(lab: Lab, shared_policy: Path) -> None:
    """N15: it passed --check, reload and doctor, and alice was told that there is no such container."""
    shared_policy.write_text('users = ["alcie", "carol"]\ngroups = ["nosuch"]\n')
    for flags in (["--dry-run"], []):
        told = lab.run("isoctl", "reload", *flags).stdout.splitlines()
        assert "shared users: this host has no user 'alcie', so that admits nobody" in told
        assert "shared groups: this host has no group 'nosuch', so that admits nobody" in told
    found = lab.run("isoctl", "doctor", check=False).stdout
    assert (
        "users of /etc/isod/containers/shared.toml: this host has no user 'alcie'; such a name admits nobody" in found
    )
    assert "[policy-no-account]" in found
    shared_policy.write_text("")
    assert "shared: names neither users nor groups, so only root may use it" in lab.run("isoctl", "reload").stdout


def test_a_refused_file_says_what_is_in_force_meanwhile(lab: Lab, shared_policy: Path) -> None:
    """N26: a reload that refused a file left open whether the old one or none held."""
    shared_policy.write_text("users = [alice]\n")
    done = lab.run("isoctl", "reload", check=False)
    said = 'not a value: write texts in quotes ("alice") and lists in brackets (["alice"])'
    kept_text = "what was read of it last stays in force"
    assert done.stdout == f"refused: /etc/isod/containers/shared.toml:1: {said}; {kept_text}\n"
    assert done.returncode == 1
    assert kept_text in lab.run("isoctl", "doctor", check=False).stdout
    assert lab.run("isoctl", "run", "shared", "true", user="carol").returncode == 0
