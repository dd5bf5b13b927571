"""One table from the error tree to gRPC status codes, and its way back on the client's side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from linklearner.domain import errors
from linklearner.log import clip

DOMAIN = "linklearner.v1"
MAX_FACTS, MAX_FACT_CHARACTERS = 16, 256
"""HTTP/2 peers take 8 KiB of headers in all, so what a caller wrote comes back to them abridged."""
DETAILS_KEY = "grpc-status-details-bin"

CODES: dict[type[errors.LinkLearnerError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.BaseMoved: grpc.StatusCode.ABORTED,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
}

_BRANCHES = {code: branch for branch, code in CODES.items()}


def code_of(error: errors.LinkLearnerError) -> grpc.StatusCode:
    """The status code of the nearest ancestor that stands in the table."""
    for ancestor in type(error).__mro__:
        if ancestor in CODES:
            return CODES[ancestor]
    return grpc.StatusCode.INTERNAL


def details_of(error: errors.LinkLearnerError) -> bytes:
    """google.rpc.Status with one ErrorInfo, as the trailing metadata `grpc-status-details-bin` carries it."""
    facts = {clip(key, 64): clip(value, MAX_FACT_CHARACTERS) for key, value in list(error.facts.items())[:MAX_FACTS]}
    info = error_details_pb2.ErrorInfo(reason=clip(error.reason, 128), domain=DOMAIN, metadata=facts)
    packed = any_pb2.Any()
    packed.Pack(info)
    code: int = code_of(error).value[0]
    status: bytes = status_pb2.Status(
        code=code, message=clip(error.message, MAX_FACT_CHARACTERS), details=[packed]
    ).SerializeToString()
    return status


def from_rpc_error(error: Any) -> errors.LinkLearnerError:
    """The domain error that a call failed with; codes outside the table become Unavailable with gRPC's own text.

    error: what a stub raised (grpc.RpcError with code(), details(), trailing_metadata(), as both grpc and grpc.aio raise).
    """
    code = error.code()
    message = error.details() or code.name
    branch = _BRANCHES.get(code, errors.Unavailable)
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            info = _info(value)
            if info is not None:
                return branch(message, reason=info.reason, facts=dict(info.metadata))
    return branch(message, reason=code.name)


@contextmanager
def rpc_errors() -> Iterator[None]:
    """What a stub raises inside, as the domain error that it stands for."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def _info(details: Any) -> error_details_pb2.ErrorInfo | None:
    """The first ErrorInfo in the bytes of a google.rpc.Status; None if there is none, or if the server sent something else."""
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    except (DecodeError, TypeError):  # another program's answer, not ours
        pass
    return None
