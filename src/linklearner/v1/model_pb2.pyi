from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_TWO_BITS: _ClassVar[Encoding]
    ENCODING_INT8: _ClassVar[Encoding]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_LOADING: _ClassVar[Phase]
    PHASE_OPEN: _ClassVar[Phase]
    PHASE_COLLECTING: _ClassVar[Phase]
    PHASE_SETTLING: _ClassVar[Phase]
    PHASE_CLOSED: _ClassVar[Phase]
    PHASE_OPENED: _ClassVar[Phase]

class Step(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_UNSPECIFIED: _ClassVar[Step]
    STEP_LOADED: _ClassVar[Step]
    STEP_ACCEPTED: _ClassVar[Step]
    STEP_GROUP_MERGED: _ClassVar[Step]
    STEP_SETTLED: _ClassVar[Step]
    STEP_DROPPED: _ClassVar[Step]
    STEP_CLOSED: _ClassVar[Step]
    STEP_EXAMPLES_OPENED: _ClassVar[Step]
ENCODING_UNSPECIFIED: Encoding
ENCODING_TWO_BITS: Encoding
ENCODING_INT8: Encoding
PHASE_UNSPECIFIED: Phase
PHASE_LOADING: Phase
PHASE_OPEN: Phase
PHASE_COLLECTING: Phase
PHASE_SETTLING: Phase
PHASE_CLOSED: Phase
PHASE_OPENED: Phase
STEP_UNSPECIFIED: Step
STEP_LOADED: Step
STEP_ACCEPTED: Step
STEP_GROUP_MERGED: Step
STEP_SETTLED: Step
STEP_DROPPED: Step
STEP_CLOSED: Step
STEP_EXAMPLES_OPENED: Step

class ModelVersion(_message.Message):
    __slots__ = ("task", "version", "digest", "round", "accepted_count", "saturated_count", "block_number")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SATURATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    task: int
    version: int
    digest: bytes
    round: int
    accepted_count: int
    saturated_count: int
    block_number: int
    def __init__(self, task: _Optional[int] = ..., version: _Optional[int] = ..., digest: _Optional[bytes] = ..., round: _Optional[int] = ..., accepted_count: _Optional[int] = ..., saturated_count: _Optional[int] = ..., block_number: _Optional[int] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task", "model", "shape", "terms", "version", "round", "creator", "pot_wei", "shares_wei", "closing", "examples")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    POT_WEI_FIELD_NUMBER: _ClassVar[int]
    SHARES_WEI_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    task: int
    model: str
    shape: bytes
    terms: Terms
    version: ModelVersion
    round: RoundStatus
    creator: bytes
    pot_wei: bytes
    shares_wei: bytes
    closing: bool
    examples: ExampleSet
    def __init__(self, task: _Optional[int] = ..., model: _Optional[str] = ..., shape: _Optional[bytes] = ..., terms: _Optional[_Union[Terms, _Mapping]] = ..., version: _Optional[_Union[ModelVersion, _Mapping]] = ..., round: _Optional[_Union[RoundStatus, _Mapping]] = ..., creator: _Optional[bytes] = ..., pot_wei: _Optional[bytes] = ..., shares_wei: _Optional[bytes] = ..., closing: _Optional[bool] = ..., examples: _Optional[_Union[ExampleSet, _Mapping]] = ...) -> None: ...

class ExampleSet(_message.Message):
    __slots__ = ("root", "batch_count", "example_count", "opened_batch_count", "opened_example_count", "input_exponent")
    ROOT_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPENED_BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPENED_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_EXPONENT_FIELD_NUMBER: _ClassVar[int]
    root: bytes
    batch_count: int
    example_count: int
    opened_batch_count: int
    opened_example_count: int
    input_exponent: int
    def __init__(self, root: _Optional[bytes] = ..., batch_count: _Optional[int] = ..., example_count: _Optional[int] = ..., opened_batch_count: _Optional[int] = ..., opened_example_count: _Optional[int] = ..., input_exponent: _Optional[int] = ...) -> None: ...

class Terms(_message.Message):
    __slots__ = ("rule", "quorum_bps", "max_updates", "min_round_seconds", "round_seconds", "drop_seconds", "stake_seconds", "min_stake_units", "settler_bps", "server_bps", "reward_wei")
    RULE_FIELD_NUMBER: _ClassVar[int]
    QUORUM_BPS_FIELD_NUMBER: _ClassVar[int]
    MAX_UPDATES_FIELD_NUMBER: _ClassVar[int]
    MIN_ROUND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROUND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STAKE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MIN_STAKE_UNITS_FIELD_NUMBER: _ClassVar[int]
    SETTLER_BPS_FIELD_NUMBER: _ClassVar[int]
    SERVER_BPS_FIELD_NUMBER: _ClassVar[int]
    REWARD_WEI_FIELD_NUMBER: _ClassVar[int]
    rule: int
    quorum_bps: int
    max_updates: int
    min_round_seconds: int
    round_seconds: int
    drop_seconds: int
    stake_seconds: int
    min_stake_units: int
    settler_bps: int
    server_bps: int
    reward_wei: bytes
    def __init__(self, rule: _Optional[int] = ..., quorum_bps: _Optional[int] = ..., max_updates: _Optional[int] = ..., min_round_seconds: _Optional[int] = ..., round_seconds: _Optional[int] = ..., drop_seconds: _Optional[int] = ..., stake_seconds: _Optional[int] = ..., min_stake_units: _Optional[int] = ..., settler_bps: _Optional[int] = ..., server_bps: _Optional[int] = ..., reward_wei: _Optional[bytes] = ...) -> None: ...

class RoundStatus(_message.Message):
    __slots__ = ("round", "accepted_count", "present_units", "eligible_units", "merged_group_count", "first_update_s", "opened_s", "ripe_units", "phase", "due")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRESENT_UNITS_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_UNITS_FIELD_NUMBER: _ClassVar[int]
    MERGED_GROUP_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_UPDATE_S_FIELD_NUMBER: _ClassVar[int]
    OPENED_S_FIELD_NUMBER: _ClassVar[int]
    RIPE_UNITS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    round: int
    accepted_count: int
    present_units: int
    eligible_units: int
    merged_group_count: int
    first_update_s: int
    opened_s: int
    ripe_units: int
    phase: Phase
    due: _containers.RepeatedCompositeFieldContainer[Due]
    def __init__(self, round: _Optional[int] = ..., accepted_count: _Optional[int] = ..., present_units: _Optional[int] = ..., eligible_units: _Optional[int] = ..., merged_group_count: _Optional[int] = ..., first_update_s: _Optional[int] = ..., opened_s: _Optional[int] = ..., ripe_units: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., due: _Optional[_Iterable[_Union[Due, _Mapping]]] = ...) -> None: ...

class Due(_message.Message):
    __slots__ = ("step", "from_s", "until_s")
    STEP_FIELD_NUMBER: _ClassVar[int]
    FROM_S_FIELD_NUMBER: _ClassVar[int]
    UNTIL_S_FIELD_NUMBER: _ClassVar[int]
    step: Step
    from_s: int
    until_s: int
    def __init__(self, step: _Optional[_Union[Step, str]] = ..., from_s: _Optional[int] = ..., until_s: _Optional[int] = ...) -> None: ...
