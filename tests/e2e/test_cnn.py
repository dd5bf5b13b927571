"""A convolutional network through the whole house: opened as a task, trained over the embedded chain, served, asked by tritonclient."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from typer.testing import CliRunner

from devchain import Devchain
from linklearner.chain.contracts import CONTRACTS
from linklearner.cli import app
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS_CNN
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.plan import TaskPlan
from linklearner.rpc.access import CONTRIBUTOR, OPERATOR, READER, Credential
from linklearner.rpc.channel import channel
from linklearner.v1 import chain_gateway_pb2 as gateway_pb
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from services.chain_gateway import config as gateway_config
from services.chain_gateway.chain import Chain
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig as ServerConfig
from services.model_server.server import ModelServer
from services.trainer import data
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer
from tests.any_model import reference_logits

CONTRIBUTORS = 2
ROUNDS = 3
TRITON = Path(__file__).parents[1] / "services/model_server/tritonclient_call.py"


@dataclass
class Suite:
    """A gateway and its contributors, whose task is the CNN."""

    folder: Path
    gateway: str
    accounts: tuple[bytes, ...]

    def credential(self, name: str) -> str:
        return str(self.folder / "access" / name)

    @asynccontextmanager
    async def wire(self, address: str) -> AsyncIterator[Any]:
        async with channel(address, Credential.read(Path(self.credential(OPERATOR)))) as wire:
            yield wire

    @asynccontextmanager
    async def trainer(self, index: int) -> AsyncIterator[pb_grpc.TrainerServiceStub]:
        config = TrainerConfig(
            listen="127.0.0.1:0",
            gateway=self.gateway,
            credential=self.credential(CONTRIBUTOR),
            access=self.folder / "access",
            account="0x" + self.accounts[index].hex(),
            shard=f"{index}/{CONTRIBUTORS}",
            steps=60,
            state_dir=self.folder / f"trainer-{index}",
        )
        async with Trainer.start(config) as trainer, self.wire(trainer.address) as wire:
            await trainer.ready()
            yield pb_grpc.TrainerServiceStub(wire)


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    password = Keystore.new_password(tmp_path / "keys" / "password")
    for _ in range(CONTRIBUTORS):
        Keystore.create(tmp_path / "keys", password, random_password=True)
    contributors = Keystore.unlock(tmp_path / "keys", password)
    terms = {"quorum_bps": min(10_000, 2_500 * CONTRIBUTORS), "stake_seconds": 1}
    settings = {"model": json.loads(DIGITS_CNN.to_json()), "terms": terms, "page_length": 952}
    plan = DeploymentPlan(task=TaskPlan.from_json(json.dumps(settings)), contributors=contributors.addresses)
    async with Devchain.start() as devchain:
        owner = devchain.accounts[0]
        async with Chain.connect(devchain.url, CONTRACTS) as chain:
            await deploy(
                chain,
                Keystore({owner.address: Account.from_key(owner.key)}),
                tmp_path / "deploy.sqlite",
                plan,
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
            yield Suite(tmp_path, gateway.address, contributors.addresses)


async def train(stub: pb_grpc.TrainerServiceStub, name: str) -> None:
    events = [event async for event in stub.TrainRound(pb.TrainRoundRequest(request_id=name))]
    assert events[-1].HasField("submitted")


async def token_for(account: LocalAccount, server: str) -> str:
    """A session at a model server that asks for no stake."""
    async with channel(server) as wire:
        stub = session_grpc.SessionServiceStub(wire)
        address = bytes.fromhex(account.address.removeprefix("0x"))
        message = (await stub.CreateChallenge(session.CreateChallengeRequest(address=address))).message
        signature = bytes(account.sign_message(encode_defunct(text=message)).signature)
        return str((await stub.OpenSession(session.OpenSessionRequest(message=message, signature=signature))).token)


async def test_a_cnn_is_trained_over_the_chain_served_and_asked(suite: Suite) -> None:
    _, held_out = data.load("digits", data.Shard())
    images = held_out.inputs_of(DIGITS_CNN)["pixels"][:200]
    async with suite.trainer(0) as one, suite.trainer(1) as other, suite.wire(suite.gateway) as wire:
        gateway = gateway_grpc.ChainGatewayServiceStub(wire)
        first = await one.Evaluate(pb.EvaluateRequest())
        async with asyncio.timeout(300):
            for round in range(1, ROUNDS + 1):
                await asyncio.gather(train(one, f"round {round}"), train(other, f"round {round}"))
                watched = gateway.WatchVersions(gateway_pb.WatchVersionsRequest(task=1, after_version=round))
                assert (await watched.read()).version.version == round + 1
                watched.cancel()
        last = await one.Evaluate(pb.EvaluateRequest())
        assert last.version.version == ROUNDS + 1
        assert last.value > 0.8 > first.value  # after 180 local steps each; a guess is right one time in ten
        exported = await one.ExportModel(pb.ExportModelRequest())
        assert exported.max_abs_difference < 1e-3
        parts = [part.weights async for part in gateway.GetModel(gateway_pb.GetModelRequest(task=1))]
        task = (await gateway.GetTask(gateway_pb.GetTaskRequest(task=1))).task
        assert task.model == DIGITS_CNN.to_json()
        weights = np.frombuffer(b"".join(parts), "<i2").astype(np.int16)
        shown = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["task", "show", "--task", "1", "--gateway", suite.gateway, "--credential", suite.credential(READER)],
        )
        assert shown.exit_code == 0, shown.output
        assert str(DIGITS_CNN.graph) in " ".join(shown.output.split())

    shape = TaskPlan.from_json(json.dumps({"model": json.loads(DIGITS_CNN.to_json()), "page_length": 952})).shape
    expected = reference_logits(DIGITS_CNN, dequantise_weights(weights, shape), images)
    assert (expected.argmax(axis=1) == held_out.y[:200]).mean() > 0.8
    config = ServerConfig(
        gateway=suite.gateway,
        credential=suite.credential(READER),
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        admission=StakeSettings(required_units=0),
    )
    async with ModelServer.start(config) as server, asyncio.timeout(120):
        await server.ready()
        token = await token_for(Account.create(), server.address)
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(TRITON), server.address, token, "digits-cnn", stdin=-1, stdout=-1, stderr=-1
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
    assert not classifier("digits-cnn", Cnn((1, 8, 8), (8, 8), 3, 10), DIGITS_CNN.labels).fits(plan.shape)
