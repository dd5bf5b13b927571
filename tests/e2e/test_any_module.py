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
from eth_account import Account

from devchain import Devchain
from linklearner import frozen
from linklearner.chain.contracts import CONTRACTS
from linklearner.cli.task import read_plan
from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import InvalidInput
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.plan import TaskPlan
from linklearner.onnx_graph import onnx_model, reference
from linklearner.rpc.access import CONTRIBUTOR, OPERATOR, READER, Credential
from services.chain_gateway import config as gateway_config
from services.chain_gateway.chain import Chain
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore
from services.model_server.admission.open import Open
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer
from services.trainer import create, data
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer

CONTRIBUTORS = 2
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tasks"


@dataclass
class Suite:
    """A gateway whose task is one example's, as its creator's files say it."""

    folder: Path
    example: Path
    plan: TaskPlan
    gateway: str
    accounts: tuple[bytes, ...]

    def credential(self, name: str) -> Credential:
        return Credential.read(self.folder / "access" / name)

    @asynccontextmanager
    async def trainer(self, index: int) -> AsyncIterator[TrainerClient]:
        config = TrainerConfig(
            listen="127.0.0.1:0",
            gateway=self.gateway,
            credential=str(self.folder / "access" / CONTRIBUTOR),
            access=self.folder / "access",
            account="0x" + self.accounts[index].hex(),
            data=f"python:{self.example}",
            shard=f"{index}/{CONTRIBUTORS}",
            frozen=self.folder / "task",
            state_dir=self.folder / f"trainer-{index}",
        )
        async with (
            Trainer.start(config) as trainer,
            TrainerClient.connect(trainer.address, self.credential(OPERATOR)) as client,
        ):
            await trainer.ready()
            yield client


@pytest.fixture(params=["text", "regression", "lora"])
async def suite(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Suite]:
    example = EXAMPLES / f"{request.param}.py"
    files = create.written(await asyncio.to_thread(create.created, example), tmp_path / "task")
    plan = read_plan(tmp_path / "task" / files["plan"])
    plan = replace(plan, terms=replace(plan.terms, quorum_bps=2_500 * CONTRIBUTORS, stake_seconds=1))
    password = Keystore.new_password(tmp_path / "keys" / "password")
    for _ in range(CONTRIBUTORS):
        Keystore.create(tmp_path / "keys", password, random_password=True)
    contributors = Keystore.unlock(tmp_path / "keys", password)
    async with Devchain.start() as devchain:
        owner = devchain.accounts[0]
        async with Chain.connect(devchain.url, CONTRACTS) as chain:
            await deploy(
                chain,
                Keystore({owner.address: Account.from_key(owner.key)}),
                tmp_path / "deploy.sqlite",
                DeploymentPlan(task=plan, contributors=contributors.addresses),
                contributors=contributors,
                deployment_path=tmp_path / "deployment.json",
            )
        config = gateway_config.GatewayConfig(
            rpc_url=devchain.url,
            deployment=tmp_path / "deployment.json",
            keystore=tmp_path / "keys",
            password_file=tmp_path / "keys/password",
            outbox=tmp_path / "outbox.sqlite",
            listen="127.0.0.1:0",
            auto_settle=True,
            access=tmp_path / "access",
        )
        async with Gateway.start(config) as gateway:
            yield Suite(tmp_path, example, plan, gateway.address, contributors.addresses)


async def test_a_module_of_ones_own_is_trained_over_the_chain_and_served(suite: Suite) -> None:
    spec = suite.plan.model
    _, held_out = data.load(f"python:{suite.example}", data.Shard())
    inputs = {name: values[:20] for name, values in held_out.inputs_of(spec).items()}
    base = frozen.read(suite.folder / "task", spec.graph.frozen)
    async with (
        suite.trainer(0) as one,
        suite.trainer(1) as other,
        GatewayClient.connect(suite.gateway, suite.credential(READER)) as gateway,
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
        credential=str(suite.folder / "access" / READER),
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        frozen=suite.folder / "task",
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
