"""Gas is computed, not asked for; where that does not apply the node is asked after all; one question tells why a call is refused."""

import asyncio

import pytest
import rlp

from devchain import Devchain
from linklearner.chain.profile import ARTELA
from linklearner.domain.errors import Refused
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.outbox import Outbox, Request, always
from tests.services.chain_gateway.conftest import World
from tests.services.chain_gateway.quirky_node import QuirkyNode

TARGET = bytes.fromhex("00000000000000000000000000000000000beef3")
# Runtime code that writes a slot (PUSH1 1, CALLVALUE, SSTORE) whenever coin comes, behind the code that makes it.
KEEPER = bytes.fromhex("6006600a5f3960065ff3" + "600134550000")


def limits_of(node: QuirkyNode) -> list[int]:
    """The gas limit of each transaction that was handed in."""
    return [int.from_bytes(rlp.decode(raw[1:])[4], "big") for raw in node.raw]


async def test_no_transaction_of_a_task_s_life_asks_for_an_estimate(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        asked = world.node.calls["eth_estimateGas"]  # whether the chain is an Artela one
        used = []
        for who in (0, 1):
            submitted = await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
            used.append(submitted.mined.gas_used)
        used += [mined.gas_used for mined in (await ledger.settlements.settle("s", world.accounts[0], 1, 1)).mined]
        used.append((await ledger.wallets.unlock("unlock", world.accounts[2], 1, 300))[0].gas_used)
        used.append((await ledger.wallets.lock("lock", world.accounts[0], 1, 5))[0].gas_used)
        used.append((await ledger.wallets.transfer_token("token", world.accounts[0], TARGET, 5)).gas_used)
        used.append((await ledger.wallets.transfer_coin("coin", world.accounts[0], TARGET, 5)).gas_used)
        assert world.node.calls["eth_estimateGas"] == asked
    limits = limits_of(world.node)
    assert len(limits) == len(used) == 8  # two updates, two groups
    assert all(gas <= limit <= 2 * gas for gas, limit in zip(used, limits, strict=True)), (used, limits)
    # Half of the limit is charged in any case, and that is below what was used.
    assert all(gas > limit / 2 for gas, limit in zip(used, limits, strict=True)), (used, limits)


async def test_a_refusal_is_told_by_one_question_and_nothing_is_sent(world: World) -> None:
    async with world.gateway() as gateway:
        ledger, account = gateway.ledger, world.accounts[0]
        await ledger.submissions.submit("first", account, world.update())
        sent, asked = len(world.node.raw), world.node.calls["eth_estimateGas"]
        with pytest.raises(Refused) as refused:
            await ledger.submissions.submit("second", account, world.update(seed=1))
        assert refused.value.reason == "AlreadySubmitted"
        assert (len(world.node.raw), world.node.calls["eth_estimateGas"]) == (sent, asked)


async def test_where_the_computed_gas_is_not_enough_the_node_estimates(
    chain: Chain, outbox: Outbox, devchain: Devchain, node: QuirkyNode
) -> None:
    """Coin for an account that turns out to be a contract, or a pool that is not the one we know."""
    sender = devchain.accounts[0].address
    request = Request(request_id="create", account=sender, kind="test", contents=b"")
    outcome = await outbox.fulfil(request, always(Call(None, KEEPER)))
    contract = outcome.receipt.contract
    assert contract is not None
    gift = Call(contract, value=5, known_gas=21_000)
    assert await chain.gas_limit(sender, gift) > 40_000
    request = Request(request_id="gift", account=sender, kind="test", contents=b"gift")
    assert (await outbox.fulfil(request, always(gift))).receipt.succeeded


async def test_a_settlement_that_no_block_holds_is_refused_with_advice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.gateway() as gateway:
        for who in (0, 1):
            await gateway.ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        monkeypatch.setattr("linklearner.domain.gas.BLOCK_GAS", 100_000)
        with pytest.raises(Refused, match="make the groups or pages smaller") as refused:
            await gateway.ledger.settlements.settle("s", world.accounts[0], 1, 1)
        assert refused.value.reason == "GasLimitTooHigh"
        monkeypatch.setattr("linklearner.domain.gas.BLOCK_GAS", ARTELA.transaction_gas)
        await gateway.ledger.settlements.settle("s", world.accounts[0], 1, 1)


async def test_own_updates_and_settlements_are_not_read_back_from_the_chain(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        await ledger.settlements.settle("s", world.accounts[0], 1, 1)
        ours = await ledger.queries.round(1, 1)
        assert world.node.calls["eth_getTransactionByHash"] == 0
    async with world.gateway(outbox=world.folder / "other.sqlite") as other:
        assert await other.ledger.queries.round(1, 1) == ours  # as the chain has it


async def test_what_many_ask_of_one_block_is_asked_of_the_node_once(world: World) -> None:
    async with world.gateway() as gateway:
        await gateway.ledger.tasks.task(1)
        before = world.node.calls["eth_call"]
        await asyncio.gather(*(gateway.ledger.tasks.task(1) for _ in range(10)))
        assert world.node.calls["eth_call"] == before
        await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())
        assert (await gateway.ledger.tasks.task(1)).round.accepted == 1  # and not kept beyond it
