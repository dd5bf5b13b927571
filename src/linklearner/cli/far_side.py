"""Who answers where another was expected: a model server behind --gateway, a web server behind --trainer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from linklearner.domain.errors import InvalidInput, LinkLearnerError
from linklearner.rpc.channel import channel

KINDS = {
    "linklearner.v1.ChainGatewayService": "a chain gateway",
    "linklearner.v1.TrainerService": "a trainer",
    "inference.GRPCInferenceService": "a model server",
}
ASK_S = 5.0
NO_HTTP2 = ("Failed parsing HTTP/2", "Trying to connect an http1.x server")
"""What gRPC says of a server that speaks, but something else."""


@asynccontextmanager
async def wrong_service(where: str, wanted: str) -> AsyncIterator[None]:
    """Turns "unimplemented" and "no HTTP/2" into InvalidInput that says who answers at `where` instead of what was wanted."""
    try:
        yield
    except grpc.RpcError as error:
        raise await _explained(where, wanted, error.code().name, error.details() or "") or error from None
    except LinkLearnerError as error:
        raise await _explained(where, wanted, error.reason, error.message) or error from error.__cause__


async def _explained(where: str, wanted: str, code: str, details: str) -> InvalidInput | None:
    if code == grpc.StatusCode.UNIMPLEMENTED.name:
        return InvalidInput(f"{where} is {await _kind(where)}, not {wanted}: name the right address")
    if code == grpc.StatusCode.UNAVAILABLE.name and any(words in details for words in NO_HTTP2):
        return InvalidInput(
            f"what answers at {where} does not speak gRPC (a web server or a JSON-RPC node?), so it is not {wanted}"
        )
    return None


async def _kind(where: str) -> str:
    """What a gRPC server says that it is (server reflection)."""
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    try:
        async with asyncio.timeout(ASK_S), channel(where) as wire:
            async for answer in reflection_pb2_grpc.ServerReflectionStub(wire).ServerReflectionInfo(iter((question,))):
                names = {service.name for service in answer.list_services_response.service}
                return next((kind for name, kind in KINDS.items() if name in names), "another gRPC server")
    except (grpc.RpcError, TimeoutError):
        pass
    return "another gRPC server"
