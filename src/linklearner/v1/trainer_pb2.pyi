from linklearner.v1 import chain_gateway_pb2 as _chain_gateway_pb2
from linklearner.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Activity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVITY_UNSPECIFIED: _ClassVar[Activity]
    ACTIVITY_IDLE: _ClassVar[Activity]
    ACTIVITY_WAITING: _ClassVar[Activity]
    ACTIVITY_TRAINING: _ClassVar[Activity]
    ACTIVITY_SUBMITTING: _ClassVar[Activity]
ACTIVITY_UNSPECIFIED: Activity
ACTIVITY_IDLE: Activity
ACTIVITY_WAITING: Activity
ACTIVITY_TRAINING: Activity
ACTIVITY_SUBMITTING: Activity

class GetTrainerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTrainerResponse(_message.Message):
    __slots__ = ("account", "task", "sample_count", "held_out_count", "label_counts", "busy", "tasks", "privacy")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    task: int
    sample_count: int
    held_out_count: int
    label_counts: _containers.RepeatedScalarFieldContainer[int]
    busy: bool
    tasks: _containers.RepeatedCompositeFieldContainer[TaskActivity]
    privacy: PrivacySpent
    def __init__(self, account: _Optional[bytes] = ..., task: _Optional[int] = ..., sample_count: _Optional[int] = ..., held_out_count: _Optional[int] = ..., label_counts: _Optional[_Iterable[int]] = ..., busy: _Optional[bool] = ..., tasks: _Optional[_Iterable[_Union[TaskActivity, _Mapping]]] = ..., privacy: _Optional[_Union[PrivacySpent, _Mapping]] = ...) -> None: ...

class PrivacySpent(_message.Message):
    __slots__ = ("mechanism", "epsilon", "delta", "epsilon_budget", "noise_multiplier", "clip_norm", "rounds_left")
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    EPSILON_BUDGET_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    mechanism: str
    epsilon: float
    delta: float
    epsilon_budget: float
    noise_multiplier: float
    clip_norm: float
    rounds_left: int
    def __init__(self, mechanism: _Optional[str] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., epsilon_budget: _Optional[float] = ..., noise_multiplier: _Optional[float] = ..., clip_norm: _Optional[float] = ..., rounds_left: _Optional[int] = ...) -> None: ...

class TaskActivity(_message.Message):
    __slots__ = ("task", "activity", "reason", "detail", "since_s", "again_s", "round", "step", "step_count", "cpu_seconds")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SINCE_S_FIELD_NUMBER: _ClassVar[int]
    AGAIN_S_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    task: int
    activity: Activity
    reason: str
    detail: str
    since_s: int
    again_s: int
    round: int
    step: int
    step_count: int
    cpu_seconds: float
    def __init__(self, task: _Optional[int] = ..., activity: _Optional[_Union[Activity, str]] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., since_s: _Optional[int] = ..., again_s: _Optional[int] = ..., round: _Optional[int] = ..., step: _Optional[int] = ..., step_count: _Optional[int] = ..., cpu_seconds: _Optional[float] = ...) -> None: ...

class TrainRoundRequest(_message.Message):
    __slots__ = ("request_id", "encoding", "step_count", "allow_range")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_RANGE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    encoding: _model_pb2.Encoding
    step_count: int
    allow_range: bool
    def __init__(self, request_id: _Optional[str] = ..., encoding: _Optional[_Union[_model_pb2.Encoding, str]] = ..., step_count: _Optional[int] = ..., allow_range: _Optional[bool] = ...) -> None: ...

class TrainRoundResponse(_message.Message):
    __slots__ = ("pulled", "progress", "quantised", "submitted", "waits", "forecast")
    PULLED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    QUANTISED_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    pulled: ModelPulled
    progress: TrainingProgress
    quantised: UpdateQuantised
    submitted: _chain_gateway_pb2.SubmitUpdateResponse
    waits: TrainingWaits
    forecast: MergeForecast
    def __init__(self, pulled: _Optional[_Union[ModelPulled, _Mapping]] = ..., progress: _Optional[_Union[TrainingProgress, _Mapping]] = ..., quantised: _Optional[_Union[UpdateQuantised, _Mapping]] = ..., submitted: _Optional[_Union[_chain_gateway_pb2.SubmitUpdateResponse, _Mapping]] = ..., waits: _Optional[_Union[TrainingWaits, _Mapping]] = ..., forecast: _Optional[_Union[MergeForecast, _Mapping]] = ...) -> None: ...

class MergeForecast(_message.Message):
    __slots__ = ("chance", "gain", "record_q16", "example_count", "sample_count")
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    GAIN_FIELD_NUMBER: _ClassVar[int]
    RECORD_Q16_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    chance: float
    gain: float
    record_q16: int
    example_count: int
    sample_count: int
    def __init__(self, chance: _Optional[float] = ..., gain: _Optional[float] = ..., record_q16: _Optional[int] = ..., example_count: _Optional[int] = ..., sample_count: _Optional[int] = ...) -> None: ...

class ModelPulled(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.ModelVersion
    def __init__(self, version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class TrainingProgress(_message.Message):
    __slots__ = ("step", "step_count", "loss")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    step: int
    step_count: int
    loss: float
    def __init__(self, step: _Optional[int] = ..., step_count: _Optional[int] = ..., loss: _Optional[float] = ...) -> None: ...

class TrainingWaits(_message.Message):
    __slots__ = ("reason", "detail", "again_s")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    AGAIN_S_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    again_s: int
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ..., again_s: _Optional[int] = ...) -> None: ...

class UpdateQuantised(_message.Message):
    __slots__ = ("encoding", "update_bytes", "page_count", "pages_total", "residual_ratio", "digest", "privacy")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    UPDATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PAGES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_RATIO_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    encoding: _model_pb2.Encoding
    update_bytes: int
    page_count: int
    pages_total: int
    residual_ratio: float
    digest: bytes
    privacy: PrivacySpent
    def __init__(self, encoding: _Optional[_Union[_model_pb2.Encoding, str]] = ..., update_bytes: _Optional[int] = ..., page_count: _Optional[int] = ..., pages_total: _Optional[int] = ..., residual_ratio: _Optional[float] = ..., digest: _Optional[bytes] = ..., privacy: _Optional[_Union[PrivacySpent, _Mapping]] = ...) -> None: ...

class GetLastUpdateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLastUpdateResponse(_message.Message):
    __slots__ = ("update",)
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    update: bytes
    def __init__(self, update: _Optional[bytes] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("version", "sample_count", "value", "loss", "metric")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.ModelVersion
    sample_count: int
    value: float
    loss: float
    metric: str
    def __init__(self, version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., sample_count: _Optional[int] = ..., value: _Optional[float] = ..., loss: _Optional[float] = ..., metric: _Optional[str] = ...) -> None: ...

class ExportModelRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ExportModelResponse(_message.Message):
    __slots__ = ("version", "onnx", "max_abs_difference")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ONNX_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.ModelVersion
    onnx: bytes
    max_abs_difference: float
    def __init__(self, version: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., onnx: _Optional[bytes] = ..., max_abs_difference: _Optional[float] = ...) -> None: ...
