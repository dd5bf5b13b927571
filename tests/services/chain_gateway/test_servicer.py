"""The contract of protos/linklearner/v1/chain_gateway.proto, over the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from linklearner.domain.shape import Shape, Tensor
from linklearner.rpc import convert
from linklearner.rpc.access import Credential, Role
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from linklearner.v1 import model_pb2
from services.chain_gateway.servicer import ROLES, SERVICE, ChainGatewayServicer
from tests.services.chain_gateway.conftest import World


@pytest.fixture
async def stub(world: World) -> AsyncIterator[pb_grpc.ChainGatewayServiceStub]:
    async with world.gateway() as gateway, channel(gateway.address, world.operator) as wire:
        yield pb_grpc.ChainGatewayServiceStub(wire)


def test_every_rpc_of_the_contract_is_served() -> None:
    """The generated base class answers UNIMPLEMENTED for what is forgotten."""
    descriptor = pb.DESCRIPTOR.services_by_name["ChainGatewayService"]
    assert descriptor.full_name == SERVICE
    for method in descriptor.methods:
        assert method.name in vars(ChainGatewayServicer), method.name


async def test_chain_and_accounts(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    chain = await stub.GetChain(pb.GetChainRequest())
    assert (chain.chain_id, chain.pool, chain.aspect) == (7105636, world.deployment.pool, world.deployment.aspect)
    assert chain.rpc_url == world.node.url
    assert chain.deployed_block_number == world.deployment.block < chain.head_block_number
    assert tuple((await stub.ListAccounts(pb.ListAccountsRequest())).accounts) == world.accounts


async def test_task_and_model(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    task = (await stub.GetTask(pb.GetTaskRequest(task=1))).task
    assert Shape.decode(task.shape) == world.task.shape
    assert task.model == world.task.model.to_json()
    assert (task.terms.quorum_bps, int.from_bytes(task.terms.reward_wei, "big")) == (5000, world.task.terms.reward)
    assert (task.version.version, task.version.round, task.round.round, task.round.eligible_units) == (1, 0, 1, 3000)
    assert task.round.phase == model_pb2.PHASE_OPEN
    accept, drop = task.round.due
    assert (accept.step, accept.from_s) == (model_pb2.STEP_ACCEPTED, 0)
    assert drop.step == model_pb2.STEP_DROPPED
    opened = (await world.devchain.thread.run(lambda: world.devchain.chain.head.timestamp)) - drop.from_s
    assert -world.task.terms.drop_seconds <= opened <= 60 - world.task.terms.drop_seconds
    parts = [part async for part in stub.GetModel(pb.GetModelRequest(task=1))]
    assert parts[0].version == task.version
    assert b"".join(part.weights for part in parts[1:]) == world.task.first_weights().tobytes()


async def test_a_round_over_the_wire(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    await world.later(60)
    watching = stub.WatchVersions(pb.WatchVersionsRequest(task=1, after_version=1))
    for who in (0, 1):
        answer = await stub.SubmitUpdate(
            pb.SubmitUpdateRequest(request_id=f"u{who}", account=world.accounts[who], update=world.update(seed=who))
        )
        assert answer.receipt.gas_used > 21_000
        assert answer.receipt.transaction_bytes > len(world.update())
        task = (await stub.GetTask(pb.GetTaskRequest(task=1))).task
        settle = next(due for due in task.round.due if due.step == model_pb2.STEP_SETTLED)
        assert task.round.phase == model_pb2.PHASE_COLLECTING
        late, soon = task.round.first_update_s + task.terms.round_seconds, task.round.opened_s + 1
        assert settle.from_s == (late if who == 0 else soon)  # two are the quorum
    settled = await stub.SettleRound(pb.SettleRoundRequest(request_id="s", account=world.accounts[0], task=1, round=1))
    assert len(settled.receipts) == 2
    announced = await asyncio.wait_for(watching.read(), 5)
    assert announced.version == settled.version
    history = await stub.GetRound(pb.GetRoundRequest(task=1, round=1))
    assert list(history.settlements) == list(settled.receipts)
    assert history.settler == world.accounts[0]
    fee = int.from_bytes(history.settler_paid_wei, "big")
    earned = sum(int.from_bytes(one.paid_wei, "big") for one in history.contributions)
    assert 0 < fee <= world.task.terms.reward * 500 // 10_000 and abs(19 * fee - earned) < 100  # a twentieth


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
    # an account that takes part in the open round has its stake held, however slow this machine is
    await stub.SubmitUpdate(pb.SubmitUpdateRequest(request_id="s", account=account, update=world.update()))
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


@pytest.mark.parametrize(("length", "taken"), [(1, True), (128, True), (0, False), (129, False)])
async def test_request_ids_have_1_to_128_characters(
    world: World, stub: pb_grpc.ChainGatewayServiceStub, length: int, taken: bool
) -> None:
    one, other = world.accounts[:2]
    asked = stub.Transfer(pb.TransferRequest(request_id="r" * length, account=one, to=other, coin_wei=b"\1"))
    if taken:
        await asked
    else:
        with pytest.raises(grpc.RpcError) as refused:
            await asked
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "1 to 128 characters" in (refused.value.details() or "")


# --- who may call


def test_every_rpc_says_what_its_caller_must_be_allowed() -> None:
    assert set(ROLES) == {
        f"/{SERVICE}/{one.name}" for one in pb.DESCRIPTOR.services_by_name["ChainGatewayService"].methods
    }


@pytest.mark.parametrize("role", [Role.READ, Role.CONTRIBUTE, None])
async def test_only_an_operator_moves_money(world: World, role: Role | None) -> None:
    credential = None if role is None else Credential.kept(world.folder / "access" / "somebody.json", role)
    account = world.accounts[0]
    async with world.gateway() as gateway, channel(gateway.address, credential) as wire:
        stub = pb_grpc.ChainGatewayServiceStub(wire)
        before = await gateway.ledger.chain.nonce(account)
        for call in (
            stub.Transfer(pb.TransferRequest(request_id="t", account=account, to=b"\1" * 20, coin_wei=b"\1")),
            stub.LockStake(pb.LockStakeRequest(request_id="l", account=account, task=1, units=1)),
            stub.UnlockStake(pb.UnlockStakeRequest(request_id="u", account=account, task=1, units=1)),
            stub.WithdrawStake(pb.WithdrawStakeRequest(request_id="w", account=account, task=1)),
            stub.SettleRound(pb.SettleRoundRequest(request_id="s", account=account, task=1, round=1)),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                await call
            wanted = grpc.StatusCode.UNAUTHENTICATED if role is None else grpc.StatusCode.PERMISSION_DENIED
            assert refused.value.code() is wanted
        assert await gateway.ledger.chain.nonce(account) == before


async def test_a_contributor_submits_for_its_own_account_only(world: World) -> None:
    mine, other = world.accounts[:2]
    credential = Credential.kept(world.folder / "access" / "trainer.json", Role.CONTRIBUTE, mine)
    async with world.gateway() as gateway, channel(gateway.address, credential) as wire:
        stub = pb_grpc.ChainGatewayServiceStub(wire)
        with pytest.raises(grpc.RpcError) as refused:
            await stub.SubmitUpdate(pb.SubmitUpdateRequest(request_id="u", account=other, update=world.update()))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await stub.SubmitUpdate(pb.SubmitUpdateRequest(request_id="u", account=mine, update=world.update()))


async def test_a_caller_cannot_claim_the_gateways_own_or_anothers_request_ids(world: World) -> None:
    """Whoever takes an id first decides what it stands for: the settler's next one would never be sent."""
    account = world.accounts[0]
    other = Credential.kept(world.folder / "access" / "other.json", Role.SPEND)
    settlers = f"auto/1/1/{account.hex()}/group/0"

    def gift(wei: bytes) -> pb.TransferRequest:
        return pb.TransferRequest(request_id=settlers, account=account, to=b"\1" * 20, coin_wei=wei)

    async with (
        world.gateway() as gateway,
        channel(gateway.address, world.operator) as wire,
        channel(gateway.address, other) as others_wire,
    ):
        first = await pb_grpc.ChainGatewayServiceStub(wire).Transfer(gift(b"\1"))
        second = await pb_grpc.ChainGatewayServiceStub(others_wire).Transfer(gift(b"\2"))
        assert first.receipt.transaction_hash != second.receipt.transaction_hash
        assert await pb_grpc.ChainGatewayServiceStub(wire).Transfer(gift(b"\1")) == first
        for who in (0, 1):
            await gateway.ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        settled = await gateway.ledger.settlements.settle(f"auto/1/1/{account.hex()}", account, 1, 1)
        assert settled.version.version == 2


def plan_of(world: World, **changes: Any) -> pb.OpenTaskRequest:
    task = world.task
    plan = pb.OpenTaskRequest.Plan(
        request_id="open",
        account=world.accounts[0],
        model=task.model.to_json(),
        shape=task.shape.encode(),
        terms=convert.terms_message(task.terms),
    )
    for name, value in changes.items():
        setattr(plan, name, value)
    return pb.OpenTaskRequest(plan=plan)


@pytest.mark.parametrize("wrong", ["nothing", "no plan", "two plans", "short", "long", "empty", "large", "shape"])
async def test_what_opens_no_task_is_refused_before_anything_is_sent(
    world: World, stub: pb_grpc.ChainGatewayServiceStub, wrong: str
) -> None:
    data = world.task.first_weights().astype("<i2").tobytes()
    weights, plan = pb.OpenTaskRequest(weights=data), plan_of(world)
    huge = Shape(tuple(Tensor(2**20, 12) for _ in range(64)), 16384, 1, 2**20)
    messages = {
        "nothing": [],
        "no plan": [weights],
        "two plans": [plan, plan],
        "short": [plan, pb.OpenTaskRequest(weights=data[:-2])],
        "long": [plan, weights, pb.OpenTaskRequest(weights=b"\0\0")],
        "empty": [plan, pb.OpenTaskRequest()],
        "large": [plan_of(world, shape=huge.encode())],
        "shape": [plan_of(world, shape=b"x")],
    }[wrong]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.OpenTask(iter(messages))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not world.node.raw


async def test_tasks_are_listed_in_pages(world: World, stub: pb_grpc.ChainGatewayServiceStub) -> None:
    data = world.task.first_weights().astype("<i2").tobytes()
    opened = await stub.OpenTask(iter([plan_of(world), pb.OpenTaskRequest(weights=data)]))
    assert opened.task == 2
    first = await stub.ListTasks(pb.ListTasksRequest(page_size=1))
    assert ([one.task for one in first.tasks], first.more) == ([1], True)
    rest = await stub.ListTasks(pb.ListTasksRequest(after_task=1))
    assert ([one.task for one in rest.tasks], rest.more) == ([2], False)
    assert rest.tasks[0].creator == world.accounts[0] and rest.tasks[0].round.phase == model_pb2.PHASE_OPEN
    for request in (pb.ListTasksRequest(page_size=101), pb.ListTasksRequest(creator=b"x")):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListTasks(request)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
