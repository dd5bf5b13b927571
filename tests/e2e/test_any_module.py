"""Modules of torch that our own code does not know, from the creator's file to an answer: text with integers in, a regression without
labels, adapters on a base that lies in a file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from linklearner import frozen
from linklearner.cli.task import read_plan
from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import InvalidInput
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.plan import TaskPlan
from linklearner.onnx_graph import onnx_model, reference
from linklearner.rpc.access import READER
from services.model_server.admission.open import Open
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer
from services.trainer import create, data
from tests.town import Town, town_of

CONTRIBUTORS = 2
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tasks"


@dataclass
class Suite:
    """A gateway whose task is one example's, as its creator's files say it."""

    town: Town
    example: Path
    plan: TaskPlan
    gateway: str

    @property
    def files(self) -> Path:
        """What the creator gives to whoever takes part, beside what the chain keeps."""
        return self.town.folder / "task"

    @asynccontextmanager
    async def trainer(self, index: int) -> AsyncIterator[TrainerClient]:
        settings = {"data": f"python:{self.example}", "frozen": self.files}
        async with (
            self.town.trainer(self.gateway, index, **settings) as address,
            TrainerClient.connect(address, self.town.operator) as client,
        ):
            yield client


@pytest.fixture(params=["text", "regression", "lora"])
async def suite(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Suite]:
    example = EXAMPLES / f"{request.param}.py"
    files = create.written(await asyncio.to_thread(create.created, example), tmp_path / "task")
    plan = read_plan(tmp_path / "task" / files["plan"])
    plan = replace(plan, terms=replace(plan.terms, quorum_bps=2_500 * CONTRIBUTORS, stake_seconds=1))
    async with town_of(tmp_path, plan, CONTRIBUTORS) as town, town.gateway() as gateway:
        yield Suite(town, example, plan, gateway)


async def test_a_module_of_ones_own_is_trained_over_the_chain_and_served(suite: Suite) -> None:
    spec = suite.plan.model
    _, held_out = data.load(f"python:{suite.example}", data.Shard())
    inputs = {name: values[:20] for name, values in held_out.inputs_of(spec).items()}
    base = frozen.read(suite.files, spec.graph.frozen)
    async with (
        suite.trainer(0) as one,
        suite.trainer(1) as other,
        GatewayClient.connect(suite.gateway, suite.town.credential(READER)) as gateway,
        asyncio.timeout(300),
    ):
        task = await gateway.task(1)
        assert task.spec == spec and task.shape == suite.plan.shape
        first = await one.evaluate()
        await asyncio.gather(trained(one), trained(other))
        found = await gateway.next_version(1, 1)
        last = await one.evaluate(found.version)
        assert last.metric == spec.loss.metric and last.loss < first.loss and last.value > first.value
        exported = await one.export(found.version)
        _, weights = await gateway.weights(task, found.version)
    real = dequantise_weights(weights, task.shape)
    model = onnx.load_from_string(exported.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert {one.key: one.value for one in model.metadata_props}["digest"] == found.digest.hex()
    wanted = reference(onnx_model(spec, real, frozen=base), inputs)[spec.answer.name]
    config = ModelServerConfig(
        gateway=suite.gateway,
        credential=str(suite.town.folder / "access" / READER),
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        frozen=suite.files,
        admission=Open(),
    )
    async with (
        ModelServer.start(config) as server,
        InferenceClient(server.address, None) as client,
        asyncio.timeout(120),
    ):
        await server.ready()
        answer = await client.infer(spec.name, inputs)
        assert (answer.version, answer.digest) == (found.version, found.digest)
        np.testing.assert_allclose(answer.values, wanted, rtol=0, atol=1e-4 * max(1, np.abs(wanted).max()))
        if answer.labels is None:
            assert not spec.loss.value.endswith("cross-entropy")
        else:
            np.testing.assert_array_equal(answer.labels, answer.values.argmax(axis=1))
        (signature,) = spec.inputs
        alone = await client.infer(spec.name, next(iter(inputs.values())))
        np.testing.assert_array_equal(alone.values, answer.values)
        if signature.datatype.value == "INT64":
            with pytest.raises(InvalidInput, match="outside of 0 to 59"):
                await client.infer(spec.name, np.full((1, *signature.dimensions), 60))


async def trained(trainer: TrainerClient) -> Any:
    return [event async for event in trainer.train("one")][-1]
