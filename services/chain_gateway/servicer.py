"""linklearner.v1.ChainGatewayService over the use cases: messages in, values across, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final, Protocol

from linklearner.domain.errors import Exhausted, InvalidInput
from linklearner.domain.rounds import Phase
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.sets import MAX_BYTES, ExampleBatches
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import ChainStatus, Task
from linklearner.domain.terms import check_examples
from linklearner.rpc import convert
from linklearner.rpc.access import Role, calling
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from services.chain_gateway.keeper import standing
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.opening import NewTask

SERVICE: Final = "linklearner.v1.ChainGatewayService"
CHUNK_BYTES: Final = 1 << 20
MAX_REQUEST_ID: Final = 128
MAX_PAGE: Final = 100
"""Tasks in one answer of ListTasks at most …"""
PAGE_BYTES: Final = 2 << 20
"""… and bytes of what their creators wrote: fewer tasks, but always one. A client takes messages of 8 MiB."""
MAX_OPENING_BYTES: Final = 64 << 20
"""Of a task's first weights: at 175 gas a byte 1,200 loading transactions of 14 million gas."""
MAX_MODEL_BYTES: Final = 1 << 20
"""Of a task's architecture: no transaction holds more."""
MAX_OPENINGS: Final = 4
"""Tasks whose weights are received or loaded at the same time."""
ROLES: Final = {
    f"/{SERVICE}/{method}": role
    for role, methods in {
        Role.READ: (
            "GetChain",
            "ListAccounts",
            "GetBalance",
            "ListTasks",
            "GetTask",
            "GetEarnings",
            "GetModel",
            "WatchVersions",
            "GetRound",
            "GetExamples",
        ),
        # a claim goes to the account itself
        Role.CONTRIBUTE: ("SubmitUpdate", "ClaimEarnings"),
        Role.SPEND: (
            "OpenTask",
            "FundTask",
            "GrantEmission",
            "CloseTask",
            "SettleRound",
            "LockStake",
            "UnlockStake",
            "WithdrawStake",
            "Transfer",
        ),
    }.items()
    for method in methods
}
"""What a caller must be allowed to do."""


class ChainGatewayServicer(pb_grpc.ChainGatewayServiceServicer):
    """Thin: the interceptor turns errors into statuses."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._openings = 0

    async def GetChain(self, request: pb.GetChainRequest, context: Any) -> pb.GetChainResponse:  # noqa: N802
        head = await self._ledger.views.head()
        deployment = self._ledger.deployment
        status = ChainStatus(
            chain_id=deployment.chain_id,
            head_block=head.number,
            head_time_s=head.time_s,
            pool=deployment.pool,
            vault=deployment.vault,
            token=deployment.token,
            aspect=deployment.aspect,
            deployed_block=deployment.block,
            rpc_url=self._ledger.chain.shown_url,
        )
        return convert.chain_message(status)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:  # noqa: N802
        return pb.ListAccountsResponse(accounts=self._ledger.accounts)

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:  # noqa: N802
        account = convert.address_of(request.account, "account")
        return convert.balance_message(await self._ledger.wallets.balance(account, request.task))

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:  # noqa: N802
        return pb.GetTaskResponse(task=convert.task_message(_ruled(await self._ledger.tasks.task(request.task))))

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> pb.ListTasksResponse:  # noqa: N802
        creator = convert.address_of(request.creator, "creator") if request.creator else b""
        if request.page_size > MAX_PAGE:
            raise InvalidInput(f"page_size must be between 0 and {MAX_PAGE}, got {request.page_size}")
        tasks, more = await self._ledger.tasks.page(
            creator, request.after_task, request.page_size or MAX_PAGE, PAGE_BYTES
        )
        return pb.ListTasksResponse(tasks=(convert.task_message(_ruled(task)) for task in tasks), more=more)

    async def OpenTask(self, requests: AsyncIterator[pb.OpenTaskRequest], context: Any) -> pb.OpenTaskResponse:  # noqa: N802
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("plan"):
            raise InvalidInput("the first message of OpenTask is the plan", reason="NoPlan")
        request_id, account = _sender(first.plan)
        if len(first.plan.model.encode()) > MAX_MODEL_BYTES:
            raise InvalidInput(f"a model's description has at most {MAX_MODEL_BYTES} bytes", reason="TooLong")
        shape, terms = Shape.decode(first.plan.shape), convert.terms_of(first.plan.terms)
        if self._openings >= MAX_OPENINGS:
            raise Exhausted(f"{MAX_OPENINGS} tasks are being opened here: try again when one of them is", reason="Busy")
        self._openings += 1
        try:
            weights, batches = await _first_weights(requests, shape)
            examples = _examples(first.plan.input_exponent, shape, batches)
            check_examples(terms, shape, examples)  # what the pool would refuse need not lie on our disk
            new = NewTask(first.plan.model, shape, terms, weights, examples)
            return convert.opened_message(await self._ledger.openings.open(request_id, account, new))
        finally:
            self._openings -= 1

    async def FundTask(self, request: pb.FundTaskRequest, context: Any) -> pb.FundTaskResponse:  # noqa: N802
        wei = convert.wei_of(request.amount_wei)
        return convert.funded_message(await self._ledger.money.fund(*_sender(request), request.task, wei))

    async def GrantEmission(  # noqa: N802
        self, request: pb.GrantEmissionRequest, context: Any
    ) -> pb.GrantEmissionResponse:
        wei = convert.wei_of(request.amount_wei)
        return convert.granted_message(await self._ledger.money.grant(*_sender(request), request.task, wei))

    async def CloseTask(self, request: pb.CloseTaskRequest, context: Any) -> pb.CloseTaskResponse:  # noqa: N802
        return convert.closed_message(await self._ledger.openings.close(*_sender(request), request.task))

    async def GetEarnings(self, request: pb.GetEarningsRequest, context: Any) -> pb.GetEarningsResponse:  # noqa: N802
        account = convert.address_of(request.account, "account")
        earnings, block = await self._ledger.money.earnings(account, request.task)
        return pb.GetEarningsResponse(
            earnings=convert.earnings_message(earnings),
            block_number=block,
            record=convert.record_message(earnings.record),
        )

    async def ClaimEarnings(self, request: pb.ClaimEarningsRequest, context: Any) -> pb.ClaimEarningsResponse:  # noqa: N802
        return convert.claimed_message(await self._ledger.money.claim(*_sender(request), request.task))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> AsyncIterator[pb.GetModelResponse]:  # noqa: N802
        version, weights = await self._ledger.tasks.model(request.task, request.version)
        yield pb.GetModelResponse(version=convert.version_message(version))
        for start in range(0, len(weights), CHUNK_BYTES):
            yield pb.GetModelResponse(weights=weights[start : start + CHUNK_BYTES])

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        async for version in self._ledger.tasks.watch_versions(request.task, request.after_version):
            yield pb.WatchVersionsResponse(version=convert.version_message(version))

    async def SubmitUpdate(self, request: pb.SubmitUpdateRequest, context: Any) -> pb.SubmitUpdateResponse:  # noqa: N802
        return convert.submitted_message(await self._ledger.submissions.submit(*_sender(request), request.update))

    async def SettleRound(self, request: pb.SettleRoundRequest, context: Any) -> pb.SettleRoundResponse:  # noqa: N802
        return convert.settled_message(
            await self._ledger.settlements.settle(*_sender(request), request.task, request.round)
        )

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:  # noqa: N802
        return convert.round_message(await self._ledger.queries.round(request.task, request.round))

    async def GetExamples(  # noqa: N802
        self, request: pb.GetExamplesRequest, context: Any
    ) -> AsyncIterator[pb.GetExamplesResponse]:
        async for batch in self._ledger.queries.examples(request.task, request.first_batch):
            yield convert.opened_batch_message(batch)

    async def LockStake(self, request: pb.LockStakeRequest, context: Any) -> pb.LockStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.wallets.lock(*_sender(request), request.task, request.units)
        return pb.LockStakeResponse(receipt=convert.receipt_message(mined), stake=convert.stake_message(stake))

    async def UnlockStake(self, request: pb.UnlockStakeRequest, context: Any) -> pb.UnlockStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.wallets.unlock(*_sender(request), request.task, request.units)
        return pb.UnlockStakeResponse(receipt=convert.receipt_message(mined), stake=convert.stake_message(stake))

    async def WithdrawStake(self, request: pb.WithdrawStakeRequest, context: Any) -> pb.WithdrawStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.wallets.withdraw(*_sender(request), request.task)
        return pb.WithdrawStakeResponse(receipt=convert.receipt_message(mined), stake=convert.stake_message(stake))

    async def Transfer(self, request: pb.TransferRequest, context: Any) -> pb.TransferResponse:  # noqa: N802
        request_id, account = _sender(request)
        to = convert.address_of(request.to, "to")
        match request.WhichOneof("amount"):
            case "token_wei":
                amount = convert.wei_of(request.token_wei)
                mined = await self._ledger.wallets.transfer_token(request_id, account, to, amount)
            case "coin_wei":
                mined = await self._ledger.wallets.transfer_coin(
                    request_id, account, to, convert.wei_of(request.coin_wei)
                )
            case _:
                raise InvalidInput("name the amount: token_wei or coin_wei")
        return pb.TransferResponse(receipt=convert.receipt_message(mined))


def _ruled(task: Task) -> Task:
    """With what the task's rule says of the open round."""
    rule, at = rule_of(task.terms.rule), standing(task)
    phase, due = (Phase.CLOSED, ()) if task.closed else (rule.phase(at), rule.due(task.terms, at))
    return replace(task, round=replace(task.round, phase=phase, due=due))


def _examples(input_exponent: int, shape: Shape, batches: list[bytes]) -> ExampleBatches | None:
    """Raises InvalidInput, InvalidModel for what the task's network cannot be judged by."""
    if not batches:
        return None
    network = IntegerNetwork.of_shape(shape, input_exponent)
    examples = ExampleBatches(input_exponent, network.widths[0], tuple(batches))
    examples.check(network)
    return examples


async def _first_weights(requests: AsyncIterator[pb.OpenTaskRequest], shape: Shape) -> tuple[bytes, list[bytes]]:
    """The rest of the stream: weights, and before them batches of examples if there are any. Raises InvalidInput at the first byte too
    many."""
    expected = 2 * shape.weight_count
    if expected > MAX_OPENING_BYTES:
        raise InvalidInput(
            f"a gateway opens tasks of at most {MAX_OPENING_BYTES} bytes of weights, not {expected}", reason="TooLong"
        )
    data, batches, kept = bytearray(), list[bytes](), 0
    async for part in requests:
        if part.examples and not data:
            kept += len(part.examples)
            if kept > MAX_BYTES or len(batches) == MAX_EXAMPLES:
                raise InvalidInput(
                    f"a gateway keeps sets of at most {MAX_EXAMPLES} examples and {MAX_BYTES} bytes", reason="TooLong"
                )
            batches.append(part.examples)
            continue
        if not part.weights:
            raise InvalidInput("after the plan, each message of OpenTask carries weights", reason="WrongLength")
        if len(part.weights) > CHUNK_BYTES:
            raise InvalidInput(
                f"a message carries at most {CHUNK_BYTES} bytes of weights, not {len(part.weights)}", reason="TooLong"
            )
        if len(data) + len(part.weights) > expected:
            raise InvalidInput(f"more than the {expected} bytes of weights that the shape has", reason="WrongLength")
        data += part.weights
    if len(data) != expected:
        raise InvalidInput(f"the shape has {expected} bytes of weights, {len(data)} were sent", reason="WrongLength")
    return bytes(data), batches


class _Sending(Protocol):
    @property
    def request_id(self) -> str: ...

    @property
    def account(self) -> bytes: ...


def _sender(request: _Sending) -> tuple[str, bytes]:
    """The outbox's name for a request, and the account that sends it.

    Each caller's ids live in a namespace of their own, apart from those that the gateway gives itself (settling, deploying): nobody can
    claim or ask about another's. Raises InvalidInput, PermissionDenied for an account that is not this caller's.
    """
    caller, account = calling(), convert.address_of(request.account, "account")
    if not 1 <= len(request.request_id) <= MAX_REQUEST_ID:
        raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, got {len(request.request_id)}")
    caller.check_account(account)
    return f"caller/{caller.name}/{request.request_id}", account
