"""What the keys of a policy do to real containers: instances, accounts, groups, limits, and what a reload ends."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.machine import Lab

BOB_UID = "1001"


@pytest.fixture(scope="module")
def host() -> Iterator[Lab]:
    with Lab.boot() as lab:
        yield lab


@contextmanager
def policy(lab: Lab, file: str, text: str) -> Iterator[None]:
    """Have another policy file for a while."""
    path = lab.host_path(f"/etc/isod/{file}")
    before = path.read_text() if path.exists() else None
    path.write_text(text)
    try:
        lab.run("isoctl", "reload")
        yield
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(before)
        lab.run("isoctl", "reload")


def copy_of_blog(lab: Lab, machine: str) -> None:
    lab.run("cp", "-a", "/var/lib/machines/blog", f"/var/lib/machines/{machine}")
    lab.host_path(f"/var/lib/machines/{machine}/etc/hostname").write_text(machine + "\n")
    # Where it says that /usr is the host's.
    lab.run("cp", "/etc/systemd/nspawn/blog.nspawn", f"/etc/systemd/nspawn/{machine}.nspawn")


def run(lab: Lab, *words: str, user: str = "alice") -> Any:
    return lab.run("isoctl", "run", *words, user=user, check=False)


def detach(lab: Lab, *words: str, user: str = "alice") -> str:
    return lab.run("isoctl", "run", "-d", *words, user=user).stdout.strip()


def running(lab: Lab, app_id: str, user: str = "root") -> bool:
    listed = json.loads(lab.run("isoctl", "ps", "--json", user=user).stdout)
    return app_id in [app["id"] for app in listed if app["running"]]


# -- one instance for each user


@pytest.fixture(scope="module")
def own_instances(host: Lab) -> Iterator[Lab]:
    for user in ("alice", "carol"):
        copy_of_blog(host, f"{user}-mine")
    with policy(host, "containers/mine.toml", 'users = ["alice", "carol"]\nunit = "container@%u-mine"\n'):
        yield host


def test_with_u_in_its_unit_a_container_is_each_users_own(own_instances: Lab) -> None:
    for user in ("alice", "carol"):
        done = run(own_instances, "mine", "sh", "-c", "id -un; uname -n", user=user)
        assert done.stdout.splitlines() == [user, f"{user}-mine"]
        assert json.loads(own_instances.run("isoctl", "status", "mine", "--json", user=user).stdout)
    own_instances.run("isoctl", "stop", "mine", user="alice")
    states = {
        user: own_instances.run("systemctl", "is-active", f"container@{user}-mine", check=False).stdout.strip()
        for user in ("alice", "carol")
    }
    assert states == {"alice": "inactive", "carol": "active"}


@pytest.mark.attack("C03")
def test_apps_in_a_users_own_instance_are_found_again_after_a_restart_of_isod(own_instances: Lab) -> None:
    app_id = detach(own_instances, "mine", "sleep", "600")
    own_instances.run("systemctl", "restart", "isod.service")
    own_instances.wait_for(lambda: running(own_instances, app_id, "alice"))
    own_instances.run("isoctl", "kill", app_id, user="alice")
    own_instances.wait_for(lambda: not running(own_instances, app_id, "alice"))
    codes = [
        record.get("ISOCTL_EXIT_SIGNAL") for record in own_instances.journal(ISOCTL_APP=app_id, ISOCTL_KIND="exit")
    ]
    assert codes == ["15"]


# -- what a reload takes away


def test_a_withdrawn_user_loses_his_apps_and_nobody_else_does(host: Lab) -> None:
    apps = {user: detach(host, "shared", "sleep", "600", user=user) for user in ("alice", "carol")}
    with policy(host, "containers/shared.toml", 'users = ["carol"]\n'):
        host.wait_for(lambda: not running(host, apps["alice"]))
        assert running(host, apps["carol"])
        assert "no container 'shared'" in run(host, "shared", "true").stderr
    host.run("isoctl", "kill", apps["carol"])


def test_a_withdrawn_root_grant_ends_what_ran_as_root_only(host: Lab) -> None:
    with policy(host, "containers/blog.toml", 'users = ["alice"]\n[grants]\nroot = "yes"\n'):
        as_root = detach(host, "root@blog", "sleep", "600")
        as_alice = detach(host, "blog", "sleep", "600")
        told = host.run("isoctl", "reload", "--dry-run").stdout
        assert told == ""
    host.wait_for(lambda: not running(host, as_root))
    assert running(host, as_alice)
    assert "policy grants no other account" in run(host, "root@blog", "true").stderr
    host.run("isoctl", "kill", as_alice)


def test_apps_of_a_deleted_policy_live_on_also_over_a_restart_of_isod(host: Lab) -> None:
    app_id = detach(host, "net", "sleep", "600")
    text = host.host_path("/etc/isod/containers/net.toml").read_text()
    with policy(host, "containers/net.toml", text):
        host.host_path("/etc/isod/containers/net.toml").unlink()
        host.run("isoctl", "reload")
        assert "no container 'net'" in run(host, "net", "true").stderr
        host.run("systemctl", "restart", "isod.service")
        host.wait_for(lambda: running(host, app_id, "alice"))
        assert "no container 'net'" in run(host, "net", "true").stderr
        host.run("isoctl", "kill", app_id, user="alice")
        host.wait_for(lambda: not running(host, app_id, "alice"))


def test_another_unit_for_a_container_is_used_from_the_reload_on(host: Lab) -> None:
    copy_of_blog(host, "moved")
    assert run(host, "blog", "uname", "-n").stdout == "blog\n"
    with policy(host, "containers/blog.toml", 'users = ["alice"]\nunit = "container@moved"\n'):
        assert run(host, "blog", "uname", "-n").stdout == "moved\n"
    assert run(host, "blog", "uname", "-n").stdout == "blog\n"


# -- accounts


@pytest.mark.attack("C09")
def test_without_a_user_namespace_no_app_runs_as_another_login_user_of_the_host(host: Lab) -> None:
    for container in ("blog", "priv"):
        host.start(container)
        host.in_container(container, "useradd", "-M", "-o", "-u", BOB_UID, "worker")
    text = 'users = ["alice"]\nuser = "worker"\n'
    with policy(host, "containers/blog.toml", text), policy(host, "containers/priv.toml", text):
        done = run(host, "blog", "id", "-un")
        assert done.returncode == 125
        assert "account 'worker' in container blog has uid 1001, which on the host is 'bob'" in done.stderr
        done = run(host, "priv", "sh", "-c", "echo $USER $(id -u)")
        assert (done.returncode, done.stdout) == (0, f"worker {BOB_UID}\n"), done.stderr


def test_an_account_of_a_service_is_nobodys_on_the_host(host: Lab) -> None:
    with policy(host, "containers/blog.toml", 'users = ["alice"]\n[grants]\nroot = "yes"\n'):
        done = run(host, "daemon@blog", "id", "-un")
    assert (done.returncode, done.stdout) == (0, "daemon\n"), done.stderr


@pytest.mark.attack("C09")
def test_another_account_with_uid_0_is_root(host: Lab) -> None:
    host.start("blog")
    host.in_container("blog", "useradd", "-M", "-o", "-u", "0", "toor")
    with policy(host, "containers/blog.toml", 'users = ["alice"]\nuser = "toor"\n'):
        done = run(host, "blog", "id", "-u")
    assert done.returncode == 125
    assert "policy grants no other account" in done.stderr


def test_a_member_of_a_group_is_a_user_by_what_the_kernel_says(host: Lab) -> None:
    host.run("groupadd", "developers")
    with policy(host, "containers/bobs.toml", 'groups = ["developers"]\n'):
        assert "no container 'bobs'" in run(host, "bobs", "true", user="mallory").stderr
        member = ("setpriv", "--reuid=mallory", "--regid=mallory", "--groups=developers", "--")
        done = host.run(*member, "isoctl", "status", "bobs", check=False)
        assert done.returncode == 0, done.stderr


# -- limits


def test_the_administrators_limits_hold_for_users_and_not_for_root(host: Lab) -> None:
    with policy(host, "isod.toml", "[limits]\napps = 1\nlogs = 1\n"):
        app_id = detach(host, "blog", "sleep", "600")
        done = run(host, "blog", "true")
        assert (done.returncode, done.stderr) == (
            125,
            "isoctl: limit reached: 1 apps of uid 1000 are running; end one\n",
        )
        for _ in range(2):
            assert run(host, "blog", "true", user="root").returncode == 0
        assert run(host, "shared", "true", user="carol").returncode == 0
        host.run("isoctl", "kill", app_id)
    assert run(host, "blog", "true").returncode == 0


@pytest.mark.attack("C15")
def test_launches_beyond_the_queue_are_refused_by_name(host: Lab) -> None:
    host.stop_container("blog")
    with policy(host, "isod.toml", "[limits]\nlaunches_starting = 1\nlaunches_queued = 2\n"):
        script = "for i in 1 2 3 4 5; do isoctl run blog true 2>&1 & done; wait"
        told = host.run("sh", "-c", script, user="alice").stdout.splitlines()
    assert (
        told
        == ["isoctl: limit reached: 3 launches of uid 1000 in container blog are under way; try again when one is done"]
        * 2
    )
