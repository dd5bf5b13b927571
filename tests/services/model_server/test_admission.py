"""The seam in front of ModelInfer: each admission brings its own settings, services and metrics, and none knows of another."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from eth_account import Account

from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import DataLoss, InvalidConfig, LinkLearnerError
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import session_pb2 as session
from services.model_server.admission.admission import Admission, AdmissionSettings, Grant, Guarded, InferenceCall
from services.model_server.admission.open import Open
from services.model_server.admission.stake import StakeSettings
from services.model_server.admission.table import ADMISSIONS
from services.model_server.config import ModelServerConfig
from services.model_server.inference import Inference
from services.model_server.server import ModelServer
from tests.services.model_server.conftest import sessions_at
from tests.services.model_server.prepaid import Prepaid, PrepaidAdmission

TENSOR = oip.ModelInferRequest.InferInputTensor


def request(rows: int, *, model: str = "digits", width: int = 64) -> oip.ModelInferRequest:
    return oip.ModelInferRequest(
        model_name=model,
        inputs=[TENSOR(name="pixels", datatype="FP32", shape=(rows, width))],
        raw_input_contents=[bytes(4 * rows * 64)],
    )


@asynccontextmanager
async def stub_of(server: ModelServer) -> AsyncIterator[oip_grpc.GRPCInferenceServiceStub]:
    async with channel(server.address) as wire:
        yield oip_grpc.GRPCInferenceServiceStub(wire)


async def reason(call: Any) -> str:
    """Why a call was refused; OK if it was not."""
    try:
        await call
    except grpc.RpcError as error:
        return from_rpc_error(error).reason
    return "OK"


async def metrics(server: ModelServer) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://{server.metrics_address}/metrics")).text


# open


async def test_open_answers_everybody_and_says_what_an_inference_takes(start: Callable[..., Any]) -> None:
    server = await start(admission=Open(), max_rows=8)
    async with InferenceClient(server.address, None) as client:
        answer = await client.infer("digits", np.zeros((20, 64), np.float32))  # three calls: the terms say so
    assert (len(answer.labels), answer.version) == (20, 1)
    async with sessions_at(server.address) as stub:
        terms = await stub.GetTerms(session.GetTermsRequest())
        assert (terms.task, terms.model, terms.max_rows, terms.required_units) == (1, "digits", 8, 0)
        assert await reason(stub.CreateChallenge(session.CreateChallengeRequest(address=bytes(20)))) == "NoSessions"
        assert await reason(stub.OpenSession(session.OpenSessionRequest(message="x"))) == "NoSessions"
        assert await reason(stub.CloseSession(session.CloseSessionRequest(token="x"))) == "OK"


async def test_a_caller_who_would_sign_in_at_an_open_server_is_told_to_ask_without(start: Callable[..., Any]) -> None:
    server = await start(admission=Open())
    with pytest.raises(LinkLearnerError, match="ask without one"):
        async with InferenceClient(server.address, Account.create()):
            pass


async def test_an_admission_shows_its_own_metrics_and_extensions_only(start: Callable[..., Any]) -> None:
    by_stake, by_nothing = await start(), await start(admission=Open())
    assert "linklearner_sessions_opened" in await metrics(by_stake)
    assert "linklearner_sessions" not in await metrics(by_nothing)
    for server, extensions in (
        (by_stake, ["linklearner_provenance", "linklearner_session"]),
        (by_nothing, ["linklearner_provenance"]),
    ):
        async with stub_of(server) as stub:
            assert (await stub.ServerMetadata(oip.ServerMetadataRequest())).extensions == extensions


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"])
def test_open_stands_at_loopback_addresses(listen: str) -> None:
    assert ModelServerConfig(listen=listen, admission=Open()).listen == listen


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:1",
        "[::]:1",
        "[::ffff:0.0.0.0]:1",
        "192.168.0.7:1",
        "[fe80::1]:1",
        "model_server:1",
        "localhost.example:1",
        "a.localhost:1",
        "127.0.0.1.nip.io:1",
        "2130706433:1",
    ],
)
def test_open_stands_nowhere_else(listen: str) -> None:
    """Docker's usual 0.0.0.0 is every address of the machine; a name is whatever a resolver says today."""
    ModelServerConfig(listen=listen)
    with pytest.raises(InvalidConfig, match="admission open lets everybody in, so listen must be a loopback address"):
        ModelServerConfig(listen=listen, admission=Open())
    given = {ModelServerConfig.PREFIX + "LISTEN": listen, ModelServerConfig.PREFIX + "ADMISSION": "open"}
    with pytest.raises(InvalidConfig, match="loopback"):
        ModelServerConfig.from_environment(given)


def test_a_stake_that_would_not_be_asked_for_is_no_setting_of_open() -> None:
    """Whoever demands a stake and opens the gate in one breath is mistaken in one of them."""
    given = {ModelServerConfig.PREFIX + "ADMISSION": "open", ModelServerConfig.PREFIX + "REQUIRED_UNITS": "5000"}
    with pytest.raises(InvalidConfig, match="REQUIRED_UNITS is no setting here"):
        ModelServerConfig.from_environment(given)
    given[ModelServerConfig.PREFIX + "ADMISSION"] = "stake"
    assert ModelServerConfig.from_environment(given) == ModelServerConfig(admission=StakeSettings(required_units=5000))
    with pytest.raises(InvalidConfig, match="ADMISSION must be stake or open, got 'none'"):
        ModelServerConfig.from_environment({ModelServerConfig.PREFIX + "ADMISSION": "none"})


# another one, as docs/recipes/gate.md adds it


def test_the_recipe_names_everything_that_an_admission_may_write() -> None:
    recipe = Path(__file__).parents[3].joinpath("docs/recipes/gate.md").read_text()
    for part in (Admission, AdmissionSettings, Grant, Guarded, InferenceCall):
        for name in (name for name in vars(part) if not name.startswith("_") and name not in ("party", "metadata")):
            assert re.search(rf"\b{name}\b", recipe), f"{part.__name__}.{name}"


@pytest.fixture
async def admission(monkeypatch: pytest.MonkeyPatch) -> list[PrepaidAdmission]:
    """Those that servers of this test have, in the order of their start."""
    made: list[PrepaidAdmission] = []
    of_settings = Prepaid.admission

    def admission(self: Prepaid, server: Guarded) -> PrepaidAdmission:
        made.append(of_settings(self, server))
        return made[-1]

    monkeypatch.setattr(Prepaid, "admission", admission)
    return made


ANN = (("prepaid-name", "ann"),)


async def test_a_row_of_the_table_is_all_that_an_admission_needs_to_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADMISSIONS, "prepaid", Prepaid)
    given = {ModelServerConfig.PREFIX + "ADMISSION": "prepaid", ModelServerConfig.PREFIX + "ROWS_EACH": "7"}
    assert ModelServerConfig.from_environment(given) == ModelServerConfig(admission=Prepaid(rows_each=7))


async def test_a_price_is_debited_at_admission_and_stays_when_there_is_an_answer(
    start: Callable[..., Any], admission: list[PrepaidAdmission]
) -> None:
    server = await start(admission=Prepaid(rows_each=10))
    async with stub_of(server) as stub:
        assert await reason(stub.ModelInfer(request(1))) == "NoName"
        first = request(6)
        assert await reason(stub.ModelInfer(first, metadata=ANN)) == "OK"
        assert await reason(stub.ModelInfer(request(5), metadata=ANN)) == "NoRowsLeft"
        assert await reason(stub.ModelInfer(request(4), metadata=ANN)) == "OK"
        assert (await stub.ServerMetadata(oip.ServerMetadataRequest())).extensions[1:] == ["test_prepaid"]
    assert admission[0].left == {"ann": 0, "bob": 10}
    assert admission[0].digests[0] == sha256(first.SerializeToString()).digest()
    assert "test_prepaid_rows_total 10.0" in await metrics(server)


async def test_a_price_is_given_back_when_the_fault_is_the_servers(
    start: Callable[..., Any], admission: list[PrepaidAdmission], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(admission=Prepaid(rows_each=10))
    faults: list[BaseException] = [DataLoss("weights"), RuntimeError("a bug")]

    async def infer(self: Inference, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        raise faults.pop()

    async with stub_of(server) as stub:
        with monkeypatch.context() as broken:
            broken.setattr(Inference, "infer", infer)
            for _ in range(2):
                assert await reason(stub.ModelInfer(request(3), metadata=ANN)) != "OK"
                assert admission[0].left["ann"] == 10
        assert await reason(stub.ModelInfer(request(3, model="another"), metadata=ANN)) == "NotFound"
        assert admission[0].left["ann"] == 10
        assert await reason(stub.ModelInfer(request(3, width=63), metadata=ANN)) == "InvalidInput"
        assert admission[0].left["ann"] == 7


@pytest.mark.parametrize(
    "shape", [(), (0, 64), (-3, 64), (2**62, 64), (1,)], ids=["no shape", "none", "negative", "huge", "one number"]
)
async def test_rows_that_are_not_there_are_not_answered_for_less(
    start: Callable[..., Any], admission: list[PrepaidAdmission], shape: tuple[int, ...]
) -> None:
    """A caller who writes a smaller number of rows than it sends would otherwise be answered at that price, or paid."""
    server = await start(admission=Prepaid(rows_each=10))
    lie = request(2)
    del lie.inputs[0].shape[:]
    lie.inputs[0].shape.extend(shape)
    async with stub_of(server) as stub:
        assert await reason(stub.ModelInfer(lie, metadata=ANN)) in ("InvalidInput", "NoRowsLeft")
        assert await reason(stub.ModelInfer(oip.ModelInferRequest(model_name="digits"), metadata=ANN)) == "InvalidInput"
    assert admission[0].left["ann"] <= 10


async def test_calls_at_once_have_each_their_own_grant(
    start: Callable[..., Any], admission: list[PrepaidAdmission]
) -> None:
    server = await start(admission=Prepaid(rows_each=100))
    async with stub_of(server) as stub:
        await asyncio.gather(
            *(
                stub.ModelInfer(request(1 + i % 2), metadata=(("prepaid-name", ("ann", "bob")[i % 2]),))
                for i in range(40)
            )
        )
    assert admission[0].left == {"ann": 80, "bob": 60}
