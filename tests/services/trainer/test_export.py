"""Modules of torch's own kinds as graphs: every trainable number kept and named, the same answers, and clear refusals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from linklearner.domain.errors import InvalidModel
from linklearner.domain.graph import Graph
from linklearner.domain.model import Loss, ModelSpec
from linklearner.onnx_import import Imported, imported
from services.trainer import training
from services.trainer.export import Exported, export, input_names

GENERATOR = np.random.default_rng(0)
IMAGES = {"x": GENERATOR.uniform(0, 16, (9, 1, 8, 8)).astype(np.float32)}


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Conv2d(8, 16, 3, padding="same", groups=4, bias=False), nn.GroupNorm(4, 16), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class Words(nn.Module):
    """An embedding and one transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Parameter(torch.zeros(12, 16))
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.layer(self.words(tokens) + self.places).mean(1))
        return answer


class Patches(nn.Module):
    """A vision transformer: a class token for every sample, two layers that normalise first."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(1, 16, 2, 2), nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        sequence = torch.cat([self.token.expand(patches.shape[0], -1, -1), patches], 1)
        answer: torch.Tensor = self.head(self.layers(sequence)[:, 0])
        return answer


class Mixed(nn.Module):
    """Masked mean of an embedding beside numbers; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.line = nn.Embedding(10, 4, padding_idx=0), nn.Linear(4 + 3, 1)

    def forward(self, words: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = (words != 0).float().unsqueeze(-1)
        mean = (self.words(words) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.line(torch.cat([mean, numbers], -1)).squeeze(-1), mean


class Adapted(nn.Module):
    """LoRA on a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(64, 128).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(4, 64) / 8), nn.Parameter(torch.zeros(128, 4))
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(torch.relu(self.base(x) + (x @ self.down.T) @ self.up.T))
        return answer


def as_data(
    module: nn.Module, inputs: Mapping[str, NDArray[Any]], outputs: int = 10, loss: Loss = Loss.CROSS_ENTROPY
) -> Exported:
    return export(
        module,
        inputs,
        name="m",
        loss=loss,
        labels=tuple(map(str, range(outputs))),
        ranges={},
        file_digest=lambda tensors: bytes(31) + bytes([len(tensors)]),
    )


TOKENS = {"tokens": GENERATOR.integers(0, 50, (9, 12))}
MIXED = {"words": GENERATOR.integers(0, 10, (9, 5)), "numbers": GENERATOR.normal(0, 1, (9, 3)).astype(np.float32)}


@pytest.mark.parametrize(
    ("module", "inputs", "outputs", "loss"),
    [
        (convolutions, IMAGES, 10, Loss.CROSS_ENTROPY),
        (Words, TOKENS, 3, Loss.CROSS_ENTROPY),
        (Patches, IMAGES, 10, Loss.CROSS_ENTROPY),
        (Mixed, MIXED, 0, Loss.MEAN_SQUARED_ERROR),
    ],
)
def test_every_trainable_number_is_kept_under_its_name_and_answers_are_the_same(
    module: Any, inputs: dict[str, NDArray[Any]], outputs: int, loss: Loss
) -> None:
    """Also for fresh weights: torch's optimising exporter drops biases of zero, and makes one tensor of two that hold ones."""
    torch.manual_seed(1)
    made = module()
    found = as_data(made, inputs, outputs, loss)
    kept = dict(zip([one.name for one in found.spec.tensors()], found.spec.split(found.weights), strict=True))
    wanted = {name: parameter.detach().numpy() for name, parameter in made.named_parameters()}
    assert kept.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(kept[name], values)
    assert found.difference <= 1e-5 and not found.frozen
    assert ModelSpec.from_json(found.spec.to_json()) == found.spec
    assert len(found.spec.to_json()) < 3000  # bytes of calldata: 24 gas each


def test_gradients_are_those_of_torch_s_own_module() -> None:
    torch.manual_seed(2)
    made = Words().eval()
    found = as_data(made, TOKENS, 3)
    labels = torch.arange(9) % 3
    torch.nn.functional.cross_entropy(made(torch.from_numpy(TOKENS["tokens"])), labels).backward()
    flat = torch.from_numpy(found.weights.copy()).requires_grad_()
    answers = training.Network(found.spec.graph)(flat, {"tokens": torch.from_numpy(TOKENS["tokens"])})["logits"]
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(answers, labels), flat)
    wanted = dict(made.named_parameters())
    for one, part in zip(found.spec.tensors(), found.spec.split(gradient.numpy()), strict=True):
        torch.testing.assert_close(torch.from_numpy(part), wanted[one.name].grad, rtol=1e-4, atol=1e-6)


def test_an_input_that_chooses_rows_says_how_many_there_are() -> None:
    (tokens,) = as_data(Words(), TOKENS, 3).spec.inputs
    assert tokens.range == (0.0, 49.0)


def test_what_needs_no_gradient_goes_into_a_file_if_it_is_large() -> None:
    found = as_data(Adapted(), {"x": GENERATOR.normal(0, 1, (9, 64)).astype(np.float32)})
    assert {one.name for one in found.spec.tensors()} == {"down", "up", "head.weight", "head.bias"}
    assert found.frozen.keys() == {"base.weight"}
    (frozen,) = found.spec.graph.frozen
    assert (frozen.name, frozen.dimensions, frozen.file) == ("base.weight", (128, 64), bytes(31) + b"\1")
    assert "base.bias" in {constant.name for constant in found.spec.graph.constants}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.layer(x)[0][:, -1])
        return answer


class Choosing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.a(x) if x.sum() > 0 else self.b(x)
        return answer


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.a(x) + 0 * x.sum()
        return answer


class Drawing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.a(x) + torch.rand(2)
        return answer


@pytest.mark.parametrize(
    ("module", "shape", "why"),
    [
        (Recurrent, (9, 6, 4), "LSTM|number of samples"),
        (Choosing, (9, 4), "torch cannot export"),
        (Idle, (9, 4), "batch|nothing depends on it"),
        (Drawing, (9, 4), "Random|draw random numbers"),
        (lambda: nn.Linear(5, 2), (9, 4), "does not take the data"),
    ],
)
def test_what_cannot_be_said_as_a_graph_is_refused(module: Any, shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(InvalidModel, match=why):
        as_data(module(), {next(iter(input_names(module()))): GENERATOR.normal(0, 1, shape).astype(np.float32)}, 2)


def read(model: onnx.ModelProto) -> Imported:
    return imported(model, trained=lambda name: name.startswith("w"), file_digest=lambda _: bytes(32))


def onnx_of(nodes: list[onnx.NodeProto], opset: int = 13, batch: str | int = "n", **tensors: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


W = np.ones((2, 3), np.float32)


def test_older_spellings_are_read() -> None:
    """Axes and splits as attributes, alpha and beta, bounds of Clip, a dropped out value, a sum of three."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Split", ["a"], ["b", "c"], axis=2, split=[1, 2]),
        helper.make_node("Squeeze", ["b"], ["d"], axes=[2]),
        helper.make_node("ReduceMean", ["c"], ["e"], axes=[-1], keepdims=0),
        helper.make_node("Sum", ["d", "e", "d"], ["f"]),
        helper.make_node("Dropout", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w2", "c2"], ["h"], alpha=0.5, beta=2.0),
        helper.make_node("Clip", ["h"], ["i"], min=-1.0),
        helper.make_node("Flatten", ["i"], ["y"]),
    ]
    found = read(onnx_of(nodes, 10, w=W, w2=np.ones((2, 4), np.float32), c2=np.ones(4, np.float32)))
    assert found.graph.outputs[0].dimensions == (4,)
    x = {"x": GENERATOR.normal(0, 1, (5, 2, 3)).astype(np.float32)}
    d, e = x["x"][:, :, 0], x["x"][:, :, 1:].mean(axis=-1)
    wanted = np.maximum(0.5 * ((2 * d + e) @ np.ones((2, 4))) + 2, -1)
    spec = ModelSpec("m", found.graph, Loss.MEAN_SQUARED_ERROR)
    np.testing.assert_allclose(training.answers(spec, found.weights, x), wanted, atol=1e-5)
    assert Graph.from_text(found.graph.text) == found.graph


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (onnx_of([helper.make_node("Mul", ["x", "w"], ["y"], domain="com.evil")], w=W), "domain 'com.evil'"),
        (onnx_of([helper.make_node("Einsum", ["x", "w"], ["y"], equation="nij,ij->nij")], w=W), "no task knows this"),
        (onnx_of([helper.make_node("Mul", ["x", "w"], ["y"])], batch=4, w=W), "export it with a dynamic batch"),
        (onnx_of([helper.make_node("Mul", ["x", "q"], ["y"])], w=W), "nothing before it gives 'q'"),
        (onnx_of([helper.make_node("Relu", ["x"], ["y"])], w=W), "nothing depends on it"),
        (onnx_of([helper.make_node("ReduceMean", ["x"], ["y"])], w=W), "the batch too"),
        (onnx_of([helper.make_node("Identity", ["w"], ["y"])], w=W), "must be the batch"),
        (onnx_of([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], auto_pad="SAME_UPPER")], w=W), "SAME_UPPER"),
        (onnx_of([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], strides=[2], ceil_mode=1)], w=W), "ceil_mode"),
    ],
)  # fmt: skip
def test_a_model_that_says_what_no_graph_says_is_refused(model: onnx.ModelProto, why: str) -> None:
    with pytest.raises(InvalidModel, match=why):
        read(model)


def test_a_tensor_in_another_file_is_not_followed() -> None:
    model = onnx_of([helper.make_node("Mul", ["x", "w"], ["y"])], w=W)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(InvalidModel, match="lies in another file"):
        read(model)
