"""linklearner.v1.ChainGatewayService over the use cases: messages in, values across, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from linklearner.domain.errors import InvalidInput
from linklearner.domain.model import ModelVersion
from linklearner.domain.rules.table import rule_of
from linklearner.rpc.access import Role, calling
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from linklearner.v1 import model_pb2
from services.chain_gateway import ledger as use
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
        head = await self._ledger.head()
        deployment = self._ledger.deployment
        return pb.GetChainResponse(
            chain_id=deployment.chain_id,
            head_block_number=head.number,
            head_time_s=head.time_s,
            pool=deployment.pool,
            token=deployment.token,
            aspect=deployment.aspect,
            deployed_block_number=deployment.block,
            rpc_url=self._ledger.chain.shown_url,
        )

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:  # noqa: N802
        return pb.ListAccountsResponse(accounts=self._ledger.accounts)

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:  # noqa: N802
        balance = await self._ledger.balance(_address(request.account, "account"), request.task)
        return pb.GetBalanceResponse(
            token_wei=_wei(balance.token),
            coin_wei=_wei(balance.coin),
            stake=None if balance.stake is None else _stake(balance.stake),
            block_number=balance.block,
        )

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:  # noqa: N802
        task = await self._ledger.task(request.task)
        terms, status = task.terms, task.round
        rule, at = rule_of(terms.rule), standing(task)
        return pb.GetTaskResponse(
            task=model_pb2.Task(
                task=task.task,
                model=task.model,
                shape=task.shape.encode(),
                terms=model_pb2.Terms(
                    rule=terms.rule,
                    quorum=terms.quorum,
                    max_updates=terms.max_updates,
                    round_seconds=terms.round_seconds,
                    drop_seconds=terms.drop_seconds,
                    min_stake_units=terms.min_stake,
                    settler_bps=terms.settler_bps,
                    reward_wei=_wei(terms.reward),
                ),
                version=model_pb2.ModelVersion(task=task.task) if task.announced is None else _version(task.announced),
                round=model_pb2.RoundStatus(
                    round=status.round,
                    accepted_count=status.accepted,
                    present_units=status.present,
                    eligible_units=status.eligible,
                    merged_group_count=status.merged_groups,
                    first_update_s=status.first_update_s,
                    phase=f"PHASE_{rule.phase(at).name}",
                    due=[model_pb2.Due(step=f"STEP_{due.step.name}", from_s=due.from_s) for due in rule.due(terms, at)],
                ),
            )
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> AsyncIterator[pb.GetModelResponse]:  # noqa: N802
        version, weights = await self._ledger.model(request.task, request.version)
        yield pb.GetModelResponse(version=_version(version))
        for start in range(0, len(weights), CHUNK_BYTES):
            yield pb.GetModelResponse(weights=weights[start : start + CHUNK_BYTES])

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        async for version in self._ledger.watch_versions(request.task, request.after_version):
            yield pb.WatchVersionsResponse(version=_version(version))

    async def SubmitUpdate(self, request: pb.SubmitUpdateRequest, context: Any) -> pb.SubmitUpdateResponse:  # noqa: N802
        submitted = await self._ledger.submit_update(*_sender(request), request.update)
        return pb.SubmitUpdateResponse(
            receipt=_receipt(submitted.mined),
            digest=submitted.digest,
            round=submitted.round,
            weight_units=submitted.weight,
            effective_units=submitted.effective,
        )

    async def SettleRound(self, request: pb.SettleRoundRequest, context: Any) -> pb.SettleRoundResponse:  # noqa: N802
        settled = await self._ledger.settle(*_sender(request), request.task, request.round)
        return pb.SettleRoundResponse(receipts=map(_receipt, settled.mined), version=_version(settled.version))

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:  # noqa: N802
        found = await self._ledger.round(request.task, request.round)
        return pb.GetRoundResponse(
            round=found.round,
            base_version=found.base_version,
            contributions=[
                pb.Contribution(
                    contributor=one.contributor,
                    digest=one.digest,
                    weight_units=one.weight,
                    effective_units=one.effective,
                    receipt=_receipt(one.mined),
                    update_bytes=one.update_bytes,
                    paid_wei=b"" if one.paid is None else _wei(one.paid),
                )
                for one in found.contributions
            ],
            version=None if found.version is None else _version(found.version),
            settlements=map(_receipt, found.settlements),
            settler=found.settler,
            settler_paid_wei=_wei(found.settler_paid) if found.version is not None else b"",
            dropped=found.dropped,
        )

    async def LockStake(self, request: pb.LockStakeRequest, context: Any) -> pb.LockStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.lock(*_sender(request), request.task, request.units)
        return pb.LockStakeResponse(receipt=_receipt(mined), stake=_stake(stake))

    async def UnlockStake(self, request: pb.UnlockStakeRequest, context: Any) -> pb.UnlockStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.unlock(*_sender(request), request.task, request.units)
        return pb.UnlockStakeResponse(receipt=_receipt(mined), stake=_stake(stake))

    async def WithdrawStake(self, request: pb.WithdrawStakeRequest, context: Any) -> pb.WithdrawStakeResponse:  # noqa: N802
        mined, stake = await self._ledger.withdraw(*_sender(request), request.task)
        return pb.WithdrawStakeResponse(receipt=_receipt(mined), stake=_stake(stake))

    async def Transfer(self, request: pb.TransferRequest, context: Any) -> pb.TransferResponse:  # noqa: N802
        request_id, account = _sender(request)
        to = _address(request.to, "to")
        match request.WhichOneof("amount"):
            case "token_wei":
                amount = _amount(request.token_wei)
                mined = await self._ledger.transfer_token(request_id, account, to, amount)
            case "coin_wei":
                mined = await self._ledger.transfer_coin(request_id, account, to, _amount(request.coin_wei))
            case _:
                raise InvalidInput("name the amount: token_wei or coin_wei")
        return pb.TransferResponse(receipt=_receipt(mined))


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
    caller, account = calling(), _address(request.account, "account")
    if not 1 <= len(request.request_id) <= MAX_REQUEST_ID:
        raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, got {len(request.request_id)}")
    caller.check_account(account)
    return f"caller/{caller.name}/{request.request_id}", account


def _address(value: bytes, name: str) -> bytes:
    if len(value) != 20:
        raise InvalidInput(f"{name} is an address of 20 bytes, not {len(value)}", facts={"field": name})
    return value


def _amount(value: bytes) -> int:
    if len(value) > 32:
        raise InvalidInput(f"an amount has at most 32 bytes, not {len(value)}")
    return int.from_bytes(value, "big")


def _wei(amount: int) -> bytes:
    """Big-endian, as short as it gets, but never empty: empty means that there is no amount."""
    return amount.to_bytes(max(1, (amount.bit_length() + 7) // 8), "big")


def _receipt(mined: use.Mined) -> pb.Receipt:
    return pb.Receipt(
        transaction_hash=mined.transaction,
        block_number=mined.block,
        gas_used=mined.gas_used,
        transaction_bytes=mined.length,
    )


def _stake(stake: use.StakeStatus) -> pb.StakeStatus:
    return pb.StakeStatus(
        eligible_units=stake.eligible,
        locked_units=stake.locked,
        unlocking_units=stake.unlocking,
        unlocking_round=stake.unlocking_round,
    )


def _version(version: ModelVersion) -> model_pb2.ModelVersion:
    return model_pb2.ModelVersion(
        task=version.task,
        version=version.version,
        digest=version.digest,
        round=version.round,
        accepted_count=version.accepted_count,
        saturated_count=version.saturated_count,
        block_number=version.block_number,
    )
