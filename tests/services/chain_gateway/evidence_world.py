"""A task by rule `evidence` that a few honest updates improve, small enough to be played on a chain in seconds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linklearner.domain.classifier import classifier
from linklearner.domain.encodings import INT8
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.plan import USUAL_TERMS, TaskPlan
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import RULE_EVIDENCE, Terms
from linklearner.domain.rules.evidence.batches import encode_batch
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.update import Update
from services.chain_gateway.example_store import ExampleStore
from tests.contracts.evidence_chain import NETWORK, better, first_weights, learnable
from tests.services.chain_gateway.conftest import World, make_deployment, world_in

SIZES = (3, 2, 4, 1, 5)
SPEC = classifier("largest", Mlp(NETWORK.widths), ("a", "b", "c"), "x", 1 / 16, (0.0, 16.0))
TERMS = Terms(
    **USUAL_TERMS
    | {
        "quorum_bps": 10_000,  # nobody reaches it: a round takes updates until its time is up
        "max_updates": 4,
        "round_seconds": 60,
        "drop_seconds": 600,
        "stake_seconds": 1,
    },
    rule=RULE_EVIDENCE,
)


def example_set(sizes: Sequence[int] = SIZES, seed: int = 5) -> ExampleBatches:
    examples = learnable(NETWORK, sum(sizes), seed)
    cuts = np.cumsum([0, *sizes])
    batches = tuple(encode_batch(examples[a:b]) for a, b in pairwise(cuts))
    return ExampleBatches(NETWORK.input_exponent, NETWORK.widths[0], batches)


def evidence_task(sizes: Sequence[int] = SIZES) -> TaskPlan:
    shape = SPEC.shape(12, 16, 4, 2**24)
    weights = dequantise_weights(first_weights(NETWORK), shape)
    return TaskPlan(
        model=SPEC, exponents=12, page_length=16, group_pages=4, norm_bound=2**24, terms=TERMS,
        weights=weights, examples=example_set(sizes),
    )  # fmt: skip


@pytest.fixture(scope="session")
def deployed_evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `deployed`, with the evidence task; its examples are kept in the folder."""
    folder = tmp_path_factory.mktemp("evidence")
    asyncio.run(make_deployment(folder, evidence_task()))
    ExampleStore(folder / "examples").keep(example_set())
    return folder


@asynccontextmanager
async def evidence_world(deployed: Path, tmp_path: Path) -> AsyncIterator[World]:
    """A copy of that deployment at work."""
    folder = tmp_path / "world"
    shutil.copytree(deployed, folder)
    async with world_in(folder, evidence_task()) as world:
        yield world


def work(plan: TaskPlan, task: int, version: int, weights: NDArray[np.int16], seed: int, sign: int = 1) -> Update:
    """An update that makes the loss on such examples fall, or (sign -1) rise."""
    steps = better(NETWORK, weights, seed, sign)
    return quantise_delta(np.ldexp(steps, -12), plan.shape, task, version, INT8).update
