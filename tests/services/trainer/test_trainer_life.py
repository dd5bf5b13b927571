"""A trainer's life: settings, start, readiness, rounds by itself, and its end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner.domain.encodings import INT8
from linklearner.domain.errors import InvalidConfig
from linklearner.rpc.channel import channel
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import trainer_pb2
from services.trainer import contributor
from services.trainer.config import TrainerConfig
from services.trainer.journal import Journal
from services.trainer.recipe import Recipe, Sgd
from services.trainer.servicer import TrainerServicer
from services.trainer.trainer import Trainer
from tests.services.trainer.conftest import settings, until

ROOT = Path(__file__).resolve().parents[3]


async def health(address: str) -> int:
    async with channel(address) as wire:
        answer = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(service=""))
    return int(answer.status)


def test_every_method_of_the_service_is_there() -> None:
    for method in trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"].methods:
        assert method.name in vars(TrainerServicer), method.name


async def test_a_trainer_serves_as_soon_as_its_gateway_answers(tmp_path: Path, unused_port: int) -> None:
    gateway = f"127.0.0.1:{unused_port}"
    async with Trainer.start(settings(tmp_path, gateway)) as trainer:
        assert await health(trainer.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        async with FakeGateway(seed=1).served(gateway):
            async with asyncio.timeout(30):
                await trainer.ready()
                while await health(trainer.address) != health_pb2.HealthCheckResponse.SERVING:
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(30):
            while await health(trainer.address) != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.02)


async def test_an_account_that_the_gateway_does_not_hold_ends_the_trainer(tmp_path: Path) -> None:
    account = "0x" + "77" * 20
    async with (
        FakeGateway(seed=1).served() as gateway,
        Trainer.start(settings(tmp_path, gateway, account=account)) as trainer,
    ):
        with pytest.raises(InvalidConfig, match="does not hold the key of 0x77"):
            await trainer.ready()
        with pytest.raises(InvalidConfig):
            await trainer.wait()


async def test_an_account_must_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    async with (
        FakeGateway(seed=1, accounts=2).served() as gateway,
        Trainer.start(settings(tmp_path, gateway)) as trainer,
    ):
        with pytest.raises(InvalidConfig, match="choose one of: 0x0101"):
            await trainer.ready()


async def test_too_few_samples_are_refused_before_anything_starts(tmp_path: Path) -> None:
    shard_size = 287  # of an even cut of 1,438 samples
    config = {"shard": "4/5", "alpha": "iid"}
    with pytest.raises(InvalidConfig, match="too few to hide") as why:
        async with Trainer.start(settings(tmp_path, "127.0.0.1:1", min_samples=shard_size + 1, **config)):
            pass
    assert why.value.reason == "TooFewSamples"
    assert not (tmp_path / "trainer").exists()
    async with Trainer.start(settings(tmp_path, "127.0.0.1:1", min_samples=shard_size, **config)):
        pass


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    async with Trainer.start(settings(tmp_path, "127.0.0.1:1")) as trainer:
        with pytest.raises(InvalidConfig, match="port is in use"):
            async with Trainer.start(
                settings(tmp_path, "127.0.0.1:1", listen=trainer.address, state_dir=tmp_path / "b")
            ):
                pass


async def test_a_trainer_contributes_to_as_many_rounds_as_it_was_told(tmp_path: Path) -> None:
    chain = FakeGateway(seed=1)
    async with chain.served() as gateway, Trainer.start(settings(tmp_path, gateway, rounds=3)) as trainer:
        await until(lambda: len(chain.versions) == 4)
        await asyncio.sleep(0.5)
        assert len(chain.versions) == 4 and chain.submissions == 3
        await trainer.ready()


async def test_a_trainer_goes_on_for_ever_over_refusals_lost_calls_and_drops(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributor, "RETRY_S", 0.02)
    monkeypatch.setattr(contributor, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(contributor, "REFUSED_AGAIN_S", 0.1)
    chain = FakeGateway(seed=1)
    address = f"127.0.0.1:{unused_port}"
    async with Trainer.start(settings(tmp_path, address, rounds=-1)):
        await asyncio.sleep(0.3)  # no gateway yet
        chain.refuse, chain.lose = "NoStake", "request"
        async with chain.served(address):
            await until(lambda: len(chain.versions) >= 3)
            chain.auto_settle = False
            await until(lambda: len(chain.rounds[-1].contributions) == 1)
            dropped = len(chain.rounds)
            chain.drop()
            chain.auto_settle = True
            await until(lambda: len(chain.rounds) > dropped + 1)
    assert all(len(one.contributions) == 1 for one in chain.rounds[:-1])


def test_settings_come_from_the_environment() -> None:
    config = TrainerConfig.from_environment(
        {
            "LINKLEARNER_TRAINER_SHARD": "2/5",
            "LINKLEARNER_TRAINER_ALPHA": "0.5",
            "LINKLEARNER_TRAINER_SHARD_SEED": "7",
            "LINKLEARNER_TRAINER_ACCOUNT": "0x" + "ab" * 20,
            "LINKLEARNER_TRAINER_STEPS": "50",
            "LINKLEARNER_TRAINER_ENCODING": "int8",
            "PATH": "/bin",
        }
    )
    shard = config.shard_of_data()
    assert (shard.index, shard.count, shard.alpha, shard.seed) == (2, 5, 0.5, 7)
    assert config.account_bytes() == b"\xab" * 20 and config.recipe().step_count == 50
    assert config.update_encoding() is INT8
    taught = {"OPTIMISER": "sgd", "LEARNING_RATE": "0.3", "MOMENTUM": "0.5", "PROXIMAL": "0.1", "SECONDS": "2.5"}
    recipe = TrainerConfig.from_environment(
        {f"LINKLEARNER_TRAINER_{name}": text for name, text in taught.items()}
    ).recipe()
    assert recipe == Recipe(optimiser=Sgd(learning_rate=0.3, momentum=0.5), proximal=0.1, seconds=2.5)
    assert (
        not config.allow_range
        and not TrainerConfig.from_environment({"LINKLEARNER_TRAINER_ALLOW_RANGE": "0"}).allow_range
    )
    assert TrainerConfig.from_environment({"LINKLEARNER_TRAINER_ALLOW_RANGE": "true"}).allow_range
    assert TrainerConfig(alpha="iid").shard_of_data().alpha is None and TrainerConfig().account_bytes() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LISTN", "x:1"),
        ("LISTEN", "nowhere"),
        ("LISTEN", ":1"),
        ("GATEWAY", "host:65536"),
        ("ACCOUNT", "0x12"),
        ("ACCOUNT", "zz" * 20),
        ("TASK", "0"),
        ("TASK", "one"),
        ("SHARD", "5/5"),
        ("SHARD", "half"),
        ("ALPHA", "0"),
        ("ALPHA", "some"),
        ("MIN_SAMPLES", "0"),
        ("STEPS", "9"),
        ("LEARNING_RATE", "2"),
        ("SECONDS", "-1"),
        ("OPTIMISER", "lion"),
        ("MOMENTUM", "0.9"),  # AdamW has none
        ("PROXIMAL", "-1"),
        ("ENCODING", "float"),
        ("ROUNDS", "-2"),
        ("THREADS", "0"),
        ("LOG_LEVEL", "loud"),
        ("ALLOW_RANGE", "perhaps"),
        ("SHARD", "0/" + "9" * 5000),
        ("SHARD", "0/\u0663"),
        ("LISTEN", "host:" + "9" * 5000),
        ("TASK", "9" * 5000),
    ],
)
def test_wrong_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidConfig):
        TrainerConfig.from_environment({f"LINKLEARNER_TRAINER_{name}": value})


@asynccontextmanager
async def process(folder: Path, gateway: str, rounds: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.trainer`, listening; killed at the end if it has not ended by then."""
    environment = {
        **os.environ,
        "LINKLEARNER_TRAINER_LISTEN": "127.0.0.1:0",
        "LINKLEARNER_TRAINER_GATEWAY": gateway,
        "LINKLEARNER_TRAINER_STATE_DIR": str(folder),
        "LINKLEARNER_TRAINER_ROUNDS": str(rounds),
        "LINKLEARNER_TRAINER_STEPS": "10",
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer", cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        async with asyncio.timeout(60):
            assert (await started.stdout.readline()).startswith(b"trainer 127.0.0.1:")
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_after_kill_9_with_an_update_on_its_way_the_process_goes_on_where_it_was(tmp_path: Path) -> None:
    chain = FakeGateway(seed=1)
    chain.auto_settle = False
    chain.lose = "caller"
    async with chain.served() as gateway:
        async with process(tmp_path, gateway, rounds=1) as first:
            await until(lambda: len(chain.rounds[-1].contributions) == 1)
            first.kill()
            await first.wait()
        chain.settle()
        chain.auto_settle = True
        async with process(tmp_path, gateway, rounds=1) as second:
            await until(lambda: len(chain.versions) == 3)
            second.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await second.wait() == 0
    assert [len(one.contributions) for one in chain.rounds] == [1, 1, 0]
    with Journal.open(tmp_path) as journal:
        scope = f"{chain.chain_id}/{'aa' * 20}/1/{chain.accounts[0].hex()}"
        carried = journal.residual(scope, chain.shape.weight_count)
        held = journal.held(scope, chain.shape.weight_count)
    assert carried.any()  # what the first update left over counts, although its answer never came
    assert held is not None and held.base_version == 2


async def test_a_process_with_wrong_settings_says_why_and_ends(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LINKLEARNER_TRAINER_DATA": "npz:/nowhere.npz",
        "LINKLEARNER_TRAINER_STATE_DIR": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer", cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2 and b"trainer: cannot read /nowhere.npz" in said


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_torch_is_imported_only_when_a_trainer_starts() -> None:
    code = "import sys, services.trainer.trainer as t; t.data.digits(); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split() == ["False", "False"]
