"""A convolutional network through the whole house: opened as a task, trained over the embedded chain, served, asked by tritonclient."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from typer.testing import CliRunner

from linklearner.cli import app
from linklearner.client.inference import InferenceClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.digits import DIGITS_CNN
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.tasks import Submitted
from linklearner.rpc.access import READER
from services.chain_gateway.deploy import TaskPlan
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer
from services.trainer import data
from tests.town import Town, built

CONTRIBUTORS = 2
ROUNDS = 3
TRITON = Path(__file__).parents[1] / "services/model_server/tritonclient_call.py"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    settings = {"model": json.loads(DIGITS_CNN.to_json()), "terms": {"quorum": CONTRIBUTORS}, "page_length": 952}
    async with built(tmp_path, TaskPlan.from_json(json.dumps(settings)), CONTRIBUTORS) as town:
        yield town


@asynccontextmanager
async def trainer_of(town: Town, gateway: str, index: int) -> AsyncIterator[TrainerClient]:
    async with (
        town.trainer(gateway, index, steps=60) as trainer,
        TrainerClient.connect(trainer.address, town.operator) as client,
    ):
        yield client


async def train(trainer: TrainerClient, name: str) -> None:
    events = [event async for event in trainer.train(name)]
    assert isinstance(events[-1], Submitted)


async def test_a_cnn_is_trained_over_the_chain_served_and_asked(town: Town) -> None:
    async with town.gateway() as gateway:
        await trained_served_and_asked(town, gateway)


async def trained_served_and_asked(town: Town, gateway: str) -> None:
    _, held_out = data.load("digits", data.Shard())
    images = held_out.inputs_of(DIGITS_CNN)[:200]
    async with (
        trainer_of(town, gateway, 0) as one,
        trainer_of(town, gateway, 1) as other,
        town.asking(gateway) as chain,
    ):
        first = await one.evaluate()
        async with asyncio.timeout(300):
            for round in range(1, ROUNDS + 1):
                await asyncio.gather(train(one, f"round {round}"), train(other, f"round {round}"))
                assert (await chain.next_version(1, after=round)).version == round + 1
        last = await one.evaluate()
        assert last.version.version == ROUNDS + 1
        assert last.accuracy > 0.8 > first.accuracy  # after 180 local steps each; a guess is right one time in ten
        assert (await one.export()).max_abs_difference < 1e-3
        task = await chain.task(1)
        assert task.model == DIGITS_CNN.to_json()
        _, weights = await chain.weights(task)
        shown = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["task", "show", "--task", "1", "--gateway", gateway, "--credential", town.credential(READER)],
        )
        assert shown.exit_code == 0, shown.output
        assert str(DIGITS_CNN.architecture) in " ".join(shown.output.split())

    shape = TaskPlan.from_json(json.dumps({"model": json.loads(DIGITS_CNN.to_json()), "page_length": 952})).shape
    expected = DIGITS_CNN.forward(dequantise_weights(weights, shape), images)
    assert (expected.argmax(axis=1) == held_out.y[:200]).mean() > 0.8
    config = ModelServerConfig(
        gateway=gateway,
        credential=town.credential(READER),
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        admission=StakeSettings(required_units=0),
    )
    async with ModelServer.start(config) as server, asyncio.timeout(120):
        await server.ready()
        async with InferenceClient(server.address, Account.create()) as caller:  # no stake is asked for
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(TRITON),
                server.address,
                str(caller.token),
                "digits-cnn",
                stdin=-1,
                stdout=-1,
                stderr=-1,
            )
            out, err = await process.communicate(images.astype("<f4").tobytes())
    assert process.returncode == 0, err.decode()
    answer = json.loads(out)
    assert answer["status"] == "OK", answer
    assert answer["metadata"]["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": ["-1", "1", "8", "8"]}]
    assert (answer["version"], answer["digest"]) == (str(ROUNDS + 1), "0x" + last.version.digest.hex())
    logits = np.array(answer["logits"], np.float32)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert answer["label"] == logits.argmax(axis=1).tolist()


def test_the_plan_of_the_test_keeps_the_models_tensors() -> None:
    plan = TaskPlan.from_json(json.dumps({"model": json.loads(DIGITS_CNN.to_json())}))
    assert DIGITS_CNN.fits(plan.shape) and plan.model == DIGITS_CNN
    assert not replace(DIGITS_CNN, architecture=replace(DIGITS_CNN.architecture, channels=(8, 8))).fits(plan.shape)
