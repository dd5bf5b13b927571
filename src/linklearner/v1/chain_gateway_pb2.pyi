from linklearner.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_MERGED: _ClassVar[Outcome]
    OUTCOME_EMPTY: _ClassVar[Outcome]
    OUTCOME_NO_RECORD: _ClassVar[Outcome]
    OUTCOME_NO_GAIN: _ClassVar[Outcome]
    OUTCOME_GUARDED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_MERGED: Outcome
OUTCOME_EMPTY: Outcome
OUTCOME_NO_RECORD: Outcome
OUTCOME_NO_GAIN: Outcome
OUTCOME_GUARDED: Outcome

class Receipt(_message.Message):
    __slots__ = ("transaction_hash", "block_number", "gas_used", "transaction_bytes")
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    GAS_USED_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    transaction_hash: bytes
    block_number: int
    gas_used: int
    transaction_bytes: int
    def __init__(self, transaction_hash: _Optional[bytes] = ..., block_number: _Optional[int] = ..., gas_used: _Optional[int] = ..., transaction_bytes: _Optional[int] = ...) -> None: ...

class GetChainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetChainResponse(_message.Message):
    __slots__ = ("chain_id", "head_block_number", "head_time_s", "pool", "token", "aspect", "deployed_block_number", "rpc_url", "vault")
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    HEAD_BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    HEAD_TIME_S_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ASPECT_FIELD_NUMBER: _ClassVar[int]
    DEPLOYED_BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    RPC_URL_FIELD_NUMBER: _ClassVar[int]
    VAULT_FIELD_NUMBER: _ClassVar[int]
    chain_id: int
    head_block_number: int
    head_time_s: int
    pool: bytes
    token: bytes
    aspect: bytes
    deployed_block_number: int
    rpc_url: str
    vault: bytes
    def __init__(self, chain_id: _Optional[int] = ..., head_block_number: _Optional[int] = ..., head_time_s: _Optional[int] = ..., pool: _Optional[bytes] = ..., token: _Optional[bytes] = ..., aspect: _Optional[bytes] = ..., deployed_block_number: _Optional[int] = ..., rpc_url: _Optional[str] = ..., vault: _Optional[bytes] = ...) -> None: ...

class ListAccountsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAccountsResponse(_message.Message):
    __slots__ = ("accounts",)
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, accounts: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetBalanceRequest(_message.Message):
    __slots__ = ("account", "task")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    task: int
    def __init__(self, account: _Optional[bytes] = ..., task: _Optional[int] = ...) -> None: ...

class GetBalanceResponse(_message.Message):
    __slots__ = ("token_wei", "coin_wei", "stake", "block_number")
    TOKEN_WEI_FIELD_NUMBER: _ClassVar[int]
    COIN_WEI_FIELD_NUMBER: _ClassVar[int]
    STAKE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    token_wei: bytes
    coin_wei: bytes
    stake: StakeStatus
    block_number: int
    def __init__(self, token_wei: _Optional[bytes] = ..., coin_wei: _Optional[bytes] = ..., stake: _Optional[_Union[StakeStatus, _Mapping]] = ..., block_number: _Optional[int] = ...) -> None: ...

class StakeStatus(_message.Message):
    __slots__ = ("eligible_units", "locked_units", "unlocking_units", "withdrawable_s", "matures_s")
    ELIGIBLE_UNITS_FIELD_NUMBER: _ClassVar[int]
    LOCKED_UNITS_FIELD_NUMBER: _ClassVar[int]
    UNLOCKING_UNITS_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWABLE_S_FIELD_NUMBER: _ClassVar[int]
    MATURES_S_FIELD_NUMBER: _ClassVar[int]
    eligible_units: int
    locked_units: int
    unlocking_units: int
    withdrawable_s: int
    matures_s: int
    def __init__(self, eligible_units: _Optional[int] = ..., locked_units: _Optional[int] = ..., unlocking_units: _Optional[int] = ..., withdrawable_s: _Optional[int] = ..., matures_s: _Optional[int] = ...) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: int
    def __init__(self, task: _Optional[int] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _model_pb2.Task
    def __init__(self, task: _Optional[_Union[_model_pb2.Task, _Mapping]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("task", "version")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    task: int
    version: int
    def __init__(self, task: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("version", "weights")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.ModelVersion
    weights: bytes
    def __init__(self, version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., weights: _Optional[bytes] = ...) -> None: ...

class WatchVersionsRequest(_message.Message):
    __slots__ = ("task", "after_version")
    TASK_FIELD_NUMBER: _ClassVar[int]
    AFTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    task: int
    after_version: int
    def __init__(self, task: _Optional[int] = ..., after_version: _Optional[int] = ...) -> None: ...

class WatchVersionsResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.ModelVersion
    def __init__(self, version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class SubmitUpdateRequest(_message.Message):
    __slots__ = ("request_id", "account", "update")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    update: bytes
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., update: _Optional[bytes] = ...) -> None: ...

class SubmitUpdateResponse(_message.Message):
    __slots__ = ("receipt", "digest", "round", "weight_units", "effective_units")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_UNITS_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    digest: bytes
    round: int
    weight_units: int
    effective_units: int
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., digest: _Optional[bytes] = ..., round: _Optional[int] = ..., weight_units: _Optional[int] = ..., effective_units: _Optional[int] = ...) -> None: ...

class SettleRoundRequest(_message.Message):
    __slots__ = ("request_id", "account", "task", "round")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    round: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ..., round: _Optional[int] = ...) -> None: ...

class SettleRoundResponse(_message.Message):
    __slots__ = ("receipts", "version")
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    version: _model_pb2.ModelVersion
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class GetRoundRequest(_message.Message):
    __slots__ = ("task", "round")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    task: int
    round: int
    def __init__(self, task: _Optional[int] = ..., round: _Optional[int] = ...) -> None: ...

class GetRoundResponse(_message.Message):
    __slots__ = ("round", "base_version", "contributions", "version", "settlements", "settler", "settler_paid_wei", "dropped", "examples")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENTS_FIELD_NUMBER: _ClassVar[int]
    SETTLER_FIELD_NUMBER: _ClassVar[int]
    SETTLER_PAID_WEI_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    round: int
    base_version: int
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    version: _model_pb2.ModelVersion
    settlements: _containers.RepeatedCompositeFieldContainer[Receipt]
    settler: bytes
    settler_paid_wei: bytes
    dropped: bool
    examples: RoundExamples
    def __init__(self, round: _Optional[int] = ..., base_version: _Optional[int] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., settlements: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., settler: _Optional[bytes] = ..., settler_paid_wei: _Optional[bytes] = ..., dropped: _Optional[bool] = ..., examples: _Optional[_Union[RoundExamples, _Mapping]] = ...) -> None: ...

class RoundExamples(_message.Message):
    __slots__ = ("batch", "example_count", "opened_example_count", "receipt")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPENED_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    batch: int
    example_count: int
    opened_example_count: int
    receipt: Receipt
    def __init__(self, batch: _Optional[int] = ..., example_count: _Optional[int] = ..., opened_example_count: _Optional[int] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("outcome", "gain_q16", "record_q16")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    GAIN_Q16_FIELD_NUMBER: _ClassVar[int]
    RECORD_Q16_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    gain_q16: int
    record_q16: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., gain_q16: _Optional[int] = ..., record_q16: _Optional[int] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("contributor", "digest", "weight_units", "effective_units", "receipt", "update_bytes", "paid_wei", "verdict")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_UNITS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAID_WEI_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    contributor: bytes
    digest: bytes
    weight_units: int
    effective_units: int
    receipt: Receipt
    update_bytes: int
    paid_wei: bytes
    verdict: Verdict
    def __init__(self, contributor: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., weight_units: _Optional[int] = ..., effective_units: _Optional[int] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., update_bytes: _Optional[int] = ..., paid_wei: _Optional[bytes] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class GetExamplesRequest(_message.Message):
    __slots__ = ("task", "first_batch")
    TASK_FIELD_NUMBER: _ClassVar[int]
    FIRST_BATCH_FIELD_NUMBER: _ClassVar[int]
    task: int
    first_batch: int
    def __init__(self, task: _Optional[int] = ..., first_batch: _Optional[int] = ...) -> None: ...

class GetExamplesResponse(_message.Message):
    __slots__ = ("batch", "round", "examples", "proof")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    batch: int
    round: int
    examples: bytes
    proof: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, batch: _Optional[int] = ..., round: _Optional[int] = ..., examples: _Optional[bytes] = ..., proof: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LockStakeRequest(_message.Message):
    __slots__ = ("request_id", "account", "task", "units")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    units: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ..., units: _Optional[int] = ...) -> None: ...

class LockStakeResponse(_message.Message):
    __slots__ = ("receipt", "stake")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STAKE_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    stake: StakeStatus
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., stake: _Optional[_Union[StakeStatus, _Mapping]] = ...) -> None: ...

class UnlockStakeRequest(_message.Message):
    __slots__ = ("request_id", "account", "task", "units")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    units: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ..., units: _Optional[int] = ...) -> None: ...

class UnlockStakeResponse(_message.Message):
    __slots__ = ("receipt", "stake")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STAKE_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    stake: StakeStatus
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., stake: _Optional[_Union[StakeStatus, _Mapping]] = ...) -> None: ...

class WithdrawStakeRequest(_message.Message):
    __slots__ = ("request_id", "account", "task")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ...) -> None: ...

class WithdrawStakeResponse(_message.Message):
    __slots__ = ("receipt", "stake")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STAKE_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    stake: StakeStatus
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., stake: _Optional[_Union[StakeStatus, _Mapping]] = ...) -> None: ...

class TransferRequest(_message.Message):
    __slots__ = ("request_id", "account", "to", "token_wei", "coin_wei")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    TOKEN_WEI_FIELD_NUMBER: _ClassVar[int]
    COIN_WEI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    to: bytes
    token_wei: bytes
    coin_wei: bytes
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., to: _Optional[bytes] = ..., token_wei: _Optional[bytes] = ..., coin_wei: _Optional[bytes] = ...) -> None: ...

class TransferResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("creator", "after_task", "page_size")
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    AFTER_TASK_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    creator: bytes
    after_task: int
    page_size: int
    def __init__(self, creator: _Optional[bytes] = ..., after_task: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "more")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_model_pb2.Task]
    more: bool
    def __init__(self, tasks: _Optional[_Iterable[_Union[_model_pb2.Task, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class OpenTaskRequest(_message.Message):
    __slots__ = ("plan", "examples", "weights")
    class Plan(_message.Message):
        __slots__ = ("request_id", "account", "model", "shape", "terms", "input_exponent")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        ACCOUNT_FIELD_NUMBER: _ClassVar[int]
        MODEL_FIELD_NUMBER: _ClassVar[int]
        SHAPE_FIELD_NUMBER: _ClassVar[int]
        TERMS_FIELD_NUMBER: _ClassVar[int]
        INPUT_EXPONENT_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        account: bytes
        model: str
        shape: bytes
        terms: _model_pb2.Terms
        input_exponent: int
        def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., model: _Optional[str] = ..., shape: _Optional[bytes] = ..., terms: _Optional[_Union[_model_pb2.Terms, _Mapping]] = ..., input_exponent: _Optional[int] = ...) -> None: ...
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    plan: OpenTaskRequest.Plan
    examples: bytes
    weights: bytes
    def __init__(self, plan: _Optional[_Union[OpenTaskRequest.Plan, _Mapping]] = ..., examples: _Optional[bytes] = ..., weights: _Optional[bytes] = ...) -> None: ...

class OpenTaskResponse(_message.Message):
    __slots__ = ("task", "receipts", "version")
    TASK_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    task: int
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    version: _model_pb2.ModelVersion
    def __init__(self, task: _Optional[int] = ..., receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class FundTaskRequest(_message.Message):
    __slots__ = ("request_id", "account", "task", "amount_wei")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_WEI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    amount_wei: bytes
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ..., amount_wei: _Optional[bytes] = ...) -> None: ...

class FundTaskResponse(_message.Message):
    __slots__ = ("receipt", "pot_wei")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    POT_WEI_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    pot_wei: bytes
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., pot_wei: _Optional[bytes] = ...) -> None: ...

class GrantEmissionRequest(_message.Message):
    __slots__ = ("request_id", "account", "task", "amount_wei")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_WEI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    amount_wei: bytes
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ..., amount_wei: _Optional[bytes] = ...) -> None: ...

class GrantEmissionResponse(_message.Message):
    __slots__ = ("receipt", "pot_wei")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    POT_WEI_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    pot_wei: bytes
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., pot_wei: _Optional[bytes] = ...) -> None: ...

class CloseTaskRequest(_message.Message):
    __slots__ = ("request_id", "account", "task")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ...) -> None: ...

class CloseTaskResponse(_message.Message):
    __slots__ = ("receipt", "closed")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    closed: bool
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ..., closed: _Optional[bool] = ...) -> None: ...

class Earnings(_message.Message):
    __slots__ = ("earned_wei", "pay_wei", "fees_wei", "stake_fees_wei")
    EARNED_WEI_FIELD_NUMBER: _ClassVar[int]
    PAY_WEI_FIELD_NUMBER: _ClassVar[int]
    FEES_WEI_FIELD_NUMBER: _ClassVar[int]
    STAKE_FEES_WEI_FIELD_NUMBER: _ClassVar[int]
    earned_wei: bytes
    pay_wei: bytes
    fees_wei: bytes
    stake_fees_wei: bytes
    def __init__(self, earned_wei: _Optional[bytes] = ..., pay_wei: _Optional[bytes] = ..., fees_wei: _Optional[bytes] = ..., stake_fees_wei: _Optional[bytes] = ...) -> None: ...

class AccountRecord(_message.Message):
    __slots__ = ("record_q16",)
    RECORD_Q16_FIELD_NUMBER: _ClassVar[int]
    record_q16: int
    def __init__(self, record_q16: _Optional[int] = ...) -> None: ...

class GetEarningsRequest(_message.Message):
    __slots__ = ("account", "task")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    task: int
    def __init__(self, account: _Optional[bytes] = ..., task: _Optional[int] = ...) -> None: ...

class GetEarningsResponse(_message.Message):
    __slots__ = ("earnings", "block_number", "record")
    EARNINGS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    earnings: Earnings
    block_number: int
    record: AccountRecord
    def __init__(self, earnings: _Optional[_Union[Earnings, _Mapping]] = ..., block_number: _Optional[int] = ..., record: _Optional[_Union[AccountRecord, _Mapping]] = ...) -> None: ...

class ClaimEarningsRequest(_message.Message):
    __slots__ = ("request_id", "account", "task")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account: bytes
    task: int
    def __init__(self, request_id: _Optional[str] = ..., account: _Optional[bytes] = ..., task: _Optional[int] = ...) -> None: ...

class ClaimEarningsResponse(_message.Message):
    __slots__ = ("receipts", "claimed")
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    claimed: Earnings
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., claimed: _Optional[_Union[Earnings, _Mapping]] = ...) -> None: ...
