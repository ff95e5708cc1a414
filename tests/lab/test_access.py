"""Who may do what, on the real system bus: every method, for the owner, another user and one with no rights."""

import json
import subprocess

import pytest

from isod_contract import methods, names
from lab.machine import Lab

OTHERS = ["bob", "mallory"]


def call(
    lab: Lab, user: str, path: str, interface: str, member: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return lab.run("busctl", "call", "-j", "--", names.BUS_NAME, path, interface, member, *arguments,
                   user=user, check=False)  # fmt: skip


@pytest.fixture(scope="module")
def app_path(lab: Lab) -> str:
    done = call(lab, "alice", names.ROOT_PATH, names.MANAGER, "Run", "sasa{sv}", "blog", "2", "sleep", "600", "0")
    return str(json.loads(done.stdout)["data"][0])


def _arguments(method: methods.Method) -> list[str]:
    values = {"s": ["blog"], "as": ["1", "true"], "a{sv}": ["0"], "i": ["15"]}
    if not method.args:
        return []
    return [method.in_signature, *(word for arg in method.args for word in values[arg.signature])]


@pytest.mark.parametrize("user", OTHERS)
@pytest.mark.parametrize("method", methods.METHODS, ids=lambda method: f"{method.interface}.{method.name}")
def test_others_reach_nothing_of_alices(lab: Lab, app_path: str, user: str, method: methods.Method) -> None:
    """S07: the default is no, and "not yours" looks like "not there"."""
    paths = {names.MANAGER: names.ROOT_PATH, names.CONTAINER: names.container_path("blog"), names.APP: app_path}
    done = call(lab, user, paths[method.interface], method.interface, method.name, *_arguments(method))
    if method.access in (methods.Access.ANYONE, methods.Access.SESSION):
        assert app_path not in done.stdout
        # His own history tells what he typed, and that it was refused.
        assert method.name == "History" or "blog" not in done.stdout
    else:
        assert done.returncode != 0
        absent = {names.MANAGER: names.ROOT_PATH, names.CONTAINER: names.container_path("absent"),
                  names.APP: names.app_path("0" * 32)}  # fmt: skip
        arguments = ["absent" if word == "blog" else word for word in _arguments(method)]
        twin = call(lab, user, absent[method.interface], method.interface, method.name, *arguments)
        app_id = app_path.rsplit("/", 1)[1]
        assert done.stderr.replace("blog", "X").replace(app_id, "X") == twin.stderr.replace("absent", "X").replace(
            "0" * 32, "X"
        )


def test_alice_and_carol_share_a_container_but_not_their_apps(lab: Lab) -> None:
    for user in ("alice", "carol"):
        call(lab, user, names.ROOT_PATH, names.MANAGER, "Run", "sasa{sv}", "shared", "2", "sleep", "601", "0")
    seen = {
        user: {
            path
            for path, _ in json.loads(call(lab, user, names.ROOT_PATH, names.MANAGER, "ListApps").stdout)["data"][0]
        }
        for user in ("alice", "carol")
    }
    assert seen["alice"]
    assert seen["carol"]
    assert not seen["alice"] & seen["carol"]


def test_unknown_options_are_refused_by_name(lab: Lab) -> None:
    done = call(
        lab, "alice", names.ROOT_PATH, names.MANAGER, "Run", "sasa{sv}", "blog", "1", "true", "1", "colour", "s", "red"
    )
    assert done.returncode != 0
    assert "colour" in done.stderr
