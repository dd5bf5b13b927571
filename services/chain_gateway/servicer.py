"""linklearner.v1.ChainGatewayService over the use cases: messages in, values across, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final, Protocol

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.table import rule_of
from linklearner.domain.tasks import ChainStatus
from linklearner.rpc import convert
from linklearner.rpc.access import Role, calling
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from services.chain_gateway.keeper import standing
from services.chain_gateway.ledger import Ledger

SERVICE: Final = "linklearner.v1.ChainGatewayService"
CHUNK_BYTES: Final = 1 << 20
MAX_REQUEST_ID: Final = 128
ROLES: Final = {
    f"/{SERVICE}/{method}": role
    for role, methods in {
        Role.READ: ("GetChain", "ListAccounts", "GetBalance", "GetTask", "GetModel", "WatchVersions", "GetRound"),
        Role.CONTRIBUTE: ("SubmitUpdate",),
        Role.SPEND: ("SettleRound", "LockStake", "UnlockStake", "WithdrawStake", "Transfer"),
    }.items()
    for method in methods
}
"""What a caller must be allowed to do."""


class ChainGatewayServicer(pb_grpc.ChainGatewayServiceServicer):
    """Thin: the interceptor turns errors into statuses."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def GetChain(self, request: pb.GetChainRequest, context: Any) -> pb.GetChainResponse:  # noqa: N802
        head = await self._ledger.views.head()
        deployment = self._ledger.deployment
        status = ChainStatus(
            chain_id=deployment.chain_id,
            head_block=head.number,
            head_time_s=head.time_s,
            pool=deployment.pool,
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
        task = await self._ledger.tasks.task(request.task)
        rule, at = rule_of(task.terms.rule), standing(task)
        status = replace(task.round, phase=rule.phase(at), due=rule.due(task.terms, at))
        return pb.GetTaskResponse(task=convert.task_message(replace(task, round=status)))

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
