"""What only asks is asked again where a service was away for a moment; what does something is not."""

from collections import Counter

import grpc
import pytest

from linklearner.rpc.channel import IDEMPOTENT, channel
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from linklearner.v1 import trainer_pb2


class Moody(pb_grpc.ChainGatewayServiceServicer):
    """Away for the first calls of each kind."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.calls: Counter[str] = Counter()

    async def _away(self, name: str, context: grpc.aio.ServicerContext) -> None:
        self.calls[name] += 1
        if self.calls[name] <= self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    async def GetChain(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await self._away("GetChain", context)
        return pb.GetChainResponse(chain_id=7)

    async def GetModel(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await self._away("GetModel", context)
        yield pb.GetModelResponse(weights=b"ab")

    async def Transfer(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await self._away("Transfer", context)
        return pb.TransferResponse()


async def test_questions_are_asked_again_and_transfers_are_not() -> None:
    server, moody = grpc.aio.server(), Moody(2)
    pb_grpc.add_ChainGatewayServiceServicer_to_server(moody, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with channel(f"127.0.0.1:{port}") as wire:
            stub = pb_grpc.ChainGatewayServiceStub(wire)
            assert (await stub.GetChain(pb.GetChainRequest())).chain_id == 7
            assert [one.weights async for one in stub.GetModel(pb.GetModelRequest())] == [b"ab"]
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Transfer(pb.TransferRequest())
            assert moody.calls == {"GetChain": 3, "GetModel": 3, "Transfer": 1}
    finally:
        await server.stop(None)


def test_every_question_exists_and_nothing_that_sends_is_among_them() -> None:
    services = {
        service.full_name: service
        for file in (pb.DESCRIPTOR, trainer_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
    }
    for name, methods in IDEMPOTENT.items():
        for method in methods:
            request = services[name].methods_by_name[method].input_type
            assert "request_id" not in request.fields_by_name and "submission_id" not in request.fields_by_name
