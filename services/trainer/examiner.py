"""Measures a version of the weights on the held-out samples, and exports it as ONNX."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner import frozen
from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import DataLoss
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.training import Evaluation, ModelExport
from linklearner.onnx_graph import onnx_model, reference
from services.trainer import training
from services.trainer.data import Samples
from services.trainer.network import rows_of

PARITY_SAMPLES = 256


class Examiner:
    """One task's versions against one set of held-out samples."""

    def __init__(self, gateway: GatewayClient, task: int, held_out: Samples, frozen_folder: Path) -> None:
        self._gateway = gateway
        self._task = task
        self._held_out = held_out
        self._frozen = frozen_folder

    async def evaluate(self, version: int) -> Evaluation:
        """version 0: the newest. Raises NotFound, DataLoss, InvalidInput if the samples do not fit the model."""
        state = await self._gateway.task(self._task)
        await asyncio.to_thread(self._held_out.inputs_of, state.spec)  # before a byte of weights is asked for
        found, weights = await self._gateway.weights(state, version)
        fixed = await asyncio.to_thread(frozen.read, self._frozen, state.spec.graph.frozen)
        score = await asyncio.to_thread(
            training.evaluate, state.spec, dequantise_weights(weights, state.shape), self._held_out, fixed
        )
        return Evaluation(found, len(self._held_out), score.metric, score.value, score.loss)

    async def export(self, version: int) -> ModelExport:
        """version 0: the newest. Raises NotFound, DataLoss also if ONNX and torch disagree."""
        state = await self._gateway.task(self._task)
        held_out = await asyncio.to_thread(self._held_out.inputs_of, state.spec)
        most = min(PARITY_SAMPLES, rows_of(state.spec.graph, training.ROWS_LENGTH))
        inputs = {name: rows[:most] for name, rows in held_out.items()}
        found, weights = await self._gateway.weights(state, version)
        metadata = {"task": str(self._task), "version": str(found.version), "digest": found.digest.hex()}
        real = dequantise_weights(weights, state.shape)
        fixed = await asyncio.to_thread(frozen.read, self._frozen, state.spec.graph.frozen)
        model = onnx_model(state.spec, real, metadata, fixed)
        difference = await asyncio.to_thread(parity, state.spec, real, model, inputs, fixed)
        return ModelExport(found, model, difference)


def parity(
    spec: ModelSpec,
    weights: NDArray[np.float32],
    model: bytes,
    inputs: Mapping[str, NDArray[Any]],
    fixed: training.Frozen | None = None,
) -> float:
    """The greatest difference between torch's answers and those of ONNX's reference implementation.

    weights: (N,) float32; inputs: (B, *dimensions) of each, as the signature says; fixed: values of frozen tensors. Raises DataLoss
    beyond training.PARITY_TOLERANCE.
    """
    ours = training.answers(spec, weights, inputs, fixed)
    theirs = reference(model, inputs)[spec.answer.name]
    difference, bound = training.difference(ours, theirs)
    if not difference <= bound:
        raise DataLoss(
            f"ONNX and torch differ by {difference:g}, more than {bound:g}: this is a bug, do not use the file"
        )
    return difference
