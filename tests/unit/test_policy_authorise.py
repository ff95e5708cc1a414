"""Who may do what, by policy alone: every rule, and what must never follow from one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.authorise import Outcome, Verb, account_for, decide, denial, is_withdrawn, sees
from isod.policy import ContainerPolicy
from isod.ports import Answer, Caller
from isod_contract.actions import GRANT, MANAGE, ROOT, RUN

POLICY = ContainerPolicy(users=("alice",), groups=("dev", "ops"), ask=("carol", "alice"))
ROOT_CALLER = Caller(":1.1", 0, "root")
ALICE = Caller(":1.2", 1000, "alice", frozenset({"alice"}))
DAVE = Caller(":1.3", 1004, "dave", frozenset({"ops", "dev"}))
CAROL = Caller(":1.4", 1003, "carol")
MALLORY = Caller(":1.5", 1002, "mallory", frozenset({"mallory", "alice", "carol"}))
NAMELESS = Caller(":1.6", 4242, "")
UNASKED = [verb for verb in Verb if verb not in (Verb.GRANT, Verb.REVOKE)]


def with_root(level: str, **keys: object) -> ContainerPolicy:
    return ContainerPolicy.model_validate({"users": ["alice"], "ask": ["carol"], "grants": {"root": level}, **keys})


@pytest.mark.parametrize("verb", Verb)
def test_uid_0_may_do_all(verb: Verb) -> None:
    for others, force in itertools.product((True, False), repeat=2):
        decision = decide(
            ContainerPolicy(), ROOT_CALLER, verb, "blog", account="alice", others_running=others, force=force
        )
        assert (decision.outcome, decision.rule) == (Outcome.ALLOWED, "uid 0")


@pytest.mark.parametrize("verb", Verb)
def test_for_others_the_container_does_not_exist(verb: Verb) -> None:
    for caller in (MALLORY, NAMELESS):
        for others, force, account in itertools.product((True, False), (True, False), (None, "root", "alice")):
            decision = decide(POLICY, caller, verb, "blog", account=account, others_running=others, force=force)
            assert decision.outcome is Outcome.INVISIBLE
    assert not sees(POLICY, MALLORY)
    assert not sees(POLICY, NAMELESS)


@pytest.mark.parametrize("caller", [ALICE, DAVE, CAROL])
def test_more_than_policy_grants_takes_an_administrator_and_to_take_that_back_takes_nobody_else(caller: Caller) -> None:
    for verb in (Verb.GRANT, Verb.REVOKE):
        decision = decide(POLICY, caller, verb, "blog")
        assert (decision.outcome, decision.rule, decision.action) == (Outcome.ASK, "grant", GRANT)
    assert decide(POLICY, caller, Verb.REVOKE, "blog", own=True).outcome is Outcome.ALLOWED
    assert decide(POLICY, caller, Verb.GRANT, "blog", own=True).outcome is Outcome.ASK


def test_a_user_needs_no_question() -> None:
    for verb in UNASKED:
        decision = decide(POLICY, ALICE, verb, "blog")
        assert (decision.outcome, decision.rule) == (Outcome.ALLOWED, "users")


def test_a_member_of_a_group_is_named_by_it() -> None:
    for verb in UNASKED:
        decision = decide(POLICY, DAVE, verb, "blog")
        assert (decision.outcome, decision.rule) == (Outcome.ALLOWED, "groups:dev")


def test_who_must_be_asked_sees_without_a_question_and_does_nothing_without_one() -> None:
    assert decide(POLICY, CAROL, Verb.SEE, "blog").outcome is Outcome.ALLOWED
    for verb in (Verb.RUN, Verb.START, Verb.STOP, Verb.RESTART):
        decision = decide(POLICY, CAROL, verb, "blog")
        assert (decision.outcome, decision.rule, decision.action) == (Outcome.ASK, "ask", RUN)


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.RESTART])
@pytest.mark.parametrize("caller", [ALICE, DAVE, CAROL])
def test_apps_of_others_are_not_ended_without_an_administrator(verb: Verb, caller: Caller) -> None:
    refused = decide(POLICY, caller, verb, "blog", others_running=True)
    assert (refused.outcome, refused.rule) == (Outcome.REFUSED, "busy")
    asked = decide(POLICY, caller, verb, "blog", others_running=True, force=True)
    assert (asked.outcome, asked.action) == (Outcome.ASK, MANAGE)


def test_other_peoples_apps_do_not_keep_one_from_running() -> None:
    assert decide(POLICY, ALICE, Verb.RUN, "blog", others_running=True).outcome is Outcome.ALLOWED
    assert decide(POLICY, ALICE, Verb.START, "blog", others_running=True).outcome is Outcome.ALLOWED


def test_force_alone_asks_nothing() -> None:
    assert decide(POLICY, ALICE, Verb.STOP, "blog", force=True).outcome is Outcome.ALLOWED


@pytest.mark.parametrize("account", ["root", "bob", "postgres"])
def test_another_account_needs_the_grant_root(account: str) -> None:
    none = decide(with_root("none"), ALICE, Verb.RUN, "blog", account=account)
    assert (none.outcome, none.rule) == (Outcome.REFUSED, "root")
    for caller in (ALICE, CAROL):
        ask = decide(with_root("ask"), caller, Verb.RUN, "blog", account=account)
        assert (ask.outcome, ask.rule, ask.action) == (Outcome.ASK, "root", ROOT)
    yes = decide(with_root("yes"), ALICE, Verb.RUN, "blog", account=account)
    assert (yes.outcome, yes.rule) == (Outcome.ALLOWED, "root")
    still_asked = decide(with_root("yes"), CAROL, Verb.RUN, "blog", account=account)
    assert (still_asked.outcome, still_asked.action) == (Outcome.ASK, RUN)


def test_the_ceiling_is_named_when_it_is_what_refuses() -> None:
    policy = with_root("yes").capped({"root": ("ask", "yes")})
    decision = decide(policy, ALICE, Verb.RUN, "blog", account="root")
    assert (decision.outcome, decision.rule) == (Outcome.REFUSED, "never.root")


def test_the_own_account_needs_no_grant_by_name_either() -> None:
    assert decide(POLICY, ALICE, Verb.RUN, "blog", account="alice").outcome is Outcome.ALLOWED
    fixed = ContainerPolicy(users=("alice",), user="worker")
    assert account_for(fixed, ALICE) == "worker"
    assert decide(fixed, ALICE, Verb.RUN, "blog", account="worker").outcome is Outcome.ALLOWED
    assert decide(fixed, ALICE, Verb.RUN, "blog", account="alice").outcome is Outcome.REFUSED


def test_a_second_name_root_on_the_host_gives_no_root_inside() -> None:
    toor = Caller(":1.9", 1005, "root", frozenset({"dev"}))
    assert decide(POLICY, toor, Verb.RUN, "blog").outcome is Outcome.REFUSED


def test_a_user_without_a_name_does_not_get_an_account_by_a_group() -> None:
    nameless = Caller(":1.9", 4242, "", frozenset({"dev"}))
    assert decide(POLICY, nameless, Verb.RUN, "blog").outcome is Outcome.REFUSED


def test_the_hosts_root_is_root_inside_unless_he_says_otherwise() -> None:
    assert account_for(POLICY, ROOT_CALLER) == "root"
    assert account_for(POLICY, ALICE) == "alice"


names = st.sampled_from(["alice", "bob", "carol", "", "root"])


@given(
    users=st.lists(names.filter(bool), max_size=2),
    ask=st.lists(names.filter(bool), max_size=2),
    level=st.sampled_from(["none", "ask", "yes"]),
    name=names,
    verb=st.sampled_from(list(Verb)),
    account=st.one_of(st.none(), names.filter(bool)),
    others=st.booleans(),
    force=st.booleans(),
)
def test_no_combination_gives_more_than_its_parts(
    users: list[str], ask: list[str], level: str, name: str, verb: Verb, account: str | None, others: bool, force: bool
) -> None:
    policy = ContainerPolicy.model_validate({"users": users, "ask": ask, "grants": {"root": level}})
    caller = Caller(":1.7", 1000, name)
    decision = decide(policy, caller, verb, "blog", account=account, others_running=others, force=force)
    admitted = name in (*users, *ask)
    assert (decision.outcome is not Outcome.INVISIBLE) == admitted == sees(policy, caller)
    assert (decision.action is not None) == (decision.outcome is Outcome.ASK)
    if decision.outcome is Outcome.ALLOWED and verb is not Verb.SEE:
        assert name in users
    if verb is Verb.RUN and (account or name) == "root" and decision.outcome is Outcome.ALLOWED:
        assert level == "yes"
    if verb in (Verb.STOP, Verb.RESTART) and others:
        assert decision.outcome is not Outcome.ALLOWED


@pytest.mark.parametrize(
    ("before", "after", "account", "ended"),
    [
        (with_root("yes"), with_root("yes"), "root", False),
        (with_root("yes"), with_root("ask"), "root", True),
        (with_root("yes"), with_root("none"), "root", True),
        (with_root("yes"), with_root("none"), "alice", False),
        (with_root("none"), with_root("yes"), "root", False),
        (with_root("none"), with_root("none", user="worker", ask=[]), "alice", False),
        (with_root("none"), with_root("none", users=["bob"]), "alice", True),
        (with_root("none"), with_root("none", users=[], ask=["alice"]), "alice", False),
        (None, with_root("none"), "root", False),
        (None, with_root("none", users=["bob"]), "alice", True),
    ],
)
def test_a_reload_ends_what_lives_by_what_was_withdrawn(
    before: ContainerPolicy | None, after: ContainerPolicy, account: str, ended: bool
) -> None:
    assert is_withdrawn(before, after, ALICE, account) is ended


def test_every_answer_but_yes_has_a_sentence_that_names_the_action() -> None:
    texts = {denial(answer, RUN, interactive=True).text for answer in Answer if answer is not Answer.YES}
    assert len(texts) == len(Answer) - 1
    assert all(RUN.id in text for text in texts)
    assert "does not allow" in denial(Answer.NEEDS_QUESTION, RUN, interactive=False).text
