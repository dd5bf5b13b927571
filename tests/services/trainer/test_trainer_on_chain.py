"""The same over the real thing: the embedded chain, its contracts and Aspect, and a real gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from linklearner.domain.digits import SHAPE
from linklearner.domain.plan import digits
from linklearner.domain.quantise import Quantised, quantise_delta
from linklearner.rpc.channel import channel
from linklearner.v1 import chain_gateway_pb2 as gateway_pb
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from services.chain_gateway.deployment import Deployment
from services.trainer import contributor
from services.trainer.journal import Journal
from tests.services.trainer.conftest import refused, train
from tests.town import Town, town_of

CONTRIBUTORS = 2


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with town_of(tmp_path, digits(contributors=CONTRIBUTORS, stake_seconds=1), CONTRIBUTORS) as town:
        yield town


@asynccontextmanager
async def trainer(town: Town, gateway: str, index: int) -> AsyncIterator[pb_grpc.TrainerServiceStub]:
    async with town.trainer(gateway, index, steps=20) as address, channel(address, town.operator) as wire:
        yield pb_grpc.TrainerServiceStub(wire)


async def until_version(town: Town, gateway: str, version: int) -> None:
    async with channel(gateway, town.operator) as wire, asyncio.timeout(60):
        stub = gateway_grpc.ChainGatewayServiceStub(wire)
        async for message in stub.WatchVersions(gateway_pb.WatchVersionsRequest(task=1, after_version=version - 1)):
            assert message.version.version == version
            return


async def test_rounds_on_the_chain_carry_their_residuals_and_are_refused_in_its_words(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised: list[Quantised] = []

    def watched(*arguments: Any) -> Quantised:
        quantised.append(quantise_delta(*arguments))
        return quantised[-1]

    monkeypatch.setattr(contributor, "quantise_delta", watched)
    async with (
        town.gateway() as gateway,
        trainer(town, gateway, 0) as one,
        trainer(town, gateway, 1) as other,
    ):
        first = await one.Evaluate(pb.EvaluateRequest())
        for round in range(1, 4):
            events = await train(one, f"round-{round}")
            assert events[-1].submitted.round == round and events[-1].submitted.receipt.gas_used > 0
            with refused(grpc.StatusCode.FAILED_PRECONDITION, "AlreadySubmitted"):
                await train(one, f"round-{round} once more")
            await train(other, f"round-{round}", encoding=8)
            await until_version(town, gateway, round + 1)
            assert (await train(one, f"round-{round}"))[-1].submitted == events[-1].submitted
        last = await one.Evaluate(pb.EvaluateRequest())
        assert last.version.version == 4 and last.loss < first.loss / 2
        await train(one, "one more, to learn the status of the last")
    with Journal.open(town.folder / "trainer-0") as journal:
        deployment = Deployment.load(town.folder / "deployment.json")
        scope = f"{deployment.chain_id}/{deployment.pool.hex()}/1/{town.accounts[0].hex()}"
        kept = journal.residual(scope, SHAPE.weight_count)
    assert kept.any()
    np.testing.assert_array_equal(kept, quantised[4].residual)  # of the first trainer's third update


async def test_a_gateway_that_goes_away_and_comes_back_submits_once(town: Town) -> None:
    async with AsyncExitStack() as first:
        gateway = await first.enter_async_context(town.gateway())
        async with trainer(town, gateway, 0) as stub:
            call = stub.TrainRound(pb.TrainRoundRequest(request_id="one", step_count=500))
            assert (await call.read()).pulled.version.version == 1
            await first.aclose()
            with refused(grpc.StatusCode.UNAVAILABLE, "Unavailable") as why:
                async for _ in call:
                    pass
            assert "services.chain_gateway" in why[0].message
            async with town.gateway(gateway):
                (event,) = await train(stub, "one", step_count=500)
                assert event.submitted.round == 1
                async with channel(gateway, town.operator) as wire:
                    chain = gateway_grpc.ChainGatewayServiceStub(wire)
                    found = await chain.GetRound(gateway_pb.GetRoundRequest(task=1, round=1))
    assert [one.digest for one in found.contributions] == [event.submitted.digest]
