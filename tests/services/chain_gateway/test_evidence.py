"""Tasks by rule `evidence` through gateways: opened with their examples, whose batches the creator's keeper opens, one a round."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linklearner.client.gateway import GatewayClient
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import InvalidInput, LinkLearnerError, Refused
from linklearner.domain.events import ExamplesCommitted, ExamplesOpened, PagesLoaded, TaskOpened
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.rounds import Phase, Step
from linklearner.domain.rules.evidence.course import least_bond
from linklearner.domain.rules.evidence.verdicts import Outcome
from linklearner.domain.tasks import Task
from linklearner.rpc import convert
from linklearner.v1 import chain_gateway_pb2 as pb
from services.chain_gateway import keeper as keeper_module
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.example_store import ExampleStore
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keeper import Keeper
from services.chain_gateway.opening import NewTask
from services.chain_gateway.outbox import Outbox
from tests.services.chain_gateway.conftest import World
from tests.services.chain_gateway.evidence_world import (
    SIZES,
    TERMS,
    deployed_evidence,
    evidence_task,
    evidence_world,
    example_set,
    work,
)
from tests.services.chain_gateway.test_gateway_process import killed_while_opening, started
from tests.services.chain_gateway.test_known_gas import limits_of


@pytest.fixture
async def world(deployed_evidence: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with evidence_world(deployed_evidence, tmp_path) as world:
        yield world


__all__ = ["deployed_evidence"]


async def submit(world: World, gateway: Gateway, who: int, *, seed: int = 0, sign: int = 1) -> None:
    version, weights = await gateway.ledger.tasks.model(1, 0)
    base = np.frombuffer(weights, "<i2").astype(np.int16)
    update = work(world.task, 1, version.version, base, seed or 10 * version.version + who, sign)
    await gateway.ledger.submissions.submit(
        f"u{version.version}-{who}", world.accounts[who], update.encode(world.task.shape)
    )


async def status(gateway: Gateway) -> Task:
    return await gateway.ledger.tasks.task(1)


async def test_a_round_is_opened_judged_and_paid_and_everything_is_told(world: World) -> None:
    async with world.gateway() as gateway, GatewayClient.connect(gateway.address, world.operator) as client:
        ledger = gateway.ledger
        task = await client.task(1)
        assert task.examples is not None and task.examples == replace(
            task.examples, root=example_set().root, batches=5, examples=15, opened_batches=0, opened_examples=0
        )
        assert await client.examples(task) == ()
        for who, sign in ((0, 1), (1, 1), (2, -1)):
            await submit(world, gateway, who, sign=sign)
        task = await client.task(1)
        first_s = task.round.first_update_s
        assert task.round.phase is Phase.COLLECTING
        due = {one.step: (one.from_s, one.until_s) for one in task.round.due}
        assert due[Step.ACCEPTED] == (0, first_s + TERMS.round_seconds)
        assert due[Step.EXAMPLES_OPENED] == (first_s + TERMS.round_seconds, first_s + TERMS.drop_seconds)
        assert due[Step.DROPPED] == (first_s + TERMS.drop_seconds, 0)
        with pytest.raises(Refused) as refused:
            await ledger.disclosures.open("early", world.accounts[0], 1, 1)
        assert refused.value.reason == "RoundNotOver"
        await world.later(TERMS.round_seconds)
        with pytest.raises(Refused) as refused:
            await ledger.settlements.settle("unopened", world.accounts[0], 1, 1)
        assert refused.value.reason == "ExamplesNotOpened"
        sent, asked = len(world.node.raw), world.node.calls["eth_estimateGas"]
        opened = await ledger.disclosures.open("o", world.accounts[0], 1, 1)
        assert await ledger.disclosures.open("o", world.accounts[0], 1, 1) == opened
        assert len(world.node.raw) == sent + 1
        with pytest.raises(Refused) as refused:
            await ledger.disclosures.open("twice", world.accounts[1], 1, 1)
        assert refused.value.reason == "ExamplesOpen"
        task = await client.task(1)
        assert task.round.phase is Phase.OPENED and task.examples is not None
        assert (task.examples.opened_batches, task.examples.opened_examples) == (1, 3)
        (batch,) = await client.examples(task)
        assert (batch.batch, batch.round, batch.examples) == (0, 1, example_set().batches[0])
        told = await client.round(1)
        assert told.examples is not None and (told.examples.batch, told.examples.examples) == (0, 3)
        assert told.examples.mined == opened and all(one.verdict is None for one in told.contributions)
        settled = await ledger.settlements.settle("s", world.accounts[1], 1, 1)
        assert world.node.calls["eth_estimateGas"] == asked  # also of the settlement, whose gas depends on its verdicts
        limit, used = limits_of(world.node)[-1], settled.mined[0].gas_used
        assert used <= limit < 2 * used
        told = await client.round(1, 1)
        verdicts = [one.verdict for one in told.contributions]
        assert all(one is not None for one in verdicts)
        assert {one.outcome for one in verdicts if one} >= {Outcome.MERGED, Outcome.NO_RECORD}
        for one in told.contributions:
            assert one.verdict is not None and one.paid is not None
            assert (one.paid > 0) == (one.verdict.merged and one.verdict.gain > 0)
            earnings = await client.earnings(one.contributor, 1)
            assert (earnings.record, earnings.earned) == (one.verdict.record, one.paid)
            assert "examples opened afterwards; the account's record stands at" in one.verdict.text(3)


async def until_round(gateway: Gateway, round: int, within_s: float = 60) -> Task:
    async with asyncio.timeout(within_s):
        while (task := await status(gateway)).round.round < round:
            await asyncio.sleep(0.05)
    return task


async def test_a_keeper_with_the_examples_opens_and_settles_round_after_round(world: World) -> None:
    async with world.gateway(auto_settle=True) as gateway:
        for round in (1, 2):
            for who in (0, 1):
                await submit(world, gateway, who)
            await world.later(TERMS.round_seconds)
            await until_round(gateway, round + 1)
        rounds = [await gateway.ledger.queries.round(1, number) for number in (1, 2)]
        assert [one.examples.batch for one in rounds if one.examples] == [0, 1]
        assert [one.examples.opened for one in rounds if one.examples] == [SIZES[0], SIZES[0] + SIZES[1]]
        assert len(world.node.raw) == 2 * 2 + 2 + 2  # each round two updates, one opening and one settlement


async def test_no_node_sees_the_examples_before_the_chain_says_that_the_round_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the node could still send an update; a clock of ours that is ahead must not show it what will judge him."""
    seen: list[bytes] = []
    ask = Chain.ask

    async def listening(self: Chain, sender: bytes, call: Call, **options: Any) -> bytes:
        seen.append(call.data)
        return await ask(self, sender, call, **options)

    monkeypatch.setattr(Chain, "ask", listening)
    async with world.gateway() as gateway:
        await submit(world, gateway, 0)
        seen.clear()
        early = asyncio.create_task(Keeper(gateway.ledger, clock=lambda: time.time() + 300).run())
        for _ in range(3):
            with pytest.raises(Refused) as refused:
                await gateway.ledger.disclosures.open("early", world.accounts[1], 1, 1)
            assert refused.value.reason == "RoundNotOver"
        await asyncio.sleep(3.0)
        batch = example_set().batches[0]
        assert not any(batch in data for data in (*seen, *world.node.raw))
        await world.later(TERMS.round_seconds)
        await until_round(gateway, 2)
        assert any(batch in data for data in seen)
        early.cancel()


@asynccontextmanager
async def apart(world: World, *who: int) -> AsyncIterator[list[Gateway]]:
    """Gateways of single accounts, each with its own folder, which has no examples."""
    async with AsyncExitStack() as stack:
        found = []
        for one in who:
            folder = world.folder / f"apart-{one}"
            folder.mkdir()
            keys = world.keystore_with(world.accounts[one])
            found.append(await stack.enter_async_context(world.gateway(keystore=keys, outbox=folder / "outbox.sqlite")))
        yield found


async def test_keepers_without_the_examples_wait_for_the_one_that_has_them_and_settle_then(world: World) -> None:
    async with world.gateway() as creators, apart(world, 0, 1) as others:
        for who, gateway in enumerate(others):
            await submit(world, gateway, who)
        await world.later(TERMS.round_seconds)
        keepers = [asyncio.create_task(Keeper(one.ledger, turn_s=0.2).run()) for one in others]
        await asyncio.sleep(1.5)
        task = await status(others[0])
        assert task.round.round == 1 and not task.round.examples_opened
        assert not creators.ledger.events.find(ExamplesOpened, 1)
        await creators.ledger.disclosures.open("o", world.accounts[2], 1, 1)
        await until_round(others[0], 2)
        for keeper in keepers:
            assert not keeper.done()
            keeper.cancel()


async def test_a_round_whose_examples_nobody_opens_is_dropped_when_its_time_is_over(world: World) -> None:
    async with apart(world, 0) as (gateway,):
        await submit(world, gateway, 0)
        await world.later(TERMS.drop_seconds)
        keeper = asyncio.create_task(Keeper(gateway.ledger, turn_s=0.2).run())
        await until_round(gateway, 2)
        told = await gateway.ledger.queries.round(1, 1)
        assert told.dropped and told.examples is None
        keeper.cancel()


async def test_a_set_that_is_used_up_leaves_its_last_round_to_be_dropped(world: World) -> None:
    async with world.gateway() as gateway:
        only_one = example_set()
        only_one.__dict__["tree"] = only_one.tree
        only_one.__dict__["batches"] = only_one.batches[:1]
        gateway.ledger.disclosures.store._known[example_set().root] = only_one  # type: ignore[union-attr]
        await submit(world, gateway, 0)
        await world.later(TERMS.round_seconds)
        await gateway.ledger.disclosures.open("o", world.accounts[0], 1, 1)
        await gateway.ledger.settlements.settle("s", world.accounts[0], 1, 1)
        await submit(world, gateway, 0)
        await world.later(TERMS.round_seconds)
        with pytest.raises(Refused) as refused:
            await gateway.ledger.disclosures.open("o2", world.accounts[0], 1, 2)
        assert refused.value.reason == "ExamplesUsedUp"
        keeper = asyncio.create_task(Keeper(gateway.ledger, turn_s=0.2).run())
        await asyncio.sleep(1.0)
        await world.later(TERMS.drop_seconds)
        await gateway.ledger.events.sync()
        await until_round(gateway, 3)
        keeper.cancel()


async def test_an_account_without_coin_leaves_the_opening_to_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.gateway() as gateway:
        await submit(world, gateway, 1)
        poor = min(world.accounts)
        opened, refused = gateway.ledger.disclosures.open, []

        async def open(request_id: str, account: bytes, task: int, round: int) -> object:
            if account == poor:
                refused.append(account)
                raise Refused("send the account some coin", reason="InsufficientFunds")
            return await opened(request_id, account, task, round)

        monkeypatch.setattr(gateway.ledger.disclosures, "open", open)
        await world.later(TERMS.round_seconds)
        keeper = asyncio.create_task(Keeper(gateway.ledger, turn_s=0.2).run())
        await until_round(gateway, 2)
        assert len(refused) == 1
        keeper.cancel()


async def test_examples_of_a_task_that_nothing_else_binds_us_to_are_opened_too(world: World) -> None:
    """A file that was copied in: its task is kept going, whoever opened it."""
    async with apart(world, 2) as (gateway,):
        await submit(world, gateway, 2)
        others = Keeper(gateway.ledger)
        gateway.ledger.events.tasks_with = lambda kind, account: set()  # type: ignore[method-assign, assignment]
        assert others._tasks() == []
        folder = gateway.ledger.disclosures.store._folder  # type: ignore[union-attr]
        shutil.copytree(world.folder / "examples", folder)
        assert others._tasks() == [1]


# -- opening a task ---------------------------------------------------------------------------------------------------


CHEAP = replace(TERMS, reward=LL_WEI)
"""A bond of 1 $LL, as much as an account here has."""


def new_task() -> NewTask:
    plan = evidence_task()
    return NewTask(plan.model.to_json(), plan.shape, CHEAP, weight_bytes(plan.first_weights()), plan.examples)


async def withdraw_for_the_bond(world: World) -> None:
    """The first account takes all of its stake out of the task."""
    async with world.gateway() as gateway:
        await gateway.ledger.wallets.unlock("unlock", world.accounts[0], 1, least_bond(CHEAP) // UNIT_WEI)
        await world.later(TERMS.stake_seconds + 1)
        await gateway.ledger.wallets.withdraw("withdraw", world.accounts[0], 1)
    world.node.raw.clear()


async def test_a_task_is_opened_with_its_examples_and_a_repeated_request_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between any two of its transactions."""
    await withdraw_for_the_bond(world)
    fulfil, budget = Outbox.fulfil, [0]

    async def dying(self: Outbox, request: object, prepare: object) -> object:
        if request.kind == "open task":  # type: ignore[attr-defined]
            if not budget[0]:
                raise asyncio.CancelledError
            budget[0] -= 1
        return await fulfil(self, request, prepare)  # type: ignore[arg-type]

    monkeypatch.setattr(Outbox, "fulfil", dying)
    for steps in (0, 1, 2):
        budget[0] = steps
        async with world.gateway() as gateway:
            with pytest.raises(asyncio.CancelledError):
                await gateway.ledger.openings.open("o", world.accounts[0], new_task())
            assert gateway.ledger.disclosures.store.of(example_set().root) is not None  # type: ignore[union-attr]
    budget[0] = 100
    async with world.gateway() as gateway:
        opened = await gateway.ledger.openings.open("o", world.accounts[0], new_task())
        assert opened.task == 2 and len(opened.mined) == 3
        assert await gateway.ledger.openings.open("o", world.accounts[0], new_task()) == opened
        events = gateway.ledger.events
        order = [events.find(kind, 2)[0].block for kind in (TaskOpened, ExamplesCommitted, PagesLoaded)]
        assert order == sorted(order)
        assert len(events.find(TaskOpened)) == 2


@pytest.mark.parametrize(
    ("done", "taken"), [(1, False), (1, True)], ids=["commitment unsent", "commitment unconfirmed"]
)
async def test_kill_9_between_opening_and_loading_ends_in_one_task_bound_to_its_examples(
    world: World, done: int, taken: bool
) -> None:
    await withdraw_for_the_bond(world)
    plan = evidence_task()

    async def requests() -> AsyncIterator[pb.OpenTaskRequest]:
        yield pb.OpenTaskRequest(
            plan=pb.OpenTaskRequest.Plan(
                request_id="ours",
                account=world.accounts[0],
                model=plan.model.to_json(),
                shape=plan.shape.encode(),
                terms=convert.terms_message(CHEAP),
                input_exponent=example_set().input_exponent,
            )
        )
        for batch in example_set().batches:
            yield pb.OpenTaskRequest(examples=batch)
        yield pb.OpenTaskRequest(weights=weight_bytes(plan.first_weights()))

    config = await killed_while_opening(world, requests, done, taken)
    assert ExampleStore(world.folder / "examples").of(example_set().root) == example_set()
    async with started(config) as gateway:
        opened = await gateway.stub.OpenTask(requests())
        assert (opened.task, opened.version.version, len(opened.receipts)) == (2, 1, 3)
        task = (await gateway.stub.GetTask(pb.GetTaskRequest(task=2))).task
        assert (task.examples.root, task.examples.batch_count) == (example_set().root, len(SIZES))
    assert len(set(world.node.raw)) == 3  # the ones that were signed before the end, and no other


async def test_what_a_block_cannot_judge_is_refused_with_figures_before_anything_is_kept_or_sent(
    world: World,
) -> None:
    plan = evidence_task()
    weights = weight_bytes(plan.first_weights())
    async with world.gateway() as gateway, GatewayClient.connect(gateway.address, world.operator) as client:
        sent = len(world.node.raw)
        much = example_set((1,) * 60_000, seed=9)
        open_with = (plan.model.to_json(), plan.shape)
        with pytest.raises(
            LinkLearnerError, match=r"takes up to [\d,]+ gas, a block holds 19,000,000: at most \d+"
        ) as r:
            terms = replace(plan.terms, max_updates=64)
            await client.open_task("m", world.accounts[0], *open_with, terms, weights, much)
        assert r.value.reason == "BadTerms"
        for terms, examples in ((plan.terms, None), (replace(plan.terms, rule=1), plan.examples)):
            with pytest.raises(InvalidInput):
                await client.open_task("n", world.accounts[0], *open_with, terms, weights, examples)
        good = example_set().batches[0]
        for batch in (good[:-1], good[:-2] + b"\3\0"):  # no whole examples; a label that is none
            other = example_set()
            other.__dict__["batches"] = (batch,)
            with pytest.raises(InvalidInput):
                await client.open_task("i", world.accounts[0], *open_with, plan.terms, weights, other)
        assert len(world.node.raw) == sent
        assert sorted(path.name for path in (world.folder / "examples").iterdir()) == [
            f"{example_set().root.hex()}.examples"
        ]


# -- the files --------------------------------------------------------------------------------------------------------


def test_a_set_is_kept_where_only_this_account_reads_it(tmp_path: Path) -> None:
    store = ExampleStore(tmp_path / "home" / "examples")
    assert store.of(example_set().root) is None and store.among({example_set().root}) == set()
    store.keep(example_set())
    store.keep(example_set())
    (path,) = (tmp_path / "home" / "examples").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert ExampleStore(path.parent).of(example_set().root) == example_set()
    assert store.among({example_set().root, bytes(32)}) == {example_set().root}


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b[:-1] + b"\1"])
def test_a_damaged_set_is_none(tmp_path: Path, spoil: object) -> None:
    store = ExampleStore(tmp_path)
    store.keep(example_set())
    (path,) = tmp_path.iterdir()
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    assert ExampleStore(tmp_path).of(example_set().root) is None


async def test_what_is_wrong_with_one_task_s_examples_does_not_end_the_keeper(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RETRY_S", 0.1)
    async with world.gateway() as gateway:
        await submit(world, gateway, 0)
        await world.later(TERMS.round_seconds)
        store = gateway.ledger.disclosures.store
        assert store is not None
        right, wrong = example_set(), example_set(seed=6)
        store._known[right.root] = wrong  # as a disk that gives other bytes
        keeper = asyncio.create_task(Keeper(gateway.ledger, turn_s=0.2).run())
        await asyncio.sleep(1.0)
        assert not keeper.done() and (await status(gateway)).round.round == 1
        store._known[right.root] = right
        await until_round(gateway, 2)
        keeper.cancel()
