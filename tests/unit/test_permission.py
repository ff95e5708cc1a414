"""What is decided, asked and recorded before anything is done with a container."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from isod.authorise import Verb
from isod.core.container import Container
from isod.core.permission import Permission
from isod.policy import ContainerPolicy
from isod.ports import Answer, Caller
from isod_contract.actions import MANAGE, ROOT, RUN, Action
from isod_contract.errors import Busy, IsodError, LimitExceeded, NoAuthentication, NoSuchContainer, NotPermitted
from isod_contract.records import Record

ALICE = Caller(":1.2", 1000, "alice", pid=7, unit="app.scope", interactive=True)
CAROL = Caller(":1.4", 1003, "carol", pid=8, interactive=True)
MALLORY = Caller(":1.5", 1002, "mallory")
POLICY = ContainerPolicy(users=("alice",), ask=("carol",))


class World:
    """A policy that may change, a polkit that answers, and what was recorded."""

    def __init__(self, policy: ContainerPolicy = POLICY) -> None:
        self.policy = policy
        self.others = False
        self.answer: Answer | IsodError = Answer.YES
        self.meanwhile: Any = lambda: None
        self.asked: list[tuple[int, Action, Mapping[str, str]]] = []
        self.records: list[dict[str, object]] = []
        self.permission = Permission(
            policy_of=lambda _container: self.policy,
            others_running=lambda _container, _caller: self.others,
            authority=self,
            audit=self,
        )

    async def check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        self.asked.append((caller.uid, action, details))
        self.meanwhile()
        if isinstance(self.answer, IsodError):
            raise self.answer
        return self.answer

    def record(self, kind: Record, **fields: object) -> None:
        self.records.append({"kind": kind.name, **fields})

    async def require(self, caller: Caller, verb: Verb, **facts: Any) -> str:
        return await self.permission.require(Container("blog", "container@blog", "blog", POLICY), caller, verb, **facts)


async def test_what_policy_allows_is_not_asked_and_recorded_once() -> None:
    world = World()
    assert await world.require(ALICE, Verb.RUN, told={"app": "x" * 32}) == "users"
    assert not world.asked
    [record] = world.records
    assert (
        record.items()
        >= {
            "kind": "decision",
            "uid": 1000,
            "pid": 7,
            "caller_unit": "app.scope",
            "method": "Manager.Run",
            "container": "blog",
            "app": "x" * 32,
            "rule": "users",
            "outcome": "allowed",
            "error": None,
        }.items()
    )


async def test_a_question_names_the_container_and_what_is_wanted() -> None:
    world = World()
    assert await world.require(CAROL, Verb.START) == "ask"
    assert world.asked == [(1003, RUN, {"container": "blog", "uid": "1003", "verb": "start"})]
    assert [record["outcome"] for record in world.records] == ["allowed"]


@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.YES])
async def test_no_other_answer_than_yes_allows_anything(answer: Answer) -> None:
    world = World()
    world.answer = answer
    with pytest.raises((NotPermitted, NoAuthentication)) as caught:
        await world.require(CAROL, Verb.RUN)
    [record] = world.records
    assert (record["outcome"], record["error"]) == ("refused", caught.value.name)


async def test_a_question_that_is_wanted_no_more_is_recorded_as_refused() -> None:
    world = World()
    opened = asyncio.Event()

    async def open_for_ever(*_: Any) -> Answer:
        opened.set()
        return await asyncio.get_running_loop().create_future()

    world.check = open_for_ever  # type: ignore[method-assign]
    question = asyncio.create_task(world.require(CAROL, Verb.RUN))
    await opened.wait()
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    assert [record["outcome"] for record in world.records] == ["refused"]


async def test_too_many_open_prompts_are_a_refusal_with_a_record() -> None:
    world = World()
    world.answer = LimitExceeded(reason="4 password prompts are open")
    with pytest.raises(LimitExceeded):
        await world.require(CAROL, Verb.RUN)
    assert [(record["outcome"], record["error"]) for record in world.records] == [
        ("refused", "org.isoctl1.Error.LimitExceeded")
    ]


@pytest.mark.attack("C06")
@pytest.mark.parametrize(
    ("after", "error"),
    [
        (ContainerPolicy(users=("alice",)), NoSuchContainer),
        (ContainerPolicy(), NoSuchContainer),
        (ContainerPolicy(ask=("carol",), user="worker"), NotPermitted),
    ],
    ids=["withdrawn", "deleted", "another account"],
)
async def test_a_policy_that_changed_during_the_question_decides(
    after: ContainerPolicy, error: type[IsodError]
) -> None:
    world = World()
    world.meanwhile = lambda: setattr(world, "policy", after)
    with pytest.raises(error):
        await world.require(CAROL, Verb.RUN, account="carol")
    assert [record["outcome"] for record in world.records] == ["refused"]


async def test_a_question_that_became_another_must_be_asked_anew() -> None:
    world = World(ContainerPolicy.model_validate({"ask": ["carol"], "grants": {"root": "yes"}}))
    asking_root = ContainerPolicy.model_validate({"ask": ["carol"], "grants": {"root": "ask"}})
    world.meanwhile = lambda: setattr(world, "policy", asking_root)
    with pytest.raises(NotPermitted, match="the policy changed meanwhile; try again"):
        await world.require(CAROL, Verb.RUN, account="root")
    assert [action for _, action, _ in world.asked] == [RUN]
    assert await world.require(CAROL, Verb.RUN, account="root") == "root"
    assert [action for _, action, _ in world.asked] == [RUN, ROOT]


async def test_a_user_who_needs_no_question_any_more_is_let_in() -> None:
    world = World()
    world.meanwhile = lambda: setattr(world, "policy", ContainerPolicy(users=("carol",)))
    await world.require(CAROL, Verb.RUN)


async def test_an_app_of_another_that_came_during_the_question_is_not_ended() -> None:
    world = World()
    world.meanwhile = lambda: setattr(world, "others", True)
    with pytest.raises(Busy):
        await world.require(CAROL, Verb.STOP)


async def test_force_asks_an_administrator_and_no_force_is_busy() -> None:
    world = World()
    world.others = True
    with pytest.raises(Busy, match="an app of another user runs in it; --force asks to end it"):
        await world.require(ALICE, Verb.STOP)
    assert await world.require(ALICE, Verb.STOP, force=True) == "busy"
    assert [action for _, action, _ in world.asked] == [MANAGE]


async def test_for_strangers_there_is_nothing_to_ask_about() -> None:
    world = World()
    for verb in (Verb.RUN, Verb.START, Verb.STOP, Verb.RESTART):
        with pytest.raises(NoSuchContainer):
            await world.require(MALLORY, verb, force=True, account="root")
    assert not world.asked
