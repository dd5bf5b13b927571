"""What the client does with a session, a long batch, and a server that means harm."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from eth_account.signers.local import LocalAccount

from linklearner.client.inference import Answer, InferenceClient, _answer, _typed
from linklearner.domain.digits import SHAPE
from linklearner.domain.errors import (
    DataLoss,
    InvalidInput,
    LinkLearnerError,
    NotFinite,
    OutOfRange,
    TimedOut,
    UntrustedChallenge,
)
from linklearner.domain.operators import Datatype
from linklearner.domain.sign_in import SignIn
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import CHAIN_ID, FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.server import ModelServer
from tests.services.model_server.conftest import sessions_at, token_for
from tests.services.model_server.test_inference_protocol import pixels, torch_logits


async def test_thirty_sessions_in_a_row_are_no_trouble_because_each_is_closed(
    server: ModelServer, caller: LocalAccount
) -> None:
    kept = await token_for(caller, server.address)
    for _ in range(30):
        async with InferenceClient(server.address, caller, chain_id=CHAIN_ID, task=1) as client:
            await client.infer("digits", pixels(1))
            token = client.token
        client = InferenceClient(server.address, None)
        async with client:
            client.token = token
            with pytest.raises(LinkLearnerError, match="opens nothing"):
                await client.infer("digits", pixels(1))
    client = InferenceClient(server.address, None)
    async with client:
        client.token = kept  # nor did they push out somebody else's
        await client.infer("digits", pixels(1))


async def test_a_batch_above_the_servers_bound_goes_in_parts_of_one_version(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    server = await start(max_rows=8)
    values = pixels(21)
    async with InferenceClient(server.address, caller) as client:
        answer = await client.infer("digits", values)
        assert answer.values.shape == (21, 10)
        np.testing.assert_allclose(answer.values, torch_logits(0, values), rtol=1e-5, atol=1e-5)

        original, swapped = client._inference.ModelInfer, []

        async def swapping(request: Any, **options: Any) -> Any:
            if request.model_version and not swapped:
                swapped.append(gateway.publish(weights_of(1)))
                async with asyncio.timeout(10):
                    while server.loaded.live.version.version != 2:
                        await asyncio.sleep(0.01)
            return await original(request, **options)

        client._inference.ModelInfer = swapping
        answer = await client.infer("digits", values)
        assert swapped and answer.version == 1
        np.testing.assert_allclose(answer.values, torch_logits(0, values), rtol=1e-5, atol=1e-5)


async def test_a_bad_row_is_named_by_its_place_in_the_whole_batch(
    start: Callable[..., Any], caller: LocalAccount
) -> None:
    server = await start(max_rows=8)
    async with InferenceClient(server.address, caller) as client:
        for bad, error in ((np.nan, NotFinite), (np.inf, NotFinite), (-np.inf, NotFinite), (255, OutOfRange)):
            values = pixels(21)
            values[17, 3] = bad
            with pytest.raises(error, match="row 17 of 'pixels'"):
                await client.infer("digits", values)
        values = pixels(21)
        values[17] = 255
        assert (await client.infer("digits", values, allow_range=True)).values.shape == (21, 10)


async def test_a_row_that_leads_beyond_float32_is_refused_by_its_place_in_the_whole_batch(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    gateway.publish(np.full(SHAPE.weight_count, 32767, np.int16))
    server = await start(max_rows=8)
    values = pixels(21)
    values[17] = 3e38
    async with InferenceClient(server.address, caller) as client:
        with pytest.raises(InvalidInput, match=r"beyond what FP32 holds.*\(row 17 of the whole\)") as caught:
            await client.infer("digits", values, allow_range=True)
    assert (caught.value.reason, caught.value.facts["row"]) == ("NotFinite", "17")


async def test_an_address_that_signs_in_several_times_at_once_is_let_in_each_time(
    server: ModelServer, caller: LocalAccount
) -> None:
    assert len(set(await asyncio.gather(*(token_for(caller, server.address) for _ in range(6))))) == 6


async def test_a_session_that_has_ended_is_opened_anew(server: ModelServer, caller: LocalAccount) -> None:
    async with InferenceClient(server.address, caller) as client:
        first = client.token
        async with sessions_at(server.address) as stub:
            await stub.CloseSession(session.CloseSessionRequest(token=first))
        answers = await asyncio.gather(*(client.infer("digits", pixels(1), input_name="pixels") for _ in range(8)))
        assert [answer.version for answer in answers] == [1] * 8
        assert client.token != first


class Hostile(session_grpc.SessionServiceServicer):
    """Hands on another server's challenge, or whatever text it likes; keeps what callers send back."""

    def __init__(self, text: Callable[[session.CreateChallengeRequest], Any]) -> None:
        self._text = text
        self.opened: list[session.OpenSessionRequest] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with RpcServer(
            "127.0.0.1:0", lambda s: session_grpc.add_SessionServiceServicer_to_server(self, s), ()
        ) as server:
            self.address = server.address
            yield server.address

    async def CreateChallenge(self, request: Any, context: Any) -> session.CreateChallengeResponse:  # noqa: N802
        return session.CreateChallengeResponse(message=await self._text(request))

    async def OpenSession(self, request: Any, context: Any) -> session.OpenSessionResponse:  # noqa: N802
        self.opened.append(request)
        return session.OpenSessionResponse(token="x")


async def relayed(address: str, request: session.CreateChallengeRequest) -> str:
    async with sessions_at(address) as stub:
        return str((await stub.CreateChallenge(request)).message)


@pytest.mark.parametrize("trick", ["relays", "renames", "free text", "another account", "another chain", "an old one"])
async def test_a_hostile_server_gets_nothing_signed(server: ModelServer, caller: LocalAccount, trick: str) -> None:
    old: list[str] = []

    async def text(request: session.CreateChallengeRequest) -> str:
        honest = await relayed(server.address, request)
        renamed = SignIn.parse(honest.replace(server.address, hostile.address))
        old.append(renamed.text())
        return {
            "relays": honest,
            "renames": replace(renamed, domain=server.address).text(),
            "free text": "I owe the bearer 1000 $LL.",
            "another account": replace(renamed, address=bytes(20)).text(),
            "another chain": replace(renamed, chain_id=1).text(),
            "an old one": old[0],
        }[trick]

    hostile = Hostile(text)
    async with hostile.served() as address:
        if trick == "an old one":
            async with InferenceClient(address, caller, chain_id=CHAIN_ID):
                pass
            assert len(hostile.opened) == 1  # that one was in order, and its text is handed out again
            hostile.opened.clear()
        with pytest.raises(UntrustedChallenge, match="Nothing was signed"):
            async with InferenceClient(address, caller, chain_id=CHAIN_ID):
                pass
    assert hostile.opened == []


async def test_a_server_behind_a_tunnel_is_signed_for_by_the_name_that_the_caller_gives(
    start: Callable[..., Any], caller: LocalAccount
) -> None:
    server = await start(domain="models.example:443")
    with pytest.raises(UntrustedChallenge, match=r"for 'models\.example:443'.*its setting `domain`"):
        async with InferenceClient(server.address, caller):
            pass
    async with InferenceClient(server.address, caller, domain="models.example:443") as client:
        assert (await client.infer("digits", pixels(1))).version == 1


class Answering(oip_grpc.GRPCInferenceServiceServicer):
    """Answers one row with what it is given."""

    def __init__(self, logits: np.ndarray, digest: str) -> None:
        self._logits = logits
        self._digest = digest

    async def ModelInfer(self, request: Any, context: Any) -> oip.ModelInferResponse:  # noqa: N802
        answer = oip.ModelInferResponse(model_name="digits", model_version="1")
        answer.parameters["digest"].string_param = self._digest
        answer.outputs.add(name="logits", datatype="FP32", shape=self._logits.shape)
        answer.raw_output_contents.append(self._logits.astype("<f4").tobytes())
        return answer


@pytest.mark.parametrize(
    ("logits", "digest"),
    [
        (np.full((1, 10), np.nan), "00" * 32),
        (np.full((1, 10), np.inf), "00" * 32),
        (np.zeros((2, 10)), "00" * 32),
        (np.zeros(10), "00" * 32),
        (np.zeros((1, 0)), "00" * 32),
        (np.zeros((1, 10)), "00" * 31),
        (np.zeros((1, 10)), ""),
    ],
)
async def test_an_answer_that_does_not_fit_the_question_is_not_taken(logits: np.ndarray, digest: str) -> None:
    servicer = Answering(logits, digest)
    async with (
        RpcServer(
            "127.0.0.1:0", lambda s: oip_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, s), ()
        ) as server,
        InferenceClient(server.address, None) as client,
    ):
        with pytest.raises(DataLoss):
            await client.infer("digits", pixels(1), input_name="pixels")


@pytest.mark.parametrize(("row", "told"), [("3", "8"), ("9" * 5000, "9" * 5000), ("-1", "-1"), ("²", "²"), ("x", "x")])
async def test_a_row_that_a_server_names_is_a_number_or_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, row: str, told: str
) -> None:
    async with InferenceClient("127.0.0.1:1", None) as client:

        async def refusing(request: oip.ModelInferRequest) -> Any:
            raise InvalidInput("no", facts={"row": row})

        monkeypatch.setattr(client, "_infer", refusing)
        with pytest.raises(InvalidInput) as caught:
            await client._ask("digits", "", {"pixels": (Datatype.FP32, pixels(1))}, 5, False)
    assert caught.value.facts["row"] == told


async def test_a_caller_waits_for_the_version_that_it_needs(server: ModelServer, gateway: FakeGateway) -> None:
    """Nobody has to sign in for that."""
    async with InferenceClient(server.address, None) as client:
        assert await client.ready("digits") and await client.ready("digits", 1)
        assert not await client.ready("digits", 2) and not await client.ready("something else")
        with pytest.raises(TimedOut, match="did not reach version 2 in 0 s"):
            await client.served("digits", 2, within_s=0.2)
        waiting = asyncio.create_task(client.served("digits", 2, within_s=30))
        gateway.publish(weights_of(1))
        await waiting
        assert await client.ready("digits", 2)


def test_labels_are_those_of_the_logits_whatever_the_server_says() -> None:
    def answered(logits: list[int]) -> Answer:
        response = oip.ModelInferResponse(model_version="1")
        response.parameters["digest"].string_param = "0x" + "ab" * 32
        response.outputs.add(name="logits", datatype="FP32", shape=logits)
        response.outputs.add(name="label", datatype="INT64", shape=[2])
        response.raw_output_contents.append(np.array([[0, 3, 1], [5, 0, 1]], "<f4").tobytes())
        response.raw_output_contents.append(np.array([2, 700], "<i8").tobytes())
        return _answer(response, 2)

    labels = answered([2, 3]).labels
    assert labels is not None and labels.tolist() == [1, 0]
    with pytest.raises(DataLoss, match="logits of the shape"):
        answered([2, 3, 1])


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        ([0.5], Datatype.INT64), ([np.nan], Datatype.INT32), ([2.0**31], Datatype.INT32), ([2**31], Datatype.INT32),
        ([300], Datatype.UINT8), ([-1], Datatype.UINT8), ([2], Datatype.BOOL), (np.array([2**63], np.uint64), Datatype.INT64),
    ],
)  # fmt: skip
def test_numbers_that_the_servers_type_does_not_hold_are_refused_and_not_wrapped(
    values: Any, datatype: Datatype
) -> None:
    with pytest.raises(InvalidInput, match=f"takes whole numbers that {datatype} holds"):
        _typed(np.asarray(values), datatype, "x")


@pytest.mark.parametrize("values", [[0, 1], [0.0, 1.0], [False, True]])
@pytest.mark.parametrize("datatype", Datatype)
def test_numbers_that_it_holds_are_the_same_in_it(values: Any, datatype: Datatype) -> None:
    typed = _typed(np.asarray(values), datatype, "x")
    assert typed.dtype == datatype.dtype and typed.tolist() == [0, 1]
