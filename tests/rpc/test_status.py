"""The error tree and the wire agree."""

from collections.abc import AsyncIterator

import grpc
import pytest

from linklearner.domain import errors
from linklearner.rpc.channel import channel
from linklearner.rpc.server import RpcServer
from linklearner.rpc.status import CODES, code_of, from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc

SERVICE = "linklearner.v1.ChainGatewayService"


def leaves(branch: type[errors.LinkLearnerError]) -> list[type[errors.LinkLearnerError]]:
    return [branch, *(leaf for child in branch.__subclasses__() for leaf in leaves(child))]


def test_every_error_of_the_tree_has_a_status_code() -> None:
    for error in leaves(errors.LinkLearnerError)[1:]:
        if error.__module__.startswith("linklearner."):  # a service's own signals never leave it
            assert code_of(error("what happened")) is not grpc.StatusCode.INTERNAL, error


class Refusing(gateway_grpc.ChainGatewayServiceServicer):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def GetTask(  # noqa: N802
        self, request: gateway.GetTaskRequest, context: grpc.aio.ServicerContext
    ) -> gateway.GetTaskResponse:
        raise self.error

    async def WatchVersions(  # noqa: N802
        self, request: gateway.WatchVersionsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[gateway.WatchVersionsResponse]:
        yield gateway.WatchVersionsResponse()
        raise self.error


def server(error: Exception) -> RpcServer:
    return RpcServer(
        "127.0.0.1:0", lambda s: gateway_grpc.add_ChainGatewayServiceServicer_to_server(Refusing(error), s), [SERVICE]
    )


@pytest.mark.parametrize("branch", CODES)
async def test_an_error_crosses_the_wire_with_its_reason_and_facts(branch: type[errors.LinkLearnerError]) -> None:
    async with (
        server(branch("no: do this next", reason="StaleBase", facts={"base": 3})) as running,
        channel(running.address) as wire,
    ):
        stub = gateway_grpc.ChainGatewayServiceStub(wire)
        with pytest.raises(grpc.RpcError) as unary:
            await stub.GetTask(gateway.GetTaskRequest(task=1))
        with pytest.raises(grpc.RpcError) as streamed:
            async for _ in stub.WatchVersions(gateway.WatchVersionsRequest(task=1)):
                pass
    for caught in (unary, streamed):
        error = from_rpc_error(caught.value)
        assert (type(error), str(error), error.reason, error.facts) == (
            branch,
            "no: do this next",
            "StaleBase",
            {"base": "3"},
        )


async def test_a_bug_shows_no_traceback_on_the_wire() -> None:
    async with server(ZeroDivisionError("secret local state")) as running, channel(running.address) as wire:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway_grpc.ChainGatewayServiceStub(wire).GetTask(gateway.GetTaskRequest(task=1))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()


async def test_a_port_in_use_is_told_with_what_to_do() -> None:
    async with server(errors.NotFound("x")) as running:
        with pytest.raises(errors.InvalidConfig, match=r"in use.*choose another"):
            async with RpcServer(running.address, lambda s: None, []):
                pass
