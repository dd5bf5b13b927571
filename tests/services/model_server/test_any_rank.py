"""A model whose input is an image is served by its signature: the Open Inference Protocol with four dimensions, and several inputs."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from linklearner.client.inference import InferenceClient
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS_CNN
from linklearner.domain.errors import DataLoss, InvalidInput, InvalidModel, OutOfRange
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.graph import Constant, Graph, Node, Signature, TensorSpec
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.model import Loss, ModelSpec, ModelVersion
from linklearner.domain.operators import Datatype
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.onnx_graph import onnx_model
from linklearner.rpc.channel import channel
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from services.model_server import inference
from services.model_server.inference import Model
from services.model_server.server import ModelServer
from tests.any_model import reference_logits
from tests.services.model_server.conftest import QUICK, QUICK_STAKE, sessions_at

SHAPE = DIGITS_CNN.shape(exponents=12, page_length=1024, group_pages=4, norm_bound=2**20)
IMAGES = np.random.default_rng(5).integers(0, 17, (5, 1, 8, 8)).astype("<f4")
EXPECTED = reference_logits(DIGITS_CNN, dequantise_weights(weights_of(3, DIGITS_CNN, SHAPE), SHAPE), IMAGES)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Of the CNN; any address is let in."""
    chain = FakeGateway(spec=DIGITS_CNN, shape=SHAPE)
    chain.publish(weights_of(3, DIGITS_CNN, SHAPE))
    async with (
        chain.served() as address,
        ModelServer.start(replace(QUICK, gateway=address, admission=replace(QUICK_STAKE, required_units=0))) as server,
    ):
        await server.ready()
        yield server


async def test_metadata_and_terms_are_those_of_the_signature(server: ModelServer) -> None:
    async with channel(server.address) as wire:
        found = await oip_grpc.GRPCInferenceServiceStub(wire).ModelMetadata(oip.ModelMetadataRequest(name="digits-cnn"))
    described = [(one.name, one.datatype, list(one.shape)) for one in (*found.inputs, *found.outputs)]
    assert described == [
        ("pixels", "FP32", [-1, 1, 8, 8]),
        ("logits", "FP32", [-1, 10]),
        ("label", "INT64", [-1]),
    ]
    async with sessions_at(server.address) as stub:
        assert (await stub.GetTerms(session.GetTermsRequest())).input_count == 64


def model() -> Model:
    weights = dequantise_weights(weights_of(3, DIGITS_CNN, SHAPE), SHAPE)
    return Model(DIGITS_CNN, ModelVersion(1, 1, bytes(32), 0, 1), onnx_model(DIGITS_CNN, weights))


def request(shape: tuple[int, ...] = IMAGES.shape) -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="FP32", shape=shape)
    return oip.ModelInferRequest(model_name="digits-cnn", inputs=[tensor], raw_input_contents=[IMAGES.tobytes()])


def test_an_image_is_answered_as_onnx_s_reference_answers_it() -> None:
    answer = model().infer(request(), 1024)
    assert [list(tensor.shape) for tensor in answer.outputs] == [[5, 10], [5]]
    logits = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(5, 10)
    np.testing.assert_allclose(logits, EXPECTED, rtol=0, atol=1e-5 * np.abs(EXPECTED).max())
    typed = request()
    typed.raw_input_contents.clear()
    typed.inputs[0].contents.fp32_contents.extend(IMAGES.ravel().tolist())
    assert model().infer(typed, 1024) == answer


@pytest.mark.parametrize("shape", [(5, 64), (5, 8, 8), (5, 8, 8, 1), (5, 1, 4, 16), (1, 5, 8, 8), (320,), ()])
def test_the_same_bytes_in_other_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"Expected \[-1,1,8,8\], got"):
        model().infer(request(shape), 1024)


def test_rows_are_bounded_by_the_widest_value_of_the_graph() -> None:
    assert model().rows_at_once(2**20) == ((4 << 20) - 4096) // 256
    wide = classifier("digits-cnn", Cnn((1, 8, 8), (4096, 1), 3, 10), DIGITS_CNN.labels, "pixels")
    graph = onnx_model(wide, np.zeros(wide.weight_count, np.float32))
    assert Model(wide, ModelVersion(1, 1, bytes(32), 0, 1), graph).rows_at_once(2**20) == (64 << 20) // (4 * 4096 * 64)


def test_a_model_that_needs_too_much_memory_at_once_is_refused_before_it_takes_any() -> None:
    """Each layer is small enough for a row; that all of them are needed at once is what takes the memory."""

    def joined(length: int, times: int) -> ModelSpec:
        parts, wholes = tuple(f"v{place}" for place in range(16)), [f"w{place}" for place in range(times)]
        nodes = [Node("Neg", ("x",), part) for part in parts]
        nodes += [Node("Concat", parts, whole, {"axis": 1}) for whole in wholes]
        nodes += [Node("ReduceMean", (whole, "axes"), f"m{whole}", {"keepdims": 1}) for whole in wholes]
        nodes += [Node("Concat", tuple(f"m{whole}" for whole in wholes), "means", {"axis": 1})]
        nodes += [Node("Gemm", ("means", "W"), "y", {})]
        graph = Graph(
            (Signature("x", Datatype.FP32, (length,)),),
            (Signature("y", Datatype.FP32, (2,)),),
            (TensorSpec("W", (times, 2)),),
            (Constant("axes", (1,), (1,), Datatype.INT64),),
            tuple(nodes),
        )
        return ModelSpec("joined", graph, Loss.CROSS_ENTROPY, ("a", "b"))

    version = ModelVersion(1, 1, bytes(32), 0, 1)
    small = joined(2**14, 8)
    served = Model(small, version, onnx_model(small, np.ones(16, np.float32)))
    # the sixteen parts, and eight wholes of them
    assert served.rows_at_once(1000) == (512 << 20) // (small.graph.peak_bytes) == (512 << 20) // (9 * 16 * 4 * 2**14)
    with pytest.raises(InvalidModel, match="bytes of memory for one row"):
        Model(joined(2**20, 4), version, b"never read")


def test_rows_are_bounded_by_what_a_row_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_REQUEST_WORK", 10 * DIGITS_CNN.graph.work + 1)
    assert model().rows_at_once(2**20) == 10


async def test_what_takes_long_keeps_nobody_else_waiting(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opened the task chose how large its model is: health, sessions and other calls are answered meanwhile."""
    begun, go_on, real = threading.Event(), threading.Event(), Model.infer

    def slow(self: Model, request: oip.ModelInferRequest, max_rows: int) -> oip.ModelInferResponse:
        begun.set()
        go_on.wait(60)
        return real(self, request, max_rows)

    monkeypatch.setattr(Model, "infer", slow)
    monkeypatch.setattr(inference, "INLINE_WORK", 2 * DIGITS_CNN.graph.work)
    async with InferenceClient(server.address, Account.create()) as client, channel(server.address) as wire:
        asked = asyncio.create_task(client.infer("digits-cnn", IMAGES))
        await asyncio.to_thread(begun.wait, 60)
        ready = await oip_grpc.GRPCInferenceServiceStub(wire).ServerReady(oip.ServerReadyRequest())
        assert ready.ready and not asked.done()
        go_on.set()
        assert (await asked).values.shape == (5, 10)
        go_on.clear()
        monkeypatch.setattr(Model, "infer", real)
        assert (await client.infer("digits-cnn", IMAGES[:1])).values.shape == (1, 10)


async def test_the_client_arranges_rows_in_the_servers_dimensions(server: ModelServer) -> None:
    async with InferenceClient(server.address, Account.create()) as client:
        for values in (IMAGES, IMAGES.reshape(5, 64), IMAGES.reshape(5, 8, 8), IMAGES.reshape(5, 8, 8, 1)):
            answer = await client.infer("digits-cnn", values)
            np.testing.assert_allclose(answer.values, EXPECTED, rtol=0, atol=1e-5 * np.abs(EXPECTED).max())
        with pytest.raises(InvalidInput, match="takes rows of 1x8x8 numbers, not of 4x16 numbers: the same numbers"):
            await client.infer("digits-cnn", IMAGES.reshape(5, 4, 16))
        bright = IMAGES.copy()
        bright[3, 0, 7, 1] = 255
        with pytest.raises(OutOfRange, match="row 3 of 'pixels' has 255 at 0,7,1"):
            await client.infer("digits-cnn", bright)


class Describing(oip_grpc.GRPCInferenceServiceServicer):
    """Describes an input of whatever shape."""

    def __init__(self, shape: list[int]) -> None:
        self._shape = shape

    async def ModelMetadata(self, request: Any, context: Any) -> oip.ModelMetadataResponse:  # noqa: N802
        answer = oip.ModelMetadataResponse(name="digits")
        answer.inputs.add(name="x", datatype="FP32", shape=self._shape)
        return answer


@pytest.mark.parametrize("shape", [[], [-1, -64], [-1, -8, -8], [-1, 0], [-1, 64, 0]])
async def test_a_server_that_describes_no_row_is_not_asked(shape: list[int]) -> None:
    servicer = Describing(shape)
    async with (
        RpcServer(
            "127.0.0.1:0", lambda s: oip_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, s), ()
        ) as server,
        InferenceClient(server.address, None) as client,
    ):
        client._terms = session.GetTermsResponse()
        with pytest.raises(DataLoss, match="rows have dimensions"):
            await client.infer("digits", IMAGES)


def two_inputs() -> Model:
    """logits = values + row + offset, the second an INT64 of one number."""
    graph = Graph(
        (Signature("values", Datatype.FP32, (2,), (0.0, 1.0)), Signature("row", Datatype.INT64, (1,), (0.0, 20.0))),
        (Signature("logits", Datatype.FP32, (2,)),),
        (TensorSpec("offset", (2,)),),
        nodes=(
            Node("Cast", ("row",), "number", {"to": 1}),
            Node("Add", ("values", "number"), "sum"),
            Node("Add", ("sum", "offset"), "logits"),
        ),
    )
    spec = ModelSpec("two", graph, labels=("a", "b"))
    return Model(spec, ModelVersion(1, 1, bytes(32), 0, 1), onnx_model(spec, np.zeros(2, np.float32)))


def asked(*inputs: tuple[str, str, list[int], bytes]) -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest.InferInputTensor
    return oip.ModelInferRequest(
        model_name="two",
        inputs=[tensor(name=name, datatype=datatype, shape=shape) for name, datatype, shape, _ in inputs],
        raw_input_contents=[raw for _, _, _, raw in inputs],
    )


VALUES = ("values", "FP32", [2, 2], np.array([[0, 1], [1, 0.5]], "<f4").tobytes())
ROW = ("row", "INT64", [2, 1], np.array([[10], [20]], "<i8").tobytes())


@pytest.mark.parametrize("order", [(VALUES, ROW), (ROW, VALUES)])
def test_several_inputs_of_several_data_types_are_read_by_their_names(order: Any) -> None:
    answer = two_inputs().infer(asked(*order), 8)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [10, 11, 21, 20.5]
    described = two_inputs().metadata(["1"])
    assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [
        ("values", "FP32", [-1, 2]),
        ("row", "INT64", [-1, 1]),
    ]


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ((VALUES,), r"expected 2 inputs but got 1 inputs.*\['values'\].*\['row'\]"),
        ((VALUES, VALUES), "already exists"),
        ((VALUES, ("row", "FP32", [2, 1], bytes(8))), "expects 'INT64'"),
        ((VALUES, ("row", "INT64", [2, 1], bytes(8))), "Expected 16, got 8"),
        ((VALUES, ("row", "INT64", [1, 1], bytes(8))), "the same number of rows"),
        ((VALUES, ("row", "INT64", [3, 1], bytes(24))), "the same number of rows"),
        ((VALUES, ("row", "INT64", [2, 1], np.array([21, 0], "<i8").tobytes())), "row 0 of 'row' has 21 at 0, outside"),
        ((VALUES, ("row", "INT64", [2, 1], np.array([0, -1], "<i8").tobytes())), "row 1 of 'row' has -1 at 0, outside"),
    ],
)
def test_several_inputs_that_do_not_fit_are_refused(inputs: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        two_inputs().infer(asked(*inputs), 8)


async def test_a_request_of_other_dimensions_is_refused_over_the_wire(server: ModelServer) -> None:
    async with InferenceClient(server.address, Account.create()) as client:
        with pytest.raises(InvalidInput, match=r"Expected \[-1,1,8,8\], got \[5,64\]"):
            await client.infer("digits-cnn", IMAGES.reshape(5, 64), input_name="pixels")


def test_an_index_that_no_range_excludes_is_the_caller_s_fault() -> None:
    graph = Graph(
        (Signature("word", Datatype.INT64, (1,)),),
        (Signature("y", Datatype.FP32, (1, 2)),),
        (TensorSpec("table", (3, 2)),),
        nodes=(Node("Gather", ("table", "word"), "y"),),
    )
    spec = ModelSpec("words", graph, Loss.MEAN_SQUARED_ERROR)
    words = Model(spec, ModelVersion(1, 1, bytes(32), 0, 1), onnx_model(spec, np.zeros(6, np.float32)))
    with pytest.raises(InvalidInput, match="cannot take these inputs"):
        words.infer(asked(("word", "INT64", [1, 1], np.array([[7]], "<i8").tobytes())), 8)
