"""What a gateway promises of tasks by rule `evidence`: the fake one and a real one with its chain, beside each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from linklearner.client.gateway import GatewayClient
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import DataLoss, InvalidInput, LinkLearnerError, Refused
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.rounds import Phase, Step
from linklearner.domain.rules.evidence.course import least_bond
from linklearner.domain.tasks import Task
from linklearner.testing.gateway import FakeGateway, sets
from linklearner.v1 import chain_gateway_pb2 as pb
from services.chain_gateway.deploy import POT
from tests.services.chain_gateway.conftest import CONTRIBUTORS
from tests.services.chain_gateway.evidence_world import (
    SIZES,
    TERMS,
    deployed_evidence,
    evidence_task,
    evidence_world,
    example_set,
    work,
)

__all__ = ["deployed_evidence"]
PLAN = evidence_task()


def fake_gateway() -> FakeGateway:
    fake = FakeGateway(spec=PLAN.model, shape=PLAN.shape, terms=PLAN.terms, accounts=CONTRIBUTORS)
    fake.auto_settle = False
    fake.first.pot = POT
    fake.first.commit(example_set().batches, example_set().input_exponent)
    fake.publish(PLAN.first_weights())
    return fake


@dataclass
class Subject:
    """later: the chain's clock goes on by so many seconds. open: the creator opens the next batch for a round. give: the first account
    comes by so many wei of $LL."""

    client: GatewayClient
    accounts: tuple[bytes, ...]
    later: Callable[[int], Awaitable[None]]
    open: Callable[[int], Awaitable[Any]]
    give: Callable[[int], Awaitable[Any]]

    async def task(self) -> Task:
        return await self.client.task(1)

    async def submit(self, who: int, sign: int = 1) -> None:
        task = await self.task()
        version, weights = await self.client.weights(task)
        update = work(PLAN, 1, version.version, weights, 10 * version.version + who, sign)
        shape = PLAN.shape
        await self.client.submit(
            f"{version.version}-{who}", self.accounts[who], update.encode(shape), update.digest(shape)
        )

    async def reason(self, call: Awaitable[Any]) -> str:
        with pytest.raises(LinkLearnerError) as raised:
            await call
        return raised.value.reason


@pytest.fixture
async def subjects(deployed_evidence: Path, tmp_path: Path) -> AsyncIterator[tuple[Subject, Subject]]:
    fake = fake_gateway()
    ahead = [0.0]
    clock = fake.chain.clock
    fake.chain.clock = lambda: clock() + ahead[0]

    async def later(seconds: int) -> None:
        ahead[0] += seconds

    async def give_fake(wei: int) -> None:
        fake.chain.tokens[fake.accounts[0]] = wei

    async def open_fake(round: int) -> None:
        fake.first.open_examples()

    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(evidence_world(deployed_evidence, tmp_path))
        gateway = await stack.enter_async_context(world.gateway())
        real = await stack.enter_async_context(GatewayClient.connect(gateway.address, world.operator))
        address = await stack.enter_async_context(fake.served())
        faked = await stack.enter_async_context(GatewayClient.connect(address))

        async def open_real(round: int) -> None:
            await gateway.ledger.disclosures.open(f"o{round}", world.accounts[0], 1, round)

        async def give_real(wei: int) -> None:
            await real.unlock("u", world.accounts[0], 1, wei // UNIT_WEI)
            await world.later(PLAN.terms.stake_seconds + 1)
            await real.withdraw("w", world.accounts[0], 1)

        yield (
            Subject(faked, fake.accounts, later, open_fake, give_fake),
            Subject(real, world.accounts, world.later, open_real, give_real),
        )


async def test_both_tell_the_same_of_rounds_verdicts_and_records(subjects: tuple[Subject, Subject]) -> None:
    told = []
    for subject in subjects:
        found: list[Any] = []
        for number in (1, 2):
            for who, sign in ((0, 1), (1, 1), (2, -1)):
                await subject.submit(who, sign)
            task = await subject.task()
            first_s = task.round.first_update_s
            found.append(
                [(d.step, d.from_s and d.from_s - first_s, d.until_s and d.until_s - first_s) for d in task.round.due]
            )
            settle = subject.client.settle
            found.append(await subject.reason(settle(f"early-{number}", subject.accounts[0], 1, number)))
            await subject.later(TERMS.round_seconds)
            found.append(await subject.reason(settle(f"unopened-{number}", subject.accounts[0], 1, number)))
            await subject.open(number)
            task = await subject.task()
            assert task.examples is not None
            found.append((task.round.phase, task.examples, [d.step for d in task.round.due]))
            await settle(f"s-{number}", subject.accounts[0], 1, number)
            round = await subject.client.round(1, number)
            assert round.examples is not None
            found.append(replace(round.examples, mined=None))  # type: ignore[arg-type]
            for one in round.contributions:
                assert one.verdict is not None
                record = (await subject.client.earnings(one.contributor, 1)).record
                assert record == one.verdict.record
                found.append((one.verdict, one.verdict.text(round.examples.examples), bool(one.paid)))
        task = await subject.task()
        found.append([(b.batch, b.round, b.examples, b.proof) for b in await subject.client.examples(task)])
        found.append([b.batch for b in await subject.client.examples(task, 1)])
        _, weights = await subject.client.weights(task)
        found.append(weights.tolist())
        told.append(found)
    assert told[0] == told[1]
    assert (Step.EXAMPLES_OPENED, TERMS.round_seconds, TERMS.drop_seconds) in told[0][0]


async def test_both_refuse_updates_once_examples_may_be_on_their_way(subjects: tuple[Subject, Subject]) -> None:
    for subject in subjects:
        await subject.submit(0)
        await subject.later(TERMS.round_seconds)
        assert await subject.reason(subject.submit(1)) == "PhaseOver"
        assert (await subject.task()).round.phase is Phase.COLLECTING


async def test_both_open_a_task_with_its_examples_or_refuse_it(subjects: tuple[Subject, Subject]) -> None:
    usual = replace(PLAN.terms, reward=LL_WEI)  # the bond is a round's reward
    weights = weight_bytes(PLAN.first_weights())
    for subject in subjects:
        new = (subject.accounts[0], PLAN.model.to_json(), PLAN.shape)
        opening = subject.client.open_task("p", *new, usual, weights, PLAN.examples)
        assert await subject.reason(opening) == "ERC20InsufficientBalance"  # the bond
        await subject.give(least_bond(usual))
        opened = await subject.client.open_task("o", *new, usual, weights, PLAN.examples)
        assert opened == await subject.client.open_task("o", *new, usual, weights, PLAN.examples)
        assert (opened.task, len(opened.mined)) == (2, 3)
        task = await subject.client.task(2)
        assert task.examples is not None and task.creator == subject.accounts[0]
        assert (task.examples.root, task.examples.batches, task.examples.examples) == (
            example_set().root,
            len(SIZES),
            sum(SIZES),
        )
        for terms, examples in ((usual, None), (replace(usual, rule=1), PLAN.examples)):
            with pytest.raises(InvalidInput):
                await subject.client.open_task("x", *new, terms, weights, examples)
        with pytest.raises(InvalidInput, match="stands for another request"):
            await subject.client.open_task("o", *new, usual, weights, example_set(seed=8))


OTHER = example_set(seed=8)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (sets(batch=1), "batch 0 comes next"),
        (sets(examples=OTHER.batches[0]), "not what the task's creator committed to"),
        (sets(examples=example_set().batches[0][:-1]), "not what the task's creator committed to"),
        (lambda answer: pb.GetExamplesResponse(batch=0, round=1, examples=answer.examples), "committed to"),
        (sets(round=0), "a round is a number"),
    ],
)
async def test_examples_that_are_not_the_committed_ones_are_not_handed_on(
    lie: Callable[[Any], Any], match: str
) -> None:
    fake = fake_gateway()
    fake.first.open_examples()
    async with fake.served() as address, GatewayClient.connect(address) as client:
        task = await client.task(1)
        assert len(await client.examples(task)) == 1
        fake.lies["GetExamples"] = lie
        with pytest.raises(DataLoss, match=match):
            await client.examples(task)


async def test_more_batches_than_the_set_has_are_not_read() -> None:
    fake = fake_gateway()
    fake.first.open_examples()
    async with fake.served() as address, GatewayClient.connect(address) as client, asyncio.timeout(10):
        task = await client.task(1)
        assert task.examples is not None
        few = replace(task, examples=replace(task.examples, batches=0))
        with pytest.raises(DataLoss, match="more are sent"):
            await client.examples(few)
        other = replace(task, examples=None)
        assert await client.examples(other) == ()
        fake.first.course = None
        with pytest.raises(Refused) as refused:
            await client.examples(task)
        assert refused.value.reason == "NoExamples"
