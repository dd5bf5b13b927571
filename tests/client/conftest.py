"""A gateway client at a gateway with one small task: the fake one, or a real one with its chain."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linklearner.client.gateway import GatewayClient
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.model import ModelSpec
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update
from linklearner.testing.gateway import FakeGateway
from services.chain_gateway.deploy import POT
from tests.services.chain_gateway.conftest import CONTRIBUTORS, deployed, small_task, world_in

__all__ = ["deployed"]


@dataclass(frozen=True)
class Subject:
    """task 1: two settlement groups, quorum 2, three accounts with 1,000 units each, nothing submitted."""

    gateway: GatewayClient
    accounts: tuple[bytes, ...]
    spec: ModelSpec
    shape: Shape
    terms: Terms
    first_weights: NDArray[np.int16]

    def update(self, version: int = 1, *, seed: int = 0) -> Update:
        """An honest one."""
        delta = np.random.default_rng(seed).normal(0.0, 0.01, self.shape.weight_count)
        return quantise_delta(delta, self.shape, 1, version, TWO_BITS).update


def fake_gateway() -> FakeGateway:
    """In the state of a fresh deployment of `small_task`."""
    task = small_task()
    fake = FakeGateway(spec=task.model, shape=task.shape, terms=task.terms, accounts=CONTRIBUTORS)
    fake.auto_settle = False
    fake.first.pot = POT
    fake.publish(task.first_weights())
    return fake


@pytest.fixture(params=["fake", "real"])
async def subject(request: pytest.FixtureRequest, deployed: Path, tmp_path: Path) -> AsyncIterator[Subject]:
    task = small_task()
    rest = (task.model, task.shape, task.terms, task.first_weights())
    if request.param == "fake":
        fake = fake_gateway()
        async with fake.served() as address, GatewayClient.connect(address) as client:
            yield Subject(client, fake.accounts, *rest)
        return
    folder = tmp_path / "world"
    shutil.copytree(deployed, folder)
    async with (
        world_in(folder) as world,
        world.gateway() as gateway,
        GatewayClient.connect(gateway.address, world.operator) as client,
    ):
        yield Subject(client, world.accounts, *rest)
