"""A torch module of whoever opens a task, as a graph: exported by torch's own exporter, read by `onnx_import`, and held to the module."""

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidModel
from linklearner.domain.model import Loss, ModelSpec
from linklearner.onnx_graph import OPSET, onnx_model, reference
from linklearner.onnx_import import Imported, imported
from services.trainer import training

PARITY_SAMPLES = 32


@dataclass(frozen=True, slots=True)
class Exported:
    """A model as data, with the first weights that torch gave it. difference: the greatest between torch's module, our executor and ONNX's
    reference on the samples, in units of the answer."""

    spec: ModelSpec
    weights: NDArray[np.float32]
    frozen: Mapping[str, NDArray[np.float32]]
    difference: float


def input_names(module: torch.nn.Module) -> list[str]:
    """Of `forward`, in order."""
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if not names:
        raise InvalidModel("the module's forward takes no input by name: write `def forward(self, x)`")
    return names


def export(
    module: torch.nn.Module,
    inputs: Mapping[str, NDArray[Any]],
    *,
    name: str,
    loss: Loss,
    labels: tuple[str, ...],
    ranges: Mapping[str, tuple[float, float]],
    file_digest: Callable[[Mapping[str, NDArray[np.float32]]], bytes],
) -> Exported:
    """inputs: some samples, (n, …) of each of forward's inputs, in their order. Parameters that require no gradient are frozen.

    Dropout is left out and statistics of batch normalisation stay as they are. file_digest: see `onnx_import.imported`. Raises
    InvalidModel for a module that cannot be said as a graph, and for one that gives other answers than its graph does.
    """
    module = module.eval().float()
    some = {key: torch.from_numpy(np.ascontiguousarray(values[:PARITY_SAMPLES])) for key, values in inputs.items()}
    answer = "logits" if loss is not Loss.MEAN_SQUARED_ERROR else "prediction"
    with torch.no_grad():
        try:
            expected = module(*some.values())
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InvalidModel(f"the module does not take the data: {error!s:.300}") from error
    outputs = expected if isinstance(expected, tuple | list) else (expected,)
    if not all(isinstance(one, torch.Tensor) and one.shape[:1] == (len(next(iter(some.values()))),) for one in outputs):
        raise InvalidModel("the module gives one tensor, or several, whose first dimension is the batch")
    names = [answer, *(f"output{place}" for place in range(2, len(outputs) + 1))]
    trained = {key for key, parameter in module.named_parameters() if parameter.requires_grad}
    read = imported(_onnx(module, some, names), trained=trained.__contains__, ranges=ranges, file_digest=file_digest)
    spec = ModelSpec(name, read.graph, loss, labels)
    return Exported(spec, read.weights, read.frozen, _difference(spec, read, inputs, expected=outputs[0].numpy()))


def _onnx(module: torch.nn.Module, some: Mapping[str, torch.Tensor], outputs: list[str]) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(some.values()),
                dynamo=True,
                # Its optimiser merges tensors that hold equal numbers (all the ones of two normalisations) and drops those that hold
                # zeros (fresh biases): as first weights they would be lost, or trained as one.
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                input_names=list(some),
                output_names=outputs,
                dynamic_shapes=tuple({0: batch} for _ in some),
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidModel(
            f"torch cannot export the module for any number of samples: {_root(error)!s:.400}. Its forward must not depend "
            "on the values of its inputs, nor on how many samples there are"
        ) from error
    assert program is not None
    return program.model_proto


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _quiet() -> Any:
    """The exporter warns of libraries that nobody asked for."""
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loud.setLevel(level)


def _difference(
    spec: ModelSpec, read: Imported, inputs: Mapping[str, NDArray[Any]], expected: NDArray[np.float32]
) -> float:
    some = {
        one.name: np.ascontiguousarray(inputs[one.name][:PARITY_SAMPLES]).astype(one.datatype.dtype)
        for one in spec.inputs
    }
    ours = training.answers(spec, read.weights, some, read.frozen)
    theirs = reference(onnx_model(spec, read.weights, frozen=read.frozen), some)[spec.answer.name]
    difference, bound = training.difference(expected, ours, theirs)
    if not difference <= bound:
        raise InvalidModel(
            f"the module and its graph differ by {difference:g}, more than {bound:g}: does its forward draw random numbers?"
        )
    return difference
