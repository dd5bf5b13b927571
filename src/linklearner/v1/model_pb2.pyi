from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_TWO_BITS: _ClassVar[Encoding]
    ENCODING_INT8: _ClassVar[Encoding]
ENCODING_UNSPECIFIED: Encoding
ENCODING_TWO_BITS: Encoding
ENCODING_INT8: Encoding

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
    __slots__ = ("task", "model", "shape", "terms", "version", "round")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    task: int
    model: str
    shape: bytes
    terms: Terms
    version: ModelVersion
    round: RoundStatus
    def __init__(self, task: _Optional[int] = ..., model: _Optional[str] = ..., shape: _Optional[bytes] = ..., terms: _Optional[_Union[Terms, _Mapping]] = ..., version: _Optional[_Union[ModelVersion, _Mapping]] = ..., round: _Optional[_Union[RoundStatus, _Mapping]] = ...) -> None: ...

class Terms(_message.Message):
    __slots__ = ("rule", "quorum", "max_updates", "round_seconds", "drop_seconds", "min_stake_units", "settler_bps", "reward_wei")
    RULE_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    MAX_UPDATES_FIELD_NUMBER: _ClassVar[int]
    ROUND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MIN_STAKE_UNITS_FIELD_NUMBER: _ClassVar[int]
    SETTLER_BPS_FIELD_NUMBER: _ClassVar[int]
    REWARD_WEI_FIELD_NUMBER: _ClassVar[int]
    rule: int
    quorum: int
    max_updates: int
    round_seconds: int
    drop_seconds: int
    min_stake_units: int
    settler_bps: int
    reward_wei: bytes
    def __init__(self, rule: _Optional[int] = ..., quorum: _Optional[int] = ..., max_updates: _Optional[int] = ..., round_seconds: _Optional[int] = ..., drop_seconds: _Optional[int] = ..., min_stake_units: _Optional[int] = ..., settler_bps: _Optional[int] = ..., reward_wei: _Optional[bytes] = ...) -> None: ...

class RoundStatus(_message.Message):
    __slots__ = ("round", "accepted_count", "present_units", "eligible_units", "merged_group_count", "first_update_s")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRESENT_UNITS_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_UNITS_FIELD_NUMBER: _ClassVar[int]
    MERGED_GROUP_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_UPDATE_S_FIELD_NUMBER: _ClassVar[int]
    round: int
    accepted_count: int
    present_units: int
    eligible_units: int
    merged_group_count: int
    first_update_s: int
    def __init__(self, round: _Optional[int] = ..., accepted_count: _Optional[int] = ..., present_units: _Optional[int] = ..., eligible_units: _Optional[int] = ..., merged_group_count: _Optional[int] = ..., first_update_s: _Optional[int] = ...) -> None: ...
