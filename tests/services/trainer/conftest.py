"""A trainer over gRPC against an in-memory chain, both on free ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from linklearner.domain.errors import LinkLearnerError
from linklearner.rpc.access import OPERATOR, Credential, Role
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer

Connect = Callable[..., AbstractAsyncContextManager[pb_grpc.TrainerServiceStub]]


@pytest.fixture
def chain() -> FakeGateway:
    return FakeGateway(seed=1)


@pytest.fixture
async def gateway(chain: FakeGateway) -> AsyncIterator[str]:
    async with chain.served() as address:
        yield address


def settings(tmp_path: Path, gateway: str, **more: Any) -> TrainerConfig:
    """Of a trainer that is soon done; whatever else a test says."""
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "gateway": gateway,
        "credential": "",
        "access": tmp_path / "access",
    }
    given |= {"steps": 10, "state_dir": tmp_path / "trainer", **more}
    return TrainerConfig(**given)


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def connect(gateway: str, tmp_path: Path) -> Connect:
    """Starts a trainer with settings of the test's own; the stub of its service. Entering it again is a restart: same state folder."""

    @asynccontextmanager
    async def start(**own: Any) -> AsyncIterator[pb_grpc.TrainerServiceStub]:
        config = settings(tmp_path, **{"gateway": gateway, "shard": "0/5", "steps": 20, **own})
        operator = Credential.kept(config.access / OPERATOR, Role.SPEND)
        async with Trainer.start(config) as trainer, channel(trainer.address, operator) as wire:
            yield pb_grpc.TrainerServiceStub(wire)

    return start


async def train(stub: pb_grpc.TrainerServiceStub, request_id: str, **settings: int) -> list[pb.TrainRoundResponse]:
    """All events of one round."""
    return [event async for event in stub.TrainRound(pb.TrainRoundRequest(request_id=request_id, **settings))]


@contextmanager
def refused(code: grpc.StatusCode, reason: str | None = None) -> Iterator[list[LinkLearnerError]]:
    """The call inside fails with this status and reason; the error is in the list afterwards."""
    found: list[LinkLearnerError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield found
    assert raised.value.code() is code, raised.value
    found.append(from_rpc_error(raised.value))
    assert reason in (None, found[0].reason), found[0]
