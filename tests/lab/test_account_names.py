"""Accounts as useradd, directories and systemd-homed name them: the same on the host, in policy and inside (N3)."""

from collections.abc import Iterator

import pytest

from lab.changes import kept
from lab.machine import Lab

TABLES = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
ACCOUNTS = {
    "anna.maria": 1500,
    "Karl": 1501,
    "alice@corp.example": 1502,
    "CORP\\alice": 1503,
    "v" * 40: 1504,
    "jörg": 1505,
    "_apps-2": 1506,
    "far": 70000,
}
CONTAINERS = ("blog", "priv")

# accounts are made on the host, and put back
pytestmark = pytest.mark.breaks("host-files")


@pytest.fixture(scope="module")
def named(lab: Lab) -> Iterator[Lab]:
    """Everybody has an account on the host and, with the same number, in a container of each kind."""
    files = [f"/etc/{name}" for name in TABLES]
    for container in CONTAINERS:
        lab.start(container)
        files += [f"/var/lib/machines/{container}/etc/{name}" for name in TABLES]
        files.append(f"/etc/isod/containers/{container}.toml")
    users = ", ".join(f"'{name}'" for name in ACCOUNTS)
    with kept(lab, *files):
        for name, uid in ACCOUNTS.items():
            line = f"{name}:x:{uid}:{uid}::/tmp:/bin/bash\n"
            group = f"{name}:x:{uid}:\n"
            for root in ("", *(f"/var/lib/machines/{container}" for container in CONTAINERS)):
                for table, entry in (("passwd", line), ("group", group), ("shadow", f"{name}:!:20000:0:99999:7:::\n")):
                    path = lab.host_path(f"{root}/etc/{table}")
                    path.write_text(path.read_text() + entry)
        for container in CONTAINERS:
            lab.host_path(f"/etc/isod/containers/{container}.toml").write_text(
                f"users = ['alice', {users}]\n[grants]\nroot = \"yes\"\n"
            )
        assert "refused" not in lab.run("isoctl", "reload").stdout
        yield lab
        for container in CONTAINERS:
            lab.stop_container(container)
    lab.run("isoctl", "reload")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", [name for name in ACCOUNTS if name != "far"], ids=ascii)
def test_one_runs_apps_under_the_name_that_the_host_gave_them(named: Lab, name: str, container: str) -> None:
    """N3, N-3: "has no account 'Karl'", though `id Karl` worked there."""
    done = named.run(
        "isoctl", "run", container, "sh", "-c", 'id -un; id -u; printf "%s\\n" "$USER"', user=name, check=False
    )
    assert (done.stderr, done.stdout) == ("", f"{name}\n{ACCOUNTS[name]}\n{name}\n")
    assert named.run("isoctl", "doctor", container, user=name, check=False).stdout == "nothing wrong found\n"


@pytest.mark.parametrize("name", ["anna.maria", "alice@corp.example", "CORP\\alice"])
def test_one_can_be_asked_for_by_name(named: Lab, name: str) -> None:
    """N3, N-3: "user: is not the name of an account". In a user namespace, where another user's number is nobody's."""
    done = named.run("isoctl", "run", f"{name}@priv", "id", "-un", user="alice", check=False)
    assert (done.stderr, done.stdout) == ("", f"{name}\n")


def test_a_number_beyond_the_user_namespace_is_named_before_the_start(named: Lab) -> None:
    """Directories give numbers far above 65535; a namespace of systemd-nspawn's ends there."""
    assert named.run("isoctl", "run", "blog", "id", "-u", user="far").stdout == "70000\n"
    done = named.run("isoctl", "run", "priv", "id", "-u", user="far", check=False)
    assert done.returncode != 0
    assert "account 'far' in container priv has uid 70000, and its user namespace ends at 65535" in done.stderr
    assert "`user`" in done.stderr


@pytest.mark.parametrize("name", ["anna.maria", "CORP\\alice", "jörg"], ids=ascii)
def test_doctors_command_makes_an_account_of_such_a_name(named: Lab, name: str) -> None:
    """N3: it told to `useradd` what was there, and wrote users.users.anna.maria for NixOS."""
    tables = [f"/var/lib/machines/blog/etc/{table}" for table in TABLES]
    with kept(named, *tables):
        for path in tables[:4]:
            file = named.host_path(path)
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith(f"{name}:")))
        said = named.run("isoctl", "doctor", "blog", user=name, check=False).stdout
        assert f"it has no account {name!r}" in said
        assert "[account-missing]" in said
        command = said.split("`")[1]
        assert command.startswith("isoctl run root@blog useradd")
        named.run("sh", "-c", command)
        assert named.run("isoctl", "run", "blog", "id", "-un", user=name).stdout == f"{name}\n"
