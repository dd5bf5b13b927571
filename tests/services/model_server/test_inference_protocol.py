"""The Open Inference Protocol over the wire: answers, metadata, and refusals in the words that its clients know."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import torch
from eth_account.signers.local import LocalAccount
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner.domain.digest import model_digest
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import session_pb2
from services.model_server.admission.open import OpenServicer
from services.model_server.admission.stake import SessionServicer
from services.model_server.server import ModelServer
from services.model_server.servicer import InferenceServicer
from tests.services.model_server.conftest import token_for

TENSOR = oip.ModelInferRequest.InferInputTensor
OUTPUT = oip.ModelInferRequest.InferRequestedOutputTensor


class Wire:
    """A stub with a session."""

    def __init__(self, stub: oip_grpc.GRPCInferenceServiceStub, token: str) -> None:
        self.stub = stub
        self.metadata = (("authorization", f"Bearer {token}"),)

    async def infer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        return await self.stub.ModelInfer(request, metadata=self.metadata)


@pytest.fixture
async def wire(server: ModelServer, caller: LocalAccount) -> AsyncIterator[Wire]:
    async with channel(server.address) as opened:
        yield Wire(oip_grpc.GRPCInferenceServiceStub(opened), await token_for(caller, server.address))


def pixels(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 17, (rows, 64)).astype(np.float32)


def raw_request(values: np.ndarray, **fields: Any) -> oip.ModelInferRequest:
    return oip.ModelInferRequest(
        **{
            "model_name": "digits",
            "inputs": [TENSOR(name="pixels", datatype="FP32", shape=values.shape)],
            "raw_input_contents": [values.astype("<f4").tobytes()],
            **fields,
        }
    )


def typed_request(values: np.ndarray) -> oip.ModelInferRequest:
    contents = oip.InferTensorContents(fp32_contents=values.ravel().tolist())
    return oip.ModelInferRequest(
        model_name="digits", inputs=[TENSOR(name="pixels", datatype="FP32", shape=values.shape, contents=contents)]
    )


def logits_of(response: oip.ModelInferResponse) -> np.ndarray:
    return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape)


def torch_logits(seed: int, values: np.ndarray) -> np.ndarray:
    """The same integers, run by torch."""
    w1, b1, w2, b2 = (torch.from_numpy(t.copy()) for t in DIGITS.split(dequantise_weights(weights_of(seed), SHAPE)))
    x = torch.from_numpy(values) * (1 / 16)
    hidden = torch.relu(torch.nn.functional.linear(x, w1, b1))
    return torch.nn.functional.linear(hidden, w2, b2).numpy()


@pytest.mark.parametrize("rows", [1, 7, 1024])
async def test_answers_over_the_wire_are_torchs_on_the_same_weights(wire: Wire, rows: int) -> None:
    values = pixels(rows)
    response = await wire.infer(raw_request(values))
    expected = torch_logits(0, values)
    np.testing.assert_allclose(logits_of(response), expected, rtol=1e-5, atol=1e-5)
    labels = np.frombuffer(response.raw_output_contents[1], "<i8")
    assert labels.tolist() == logits_of(response).argmax(axis=1).tolist()
    assert (labels == expected.argmax(axis=1)).mean() == 1


async def test_typed_contents_get_the_same_answer_as_raw_ones(wire: Wire) -> None:
    values = pixels(3)
    raw, typed = await wire.infer(raw_request(values)), await wire.infer(typed_request(values))
    assert raw == typed


async def test_an_answer_says_who_gave_it(wire: Wire, gateway: FakeGateway) -> None:
    response = await wire.infer(raw_request(pixels(2), id="question 7"))
    digest = model_digest(weights_of(0), SHAPE)
    assert (response.model_name, response.model_version, response.id) == ("digits", "1", "question 7")
    assert {name: MessageToDict(value) for name, value in response.parameters.items()} == {
        "digest": {"stringParam": f"0x{digest.hex()}"},
        "round": {"int64Param": "0"},
        "task": {"int64Param": "1"},
    }
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in response.outputs] == [
        ("logits", "FP32", [2, 10]),
        ("label", "INT64", [2]),
    ]


async def test_only_the_outputs_that_were_asked_for_come_back_in_the_order_asked(wire: Wire) -> None:
    every = await wire.infer(raw_request(pixels(2)))
    label = await wire.infer(raw_request(pixels(2), outputs=[OUTPUT(name="label")]))
    swapped = await wire.infer(raw_request(pixels(2), outputs=[OUTPUT(name="label"), OUTPUT(name="logits")]))
    assert [tensor.name for tensor in label.outputs] == ["label"]
    assert list(label.raw_output_contents) == [every.raw_output_contents[1]]
    assert [tensor.name for tensor in swapped.outputs] == ["label", "logits"]
    assert list(swapped.raw_output_contents) == list(reversed(every.raw_output_contents))


async def test_metadata_describes_what_is_served(wire: Wire) -> None:
    metadata = await wire.stub.ModelMetadata(oip.ModelMetadataRequest(name="digits"))
    assert MessageToDict(metadata) == {
        "name": "digits",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": ["-1", "64"]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": ["-1", "10"]},
            {"name": "label", "datatype": "INT64", "shape": ["-1"]},
        ],
    }
    server = await wire.stub.ServerMetadata(oip.ServerMetadataRequest())
    assert (server.name, list(server.extensions)) == ("linklearner", ["linklearner_provenance", "linklearner_session"])


async def test_health_and_metadata_need_no_session(wire: Wire) -> None:
    assert (await wire.stub.ServerLive(oip.ServerLiveRequest())).live
    assert (await wire.stub.ServerReady(oip.ServerReadyRequest())).ready
    assert (await wire.stub.ModelReady(oip.ModelReadyRequest(name="digits"))).ready
    assert (await wire.stub.ModelReady(oip.ModelReadyRequest(name="digits", version="1"))).ready
    assert not (await wire.stub.ModelReady(oip.ModelReadyRequest(name="digits", version="2"))).ready
    assert not (await wire.stub.ModelReady(oip.ModelReadyRequest(name="letters"))).ready


def changed(
    change: Callable[[oip.ModelInferRequest], Any], base: Callable[..., oip.ModelInferRequest] = raw_request
) -> Any:
    request = base(pixels(2))
    change(request)
    return request


def more_inputs(request: oip.ModelInferRequest) -> None:
    request.inputs.add(name="mask", datatype="FP32", shape=[2, 64])


def typed_as_doubles(request: oip.ModelInferRequest) -> None:
    values = list(request.inputs[0].contents.fp32_contents)
    request.inputs[0].contents.Clear()
    request.inputs[0].contents.fp64_contents.extend(values)


REFUSED: list[tuple[Any, grpc.StatusCode, str]] = [
    (
        changed(lambda r: setattr(r, "model_name", "letters")),
        grpc.StatusCode.NOT_FOUND,
        "Request for unknown model: 'letters' is not found",
    ),
    (
        changed(lambda r: setattr(r, "model_version", "2")),
        grpc.StatusCode.NOT_FOUND,
        "Request for unknown model: 'digits' version 2 is not found",
    ),
    (
        changed(lambda r: setattr(r, "model_version", "newest")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "failed to get model version from specified version string 'newest' (details: not a number), version should be an "
        "integral value > 0",
    ),
    (
        changed(lambda r: r.inputs.clear()),
        grpc.StatusCode.INVALID_ARGUMENT,
        "expected 1 inputs but got 0 inputs for model 'digits'. Got input(s) [], but missing required input(s) ['pixels']. "
        "Please provide all required input(s).",
    ),
    (
        changed(more_inputs),
        grpc.StatusCode.INVALID_ARGUMENT,
        "expected 1 inputs but got 2 inputs for model 'digits'. Got input(s) ['pixels','mask'], but missing required "
        "input(s) []. Please provide all required input(s).",
    ),
    (
        changed(lambda r: setattr(r.inputs[0], "name", "image")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected inference input 'image' for model 'digits'",
    ),
    (
        changed(lambda r: setattr(r.inputs[0], "datatype", "FP64")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "inference input 'pixels' data-type is 'FP64', but model 'digits' expects 'FP32'",
    ),
    (
        changed(lambda r: r.inputs[0].shape.__setitem__(slice(None), [128])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected shape for input 'pixels' for model 'digits'. Expected [-1,64], got [128]",
    ),
    (
        changed(lambda r: r.inputs[0].shape.__setitem__(slice(None), [2, 8, 8])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected shape for input 'pixels' for model 'digits'. Expected [-1,64], got [2,8,8]",
    ),
    (
        changed(lambda r: r.inputs[0].shape.__setitem__(slice(None), [4, 32])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected shape for input 'pixels' for model 'digits'. Expected [-1,64], got [4,32]",
    ),
    (
        changed(lambda r: r.inputs[0].shape.__setitem__(slice(None), [-2, 64])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected shape for input 'pixels' for model 'digits'. Expected [-1,64], got [-2,64]",
    ),
    (
        changed(lambda r: r.inputs[0].shape.__setitem__(slice(None), [0, 64])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected shape for input 'pixels' for model 'digits'. Expected [-1,64], got [0,64]",
    ),
    (
        changed(lambda r: r.raw_input_contents.__setitem__(0, bytes(508))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "input byte size mismatch for input 'pixels' for model 'digits'. Expected 512, got 508",
    ),
    (
        changed(lambda r: r.raw_input_contents.append(b"")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "the number of inputs (1) does not match the expected number of raw input contents (2) for model 'digits'.",
    ),
    (
        changed(lambda r: r.inputs[0].contents.fp32_contents.append(1)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "contents field must not be specified when using raw_input_contents for 'pixels' for model 'digits'",
    ),
    (
        changed(lambda r: r.raw_input_contents.clear()),
        grpc.StatusCode.INVALID_ARGUMENT,
        "input byte size mismatch for input 'pixels' for model 'digits'. Expected 512, got 0",
    ),
    (
        changed(lambda r: r.inputs[0].contents.fp32_contents.append(1), typed_request),
        grpc.StatusCode.INVALID_ARGUMENT,
        "input byte size mismatch for input 'pixels' for model 'digits'. Expected 512, got 516",
    ),
    (
        changed(typed_as_doubles, typed_request),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected explicit tensor data for input tensor 'pixels' for model 'digits' of type 'FP64', expected datatype 'FP32'",
    ),
    (
        changed(lambda r: r.outputs.add(name="softmax")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unexpected inference output 'softmax' for model 'digits'",
    ),
    (
        changed(lambda r: r.outputs.add(name="logits").parameters["classification"].__setattr__("int64_param", 3)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "this server has no extension 'classification', which tensor 'logits' asks for: leave it out",
    ),
    (
        changed(lambda r: r.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "x")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "this server has no extension 'shared_memory_region', which tensor 'pixels' asks for: leave it out",
    ),
]


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED, ids=[text[:40] for _, _, text in REFUSED])
async def test_what_does_not_fit_is_refused_in_known_words(
    wire: Wire, request_: oip.ModelInferRequest, code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.infer(request_)
    assert (caught.value.code(), caught.value.details()) == (code, text)


@pytest.mark.parametrize("base", [raw_request, typed_request])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, "row 1 of 'pixels' has nan at 5, where a finite number belongs"),
        (np.inf, "row 1 of 'pixels' has inf at 5, where a finite number belongs"),
        (-np.inf, "row 1 of 'pixels' has -inf at 5, where a finite number belongs"),
        (33, "row 1 of 'pixels' has 33 at 5, far outside of the 0 to 16 that the task was made for"),
        (-17, "row 1 of 'pixels' has -17 at 5, far outside of the 0 to 16 that the task was made for"),
    ],
)
async def test_a_row_that_no_label_could_mean_anything_for_is_refused_by_its_number(
    wire: Wire, base: Callable[..., oip.ModelInferRequest], value: float, text: str
) -> None:
    values = pixels(3)
    values[1, 5] = value
    request = base(values)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.infer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith(text)
    request.parameters["allow_range"].bool_param = True
    if np.isfinite(value):
        await wire.infer(request)
    else:
        with pytest.raises(grpc.aio.AioRpcError, match="where a finite number belongs"):
            await wire.infer(request)


async def test_numbers_a_little_outside_of_the_range_are_served(wire: Wire) -> None:
    values = pixels(2)
    values[0, 0], values[0, 1] = -16, 32
    await wire.infer(raw_request(values))


async def test_an_answer_beyond_float32_is_refused_by_its_row(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    gateway.publish(np.full(SHAPE.weight_count, 32767, np.int16))
    server = await start()
    values = pixels(3)
    values[2] = 3e38
    request = raw_request(values)
    request.parameters["allow_range"].bool_param = True
    async with channel(server.address) as opened:
        wire = Wire(oip_grpc.GRPCInferenceServiceStub(opened), await token_for(caller, server.address))
        with pytest.raises(grpc.aio.AioRpcError, match=r"row 2 of input 'pixels' leads .* beyond what FP32") as caught:
            await wire.infer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_rows_are_bounded(start: Callable[..., Any], caller: LocalAccount) -> None:
    server = await start(max_rows=8)
    async with channel(server.address) as opened:
        wire = Wire(oip_grpc.GRPCInferenceServiceStub(opened), await token_for(caller, server.address))
        assert len(logits_of(await wire.infer(raw_request(pixels(8))))) == 8
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.infer(raw_request(pixels(9)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "inference request batch-size must be <= 8 for 'digits'"


async def test_a_message_beyond_four_mebibytes_is_not_read(wire: Wire) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.infer(raw_request(pixels(1), raw_input_contents=[bytes(4 << 20)]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_before_the_first_version_the_server_lives_and_is_not_ready(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    gateway.versions.clear()
    server = await start(ready=False)
    async with channel(server.address) as opened:
        stub = oip_grpc.GRPCInferenceServiceStub(opened)
        health = health_pb2_grpc.HealthStub(opened)
        assert (await stub.ServerLive(oip.ServerLiveRequest())).live
        assert not (await stub.ServerReady(oip.ServerReadyRequest())).ready
        assert (
            await health.Check(health_pb2.HealthCheckRequest())
        ).status == health_pb2.HealthCheckResponse.NOT_SERVING
        wire = Wire(stub, await token_for(caller, server.address))
        with pytest.raises(grpc.aio.AioRpcError, match="no version of the model has arrived") as caught:
            await wire.infer(raw_request(pixels(1)))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        gateway.publish(weights_of(0))
        await server.ready()
        assert (await wire.infer(raw_request(pixels(1)))).model_version == "1"
        for service in ("", "inference.GRPCInferenceService", "linklearner.v1.SessionService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("servicer", "service"),
    [
        (InferenceServicer, oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]),
        (SessionServicer, session_pb2.DESCRIPTOR.services_by_name["SessionService"]),
        (OpenServicer, session_pb2.DESCRIPTOR.services_by_name["SessionService"]),
    ],
)
def test_every_method_of_the_service_is_written(servicer: type, service: Any) -> None:
    assert {method.name for method in service.methods} <= set(vars(servicer))


async def test_calls_are_counted_where_prometheus_looks(wire: Wire, server: ModelServer) -> None:
    await wire.infer(raw_request(pixels(3)))
    for request in (changed(lambda r: r.inputs.clear()), changed(lambda r: setattr(r, "model_name", "x"))):
        with pytest.raises(grpc.aio.AioRpcError):
            await wire.infer(request)
    with pytest.raises(grpc.aio.AioRpcError):
        await wire.stub.ModelInfer(raw_request(pixels(1)))
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"http://{server.metrics_address}/metrics")).text.splitlines()
    for expected in (
        'linklearner_inferences_total{code="OK"} 1.0',
        'linklearner_inferences_total{code="INVALID_ARGUMENT"} 1.0',
        'linklearner_inferences_total{code="NOT_FOUND"} 1.0',
        'linklearner_inferences_total{code="UNAUTHENTICATED"} 1.0',
        "linklearner_inference_rows_total 3.0",
        "linklearner_inference_seconds_count 1.0",
        "linklearner_model_version 1.0",
        "linklearner_sessions 1.0",
        'linklearner_sessions_opened_total{code="OK"} 1.0',
        "linklearner_stakes_readable 1.0",
    ):
        assert expected in lines, expected
