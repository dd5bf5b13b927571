from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetTermsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTermsResponse(_message.Message):
    __slots__ = ("task", "model", "input_name", "input_count", "input_min", "input_max", "labels", "max_rows", "max_request_bytes", "max_calls", "required_units")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_MIN_FIELD_NUMBER: _ClassVar[int]
    INPUT_MAX_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_UNITS_FIELD_NUMBER: _ClassVar[int]
    task: int
    model: str
    input_name: str
    input_count: int
    input_min: float
    input_max: float
    labels: _containers.RepeatedScalarFieldContainer[str]
    max_rows: int
    max_request_bytes: int
    max_calls: int
    required_units: int
    def __init__(self, task: _Optional[int] = ..., model: _Optional[str] = ..., input_name: _Optional[str] = ..., input_count: _Optional[int] = ..., input_min: _Optional[float] = ..., input_max: _Optional[float] = ..., labels: _Optional[_Iterable[str]] = ..., max_rows: _Optional[int] = ..., max_request_bytes: _Optional[int] = ..., max_calls: _Optional[int] = ..., required_units: _Optional[int] = ...) -> None: ...

class CreateChallengeRequest(_message.Message):
    __slots__ = ("address", "nonce", "origin")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    nonce: bytes
    origin: str
    def __init__(self, address: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., origin: _Optional[str] = ...) -> None: ...

class CreateChallengeResponse(_message.Message):
    __slots__ = ("message", "expires_s")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    message: str
    expires_s: int
    def __init__(self, message: _Optional[str] = ..., expires_s: _Optional[int] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("message", "signature")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    message: str
    signature: bytes
    def __init__(self, message: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("token", "expires_s", "locked_units", "required_units")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    LOCKED_UNITS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_UNITS_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_s: int
    locked_units: int
    required_units: int
    def __init__(self, token: _Optional[str] = ..., expires_s: _Optional[int] = ..., locked_units: _Optional[int] = ..., required_units: _Optional[int] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
