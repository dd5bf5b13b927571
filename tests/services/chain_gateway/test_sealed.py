"""A gateway's part of sealed updates: commit, wait, reveal, and go on after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from eth_account import Account

from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import INT8
from linklearner.domain.errors import Refused
from linklearner.domain.events import UpdateCommitted
from linklearner.domain.notation import LL_WEI
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import RULE_EVIDENCE, Phase, Step, Terms
from linklearner.domain.rules.evidence.batches import BatchTree, encode_batch
from linklearner.domain.rules.table import rule_of
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keeper import standing
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Outbox, Request, always
from tests.contracts.evidence_chain import NETWORK, better, first_weights, learnable, shape_of
from tests.services.chain_gateway.conftest import HURRY, World, keystore_of

SIZES = (12, 2)
TASK = 2
REVEAL_S = 60
TERMS = Terms(
    rule=RULE_EVIDENCE,
    quorum_bps=10_000,
    max_updates=4,
    min_round_seconds=1,
    round_seconds=600,
    drop_seconds=7200,
    stake_seconds=1,
    min_stake=1,
    settler_bps=500,
    server_bps=2_000,
    reward=LL_WEI,
)
SHAPE = shape_of(NETWORK)
EXAMPLES = learnable(NETWORK, sum(SIZES), 5)
BATCHES = [encode_batch(EXAMPLES[a:b]) for a, b in pairwise(np.cumsum([0, *SIZES]))]


@pytest.fixture
async def sealed(world: World) -> AsyncIterator[World]:
    """Beside the world's task one by rule `evidence`, whose updates are sealed; all three accounts have stake in it."""
    tree = BatchTree(BATCHES)
    commitment = (tree.root, len(SIZES), sum(SIZES), NETWORK.input_exponent, REVEAL_S, LL_WEI)
    weights = weight_bytes(first_weights(NETWORK))
    async with (
        Chain.connect(world.devchain.url, (POOL, VAULT, TOKEN)) as chain,
        Outbox.open(world.folder / "treasury.sqlite", chain, keystore_of(world.devchain, 0), HURRY) as treasury,
    ):
        for who in world.accounts:
            transfer = TOKEN.encode_call("transfer", who, 100 * LL_WEI)
            await sent(treasury, treasury.accounts[0], world.deployment.token, transfer)
    async with world.gateway() as gateway:
        pool, vault, creator = world.deployment.pool, world.deployment.vault, world.accounts[0]
        outbox = gateway.ledger._outbox
        opening = ("openTask", TASK, SHAPE.encode(), "{}", astuple(TERMS))
        await sent(outbox, creator, pool, POOL.encode_call(*opening))
        await sent(outbox, creator, pool, POOL.encode_call("commitExamples", TASK, *commitment))
        for who in world.accounts:
            await sent(outbox, who, vault, VAULT.encode_call("lock", TASK, 100))
        await sent(outbox, creator, pool, POOL.encode_call("loadPages", TASK, 0, weights))
    yield world


async def sent(outbox: Outbox, who: bytes, to: bytes, data: bytes) -> None:
    name = f"{who.hex()[:8]}-{to.hex()[:8]}-{data[:4].hex()}-{hash(data)}"
    await outbox.fulfil(Request(request_id=name, account=who, kind="test", contents=b""), always(Call(to, data)))


def update(seed: int) -> bytes:
    steps = better(NETWORK, first_weights(NETWORK), seed)
    return quantise_delta(np.ldexp(steps, -12), SHAPE, TASK, 1, INT8).update.encode(SHAPE)


async def committed(gateway: Gateway, count: int) -> None:
    """Returns once so many commitments are on the chain."""
    while (await gateway.ledger.views.sealing(TASK)).committed < count:
        await asyncio.sleep(0.05)


async def test_an_update_is_committed_and_revealed_when_nobody_can_commit_any_more(sealed: World) -> None:
    async with sealed.gateway() as gateway:
        ledger = gateway.ledger
        ways = [
            asyncio.create_task(ledger.submissions.submit(f"sealed-{n}", sealed.accounts[n], update(n)))
            for n in range(3)
        ]
        await committed(gateway, 3)
        task = await ledger.tasks.task(TASK)
        assert (task.round.accepted, task.round.committed, task.round.reveal_seconds) == (0, 3, REVEAL_S)
        rule = rule_of(TERMS.rule)
        assert rule.phase(standing(task)) is Phase.COLLECTING
        assert {due.step for due in rule.due(TERMS, standing(task))} == {Step.COMMITTED, Step.ACCEPTED, Step.DROPPED}
        assert not any(way.done() for way in ways)
        await sealed.later(TERMS.round_seconds)
        submitted = await asyncio.gather(*ways)
        assert {one.round for one in submitted} == {1}
        assert (await ledger.tasks.task(TASK)).round.accepted == 3

        opening = POOL.encode_call("openExamples", TASK, 1, BATCHES[0], list(BatchTree(BATCHES).proof(0)))
        await sent(ledger._outbox, sealed.accounts[1], sealed.deployment.pool, opening)
        settled = await ledger.settlements.settle("settle", sealed.accounts[2], TASK, 1)  # made of what was revealed
        assert settled.version.version == 2


async def test_a_gateway_that_stops_between_commitment_and_reveal_goes_on_with_the_same_request(sealed: World) -> None:
    async with sealed.gateway() as gateway:
        way = asyncio.create_task(gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1)))
        await committed(gateway, 1)
        way.cancel()
        await asyncio.gather(way, return_exceptions=True)
    await sealed.later(TERMS.round_seconds)
    async with sealed.gateway() as gateway:
        submitted = await gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1))
        assert submitted.round == 1
        again = await gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1))
        assert again == submitted
        assert len(gateway.ledger.events.find(UpdateCommitted, TASK)) == 1


async def test_a_gateway_that_comes_back_too_late_hears_that_reveals_are_over(sealed: World) -> None:
    async with sealed.gateway() as gateway:
        way = asyncio.create_task(gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1)))
        await committed(gateway, 1)
        way.cancel()
        await asyncio.gather(way, return_exceptions=True)
        await sealed.later(TERMS.round_seconds + REVEAL_S)
        with pytest.raises(Refused) as refused:
            await gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1))
        assert refused.value.reason == "PhaseOver"
        with pytest.raises(Refused) as refused:  # and nobody commits any more
            await gateway.ledger.submissions.submit("another", sealed.accounts[1], update(2))
        assert refused.value.reason == "PhaseOver"


async def test_a_keeper_ends_a_round_in_which_nothing_was_revealed(sealed: World) -> None:
    async with sealed.gateway() as gateway:
        way = asyncio.create_task(gateway.ledger.submissions.submit("sealed", sealed.accounts[0], update(1)))
        await committed(gateway, 1)
        way.cancel()
        await asyncio.gather(way, return_exceptions=True)
    async with sealed.gateway(auto_settle=True) as gateway:
        assert (await gateway.ledger.tasks.task(TASK)).round.round == 1
        await sealed.later(TERMS.round_seconds + REVEAL_S)
        async with asyncio.timeout(60):
            while (await gateway.ledger.tasks.task(TASK)).round.round == 1:
                await asyncio.sleep(0.1)


def test_a_salt_is_the_accounts_own_and_of_its_purpose() -> None:
    keys = Keystore.of_accounts(Account.from_key(bytes([n]) * 32) for n in (1, 2))
    salts = [keys.salt(who, purpose) for who in keys.addresses for purpose in (b"a", b"b")]
    assert len(set(salts)) == 4
    assert {len(salt) for salt in salts} == {32}
    assert keys.salt(keys.addresses[0], b"a") == salts[0]
