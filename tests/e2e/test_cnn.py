"""A convolutional network through the whole house: opened as a task, trained over the embedded chain, served, asked by tritonclient."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account
from typer.testing import CliRunner

from linklearner.cli import app
from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS_CNN
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.plan import TaskPlan
from linklearner.domain.tasks import Submitted
from linklearner.rpc.access import READER
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer
from services.trainer import data
from tests.any_model import reference_logits
from tests.town import Town, town_of

CONTRIBUTORS = 2
ROUNDS = 3
TERMS = {"quorum_bps": 2_500 * CONTRIBUTORS, "stake_seconds": 1}
PLAN = TaskPlan.from_json(json.dumps({"model": json.loads(DIGITS_CNN.to_json()), "terms": TERMS, "page_length": 952}))
TRITON = Path(__file__).parents[1] / "services/model_server/tritonclient_call.py"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with town_of(tmp_path, PLAN, CONTRIBUTORS) as town:
        yield town


@asynccontextmanager
async def trainer(town: Town, gateway: str, index: int) -> AsyncIterator[TrainerClient]:
    async with (
        town.trainer(gateway, index, steps=60) as address,
        TrainerClient.connect(address, town.operator) as client,
    ):
        yield client


async def trained(trainer: TrainerClient, name: str) -> None:
    assert isinstance([event async for event in trainer.train(name)][-1], Submitted)


async def test_a_cnn_is_trained_over_the_chain_served_and_asked(town: Town) -> None:
    _, held_out = data.load("digits", data.Shard())
    images = held_out.inputs_of(DIGITS_CNN)["pixels"][:200]
    reader = str(town.folder / "access" / READER)
    async with (
        town.gateway() as address,
        trainer(town, address, 0) as one,
        trainer(town, address, 1) as other,
        GatewayClient.connect(address, town.operator) as gateway,
        asyncio.timeout(300),
    ):
        first = await one.evaluate()
        for round in range(1, ROUNDS + 1):
            await asyncio.gather(trained(one, f"round {round}"), trained(other, f"round {round}"))
            assert (await gateway.next_version(1, round)).version == round + 1
        last = await one.evaluate()
        assert last.version.version == ROUNDS + 1
        assert last.value > 0.8 > first.value  # after 180 local steps each; a guess is right one time in ten
        assert (await one.export()).max_abs_difference < 1e-3
        task = await gateway.task(1)
        assert task.model == DIGITS_CNN.to_json() and task.shape == PLAN.shape
        _, weights = await gateway.weights(task)
        shown = await asyncio.to_thread(
            CliRunner().invoke, app, ["task", "show", "--task", "1", "--gateway", address, "--credential", reader]
        )
        assert shown.exit_code == 0, shown.output
        assert str(DIGITS_CNN.graph) in " ".join(shown.output.split())
        answer = await asked(address, reader, images)

    expected = reference_logits(DIGITS_CNN, dequantise_weights(weights, PLAN.shape), images)
    assert (expected.argmax(axis=1) == held_out.y[:200]).mean() > 0.8
    assert answer["status"] == "OK", answer
    assert answer["metadata"]["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": ["-1", "1", "8", "8"]}]
    assert (answer["version"], answer["digest"]) == (str(ROUNDS + 1), "0x" + last.version.digest.hex())
    logits = np.array(answer["logits"], np.float32)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert answer["label"] == logits.argmax(axis=1).tolist()


async def asked(gateway: str, credential: str, images: np.ndarray) -> dict[str, Any]:
    """What tritonclient gets of a model server that asks for a session and no stake."""
    config = ModelServerConfig(
        gateway=gateway,
        credential=credential,
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        admission=StakeSettings(required_units=0),
    )
    async with ModelServer.start(config) as server, asyncio.timeout(120):
        await server.ready()
        async with InferenceClient(server.address, Account.create()) as client:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(TRITON), server.address, str(client.token), "digits-cnn",
                stdin=-1, stdout=-1, stderr=-1,
            )  # fmt: skip
            out, err = await process.communicate(images.astype("<f4").tobytes())
    assert process.returncode == 0, err.decode()
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_the_plan_of_the_test_keeps_the_models_tensors() -> None:
    plan = TaskPlan.from_json(json.dumps({"model": json.loads(DIGITS_CNN.to_json())}))
    assert DIGITS_CNN.fits(plan.shape) and plan.model == DIGITS_CNN
    assert not classifier("digits-cnn", Cnn((1, 8, 8), (8, 8), 3, 10), DIGITS_CNN.labels).fits(plan.shape)
