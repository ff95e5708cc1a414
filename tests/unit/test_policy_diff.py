"""What a reload changes, and what of it takes something from running apps."""

import pytest

from isod.policy import ContainerPolicy
from isod.policy_diff import PolicyChange, diff_policies
from isod.policy_loader import Policy
from isod.settings import DaemonSettings


def policy(**keys: object) -> ContainerPolicy:
    return ContainerPolicy.model_validate(keys)


def changes(before: ContainerPolicy | None, after: ContainerPolicy | None) -> list[PolicyChange]:
    return diff_policies(Policy({"blog": before} if before else {}), Policy({"blog": after} if after else {}))


def test_no_change_is_no_change() -> None:
    assert changes(policy(users=["alice", "bob"]), policy(users=["bob", "alice"])) == []


def test_a_withdrawn_user_ends_what_he_runs() -> None:
    (change,) = changes(policy(users=["alice", "bob"]), policy(users=["alice"]))
    assert (change.key, change.withdrawn, change.ends) == ("users", ("bob",), True)


def test_a_user_who_must_be_asked_from_now_on_keeps_what_he_runs() -> None:
    found = {change.key: change for change in changes(policy(users=["alice"]), policy(ask=["alice"]))}
    assert not found["users"].ends
    assert not found["ask"].ends


def test_a_new_user_ends_nothing() -> None:
    (change,) = changes(policy(users=["alice"]), policy(users=["alice", "bob"]))
    assert (change.withdrawn, change.ends) == ((), False)


def test_a_withdrawn_group_may_end_something() -> None:
    (change,) = changes(policy(groups=["dev", "ops"]), policy(groups=["ops"]))
    assert (change.withdrawn, change.ends) == (("dev",), True)


def test_a_deleted_file_ends_nothing() -> None:
    (change,) = changes(policy(users=["alice"]), None)
    assert (change.container, change.key, change.withdrawn, change.ends) == ("blog", "container", ("present",), False)
    (change,) = changes(None, policy(users=["alice"]))
    assert (change.before, change.after, change.ends) == ((), ("present",), False)


@pytest.mark.parametrize(
    ("key", "before", "after", "ends"),
    [
        ("x11", "host", "isolated", True),
        ("x11", "isolated", "host", False),
        ("wayland", "secured", "none", True),
        ("gpu", "render", ["0000:00:02.0"], True),
        ("gpu", ["0000:00:02.0"], "render", False),
        ("gpu", ["0000:00:02.0"], ["0000:00:02.0", "0000:01:00.0"], False),
        ("gpu", ["0000:00:02.0", "0000:01:00.0"], ["0000:01:00.0"], True),
        ("gpu", ["0000:00:02.0"], "none", True),
    ],
)
def test_a_lowered_grant_ends_what_used_it(key: str, before: object, after: object, ends: bool) -> None:
    (change,) = changes(policy(grants={key: before}), policy(grants={key: after}))
    assert (change.key, change.ends) == (f"grants.{key}", ends)


@pytest.mark.attack("C27")
def test_values_of_variables_are_not_told() -> None:
    (change,) = changes(policy(environment={"TOKEN": "secret-1"}), policy(environment={"TOKEN": "secret-2"}))
    assert (change.key, change.before, change.after) == ("environment", ("TOKEN",), ("TOKEN",))


def test_all_other_keys_are_told() -> None:
    found = changes(policy(), policy(login_shell=False, wrapper=["a", "b"], start_timeout_sec=5, user="worker"))
    assert {change.key: change.after for change in found} == {
        "login_shell": ("false",),
        "wrapper": ("a", "b"),
        "start_timeout_sec": ("5",),
        "user": ("worker",),
    }


def test_a_changed_limit_is_told_and_takes_nothing_away() -> None:
    lower = DaemonSettings.model_validate({"limits": {"apps": 1}})
    [change] = diff_policies(Policy(), Policy(settings=lower))
    assert change == PolicyChange("", "limits.apps", ("1024",), ("1",), ends=False)
    assert diff_policies(Policy(settings=lower), Policy(settings=lower)) == []
