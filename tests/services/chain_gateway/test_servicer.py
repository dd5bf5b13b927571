"""The contract of protos/linklearner/v1/chain_gateway.proto, over the wire."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from linklearner.domain.shape import Shape
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from services.chain_gateway.servicer import SERVICE, ChainGatewayServicer
from tests.services.chain_gateway.conftest import World


@pytest.fixture
async def stub(world: World) -> AsyncIterator[pb_grpc.ChainGatewayServiceStub]:
    async with world.gateway() as gateway, channel(gateway.address) as wire:
        yield pb_grpc.ChainGatewayServiceStub(wire)


def test_every_rpc_of_the_contract_is_served() -> None:
    """The generated base class answers UNIMPLEMENTED for what is forgotten."""
    descriptor = pb.DESCRIPTOR.services_by_name["ChainGatewayService"]
    assert descriptor.full_name == SERVICE
    for method in descriptor.methods:
        assert method.name in vars(ChainGatewayServicer), method.name


async def test_chain_and_accounts(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    chain = await stub.GetChain(pb.GetChainRequest())
    assert (chain.chain_id, chain.pool, chain.aspect) == (11820, world.deployment.pool, world.deployment.aspect)
    assert chain.rpc_url == world.node.url
    assert chain.deployed_block_number == world.deployment.block < chain.head_block_number
    assert tuple((await stub.ListAccounts(pb.ListAccountsRequest())).accounts) == world.accounts


async def test_task_and_model(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    task = (await stub.GetTask(pb.GetTaskRequest(task=1))).task
    assert Shape.decode(task.shape) == world.task.shape
    assert task.model == world.task.model.to_json()
    assert (task.terms.quorum, int.from_bytes(task.terms.reward_wei, "big")) == (2, world.task.terms.reward)
    assert (task.version.version, task.version.round, task.round.round, task.round.eligible_units) == (1, 0, 1, 3000)
    parts = [part async for part in stub.GetModel(pb.GetModelRequest(task=1))]
    assert parts[0].version == task.version
    assert b"".join(part.weights for part in parts[1:]) == world.task.first_weights().tobytes()


async def test_a_round_over_the_wire(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    watching = stub.WatchVersions(pb.WatchVersionsRequest(task=1, after_version=1))
    for who in (0, 1):
        answer = await stub.SubmitUpdate(
            pb.SubmitUpdateRequest(request_id=f"u{who}", account=world.accounts[who], update=world.update(seed=who))
        )
        assert answer.receipt.gas_used > 21_000
        assert answer.receipt.transaction_bytes > len(world.update())
    settled = await stub.SettleRound(pb.SettleRoundRequest(request_id="s", account=world.accounts[0], task=1, round=1))
    assert len(settled.receipts) == 2
    announced = await asyncio.wait_for(watching.read(), 5)
    assert announced.version == settled.version
    history = await stub.GetRound(pb.GetRoundRequest(task=1, round=1))
    assert list(history.settlements) == list(settled.receipts)
    assert history.settler == world.accounts[0]
    assert int.from_bytes(history.settler_paid_wei, "big") == world.task.terms.reward * 500 // 10_000


async def test_refusals_carry_reason_and_facts(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    cases = [
        (stub.GetTask(pb.GetTaskRequest(task=9)), grpc.StatusCode.NOT_FOUND, "UnknownTask"),
        (
            stub.SettleRound(pb.SettleRoundRequest(request_id="s", account=world.accounts[0], task=1, round=1)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "NoUpdates",
        ),
        (
            stub.SubmitUpdate(
                pb.SubmitUpdateRequest(request_id="u", account=world.accounts[0], update=world.update(3))
            ),
            grpc.StatusCode.FAILED_PRECONDITION,
            "StaleBase",
        ),
        (
            stub.SubmitUpdate(pb.SubmitUpdateRequest(request_id="v", account=world.accounts[0], update=b"x")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "InvalidUpdate",
        ),
        (
            stub.LockStake(pb.LockStakeRequest(request_id="l", account=bytes(20), task=1, units=1)),
            grpc.StatusCode.NOT_FOUND,
            "UnknownAccount",
        ),
        (stub.GetBalance(pb.GetBalanceRequest(account=b"short")), grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput"),
        (
            stub.Transfer(pb.TransferRequest(request_id="t", account=world.accounts[0], to=bytes(20))),
            grpc.StatusCode.INVALID_ARGUMENT,
            "InvalidInput",
        ),
        (
            stub.Transfer(
                pb.TransferRequest(request_id="t", account=world.accounts[0], to=bytes(20), coin_wei=bytes(33))
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "InvalidInput",
        ),
    ]
    for call, code, reason in cases:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert (error.value.code(), from_rpc_error(error.value).reason) == (code, reason)


async def test_stake_over_the_wire(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    account = world.accounts[0]
    unlocked = await stub.UnlockStake(pb.UnlockStakeRequest(request_id="u", account=account, task=1, units=10))
    assert (unlocked.stake.locked_units, unlocked.stake.unlocking_units) == (990, 10)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.WithdrawStake(pb.WithdrawStakeRequest(request_id="w", account=account, task=1))
    assert from_rpc_error(error.value).reason == "StakeStillLocked"
    balance = await stub.GetBalance(pb.GetBalanceRequest(account=account, task=1))
    assert balance.stake == unlocked.stake
    assert balance.token_wei == b"\0"  # none, and not nothing said


async def test_the_request_id_reaches_the_node(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    await stub.GetBalance(pb.GetBalanceRequest(account=world.accounts[0]), metadata=(("x-request-id", "trace-me"),))
    seen = asyncio.Event()
    world.node.on_header = lambda headers: seen.set() if headers.get("X-Request-Id") == "trace-me" else None
    await stub.GetTask(pb.GetTaskRequest(task=1), metadata=(("x-request-id", "trace-me"),))
    assert seen.is_set()
