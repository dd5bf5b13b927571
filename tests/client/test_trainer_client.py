"""A trainer may answer anything: its client hands on what makes sense, and says whose fault the rest is."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from linklearner.client.trainer import TrainerClient
from linklearner.domain.encodings import INT8
from linklearner.domain.errors import DataLoss, InvalidInput, Refused, Unavailable
from linklearner.domain.model import ModelVersion
from linklearner.domain.tasks import Mined, Submitted
from linklearner.domain.training import (
    Evaluation,
    ModelExport,
    ModelPulled,
    TrainerStatus,
    TrainingEvent,
    TrainingProgress,
    UpdateQuantised,
)
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import sets
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc

DIGEST = b"\x07" * 32
VERSION = ModelVersion(task=1, version=3, digest=DIGEST, round=2, block_number=9, accepted_count=2, saturated_count=0)
STATUS = TrainerStatus(b"\x01" * 20, 1, samples=80, held_out=20, label_counts=(8, 0, 72), busy=False)
QUANTISED = UpdateQuantised(INT8, update_bytes=70, page_count=1, pages_total=2, residual_ratio=0.25, digest=DIGEST)
SUBMITTED = Submitted(Mined(b"\x02" * 32, 11, 21_000, 150), DIGEST, round=3, weight=1000, effective=900)
ROUND = (ModelPulled(VERSION), TrainingProgress(1, 2, 0.5), TrainingProgress(2, 2, 0.25), QUANTISED, SUBMITTED)
EVALUATION = Evaluation(VERSION, samples=20, metric="accuracy", value=0.75, loss=0.5)
EXPORT = ModelExport(VERSION, b"onnx", 1e-6)


class FakeTrainer(pb_grpc.TrainerServiceServicer):
    """Answers what it is given. lies: what becomes of an answer, by method; of a round's events each in turn."""

    def __init__(self, events: Sequence[TrainingEvent] = ROUND) -> None:
        self.events = events
        self.lies: dict[str, Callable[[Any], Any]] = {}
        self.asked: list[Any] = []
        self.refusal: Exception | None = None

    def _answer(self, method: str, request: Any, answer: Any) -> Any:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return self.lies.get(method, lambda it: it)(answer)

    async def GetTrainer(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("GetTrainer", request, convert.trainer_message(STATUS))

    async def TrainRound(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for event in self.events:
            yield self._answer("TrainRound", request, convert.training_message(event))

    async def Evaluate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("Evaluate", request, convert.evaluation_message(EVALUATION))

    async def ExportModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("ExportModel", request, convert.export_message(EXPORT))


@asynccontextmanager
async def at(fake: FakeTrainer, **options: Any) -> AsyncIterator[TrainerClient]:
    async with (
        RpcServer(
            "127.0.0.1:0",
            lambda server: pb_grpc.add_TrainerServiceServicer_to_server(fake, server),
            ("linklearner.v1.TrainerService",),
            grace_s=0.05,
        ) as server,
        TrainerClient.connect(server.address, **options) as client,
    ):
        yield client


async def trained(client: TrainerClient) -> list[TrainingEvent]:
    return [event async for event in client.train("r", INT8, steps=2, allow_range=True)]


async def test_what_a_trainer_says_arrives_as_it_was_said() -> None:
    fake = FakeTrainer()
    async with at(fake) as client:
        assert await client.status() == STATUS
        assert await trained(client) == list(ROUND)
        assert await client.evaluate(3) == await client.evaluate() == EVALUATION
        assert await client.export(3) == EXPORT
    assert fake.asked[1] == pb.TrainRoundRequest(
        request_id="r", encoding=convert.encoding_message(INT8), step_count=2, allow_range=True
    )


async def test_nothing_is_asked_for_that_was_not_named() -> None:
    fake = FakeTrainer()
    async with at(fake) as client:
        assert [event async for event in client.train("r")][-1] == SUBMITTED
    assert fake.asked[0] == pb.TrainRoundRequest(request_id="r")


async def evaluated(client: TrainerClient) -> Any:
    return await client.evaluate(3)


async def exported(client: TrainerClient) -> Any:
    return await client.export(3)


async def status(client: TrainerClient) -> Any:
    return await client.status()


def only(field: str, lie: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A lie about one kind of a round's events."""
    return lambda message: lie(message) if message.HasField(field) else message


OVER = 2**63
LIES: list[tuple[str, Callable[[Any], Any], Callable[[TrainerClient], Any], str]] = [
    ("GetTrainer", sets(account=b""), status, "NonsensicalAnswer"),
    ("GetTrainer", sets(task=0), status, "NonsensicalAnswer"),
    ("Evaluate", sets(version__version=4), evaluated, "WrongVersion"),
    ("Evaluate", sets(version__digest=b""), evaluated, "WrongDigest"),
    ("Evaluate", sets(value=1.5), evaluated, "NonsensicalAnswer"),
    ("Evaluate", sets(value=float("nan")), evaluated, "NonsensicalAnswer"),
    ("ExportModel", sets(version__version=4), exported, "WrongVersion"),
    ("TrainRound", lambda _: pb.TrainRoundResponse(), trained, "NonsensicalAnswer"),
    ("TrainRound", only("pulled", sets(pulled__version__version=0)), trained, "NonsensicalAnswer"),
    ("TrainRound", only("progress", sets(progress__step=3)), trained, "NonsensicalAnswer"),
    ("TrainRound", only("quantised", sets(quantised__encoding=77)), trained, "NonsensicalAnswer"),
    ("TrainRound", only("quantised", sets(quantised__page_count=3)), trained, "NonsensicalAnswer"),
    ("TrainRound", only("quantised", sets(quantised__digest=b"short")), trained, "WrongDigest"),
    ("TrainRound", only("submitted", sets(submitted__digest=bytes(32))), trained, "NonsensicalAnswer"),
    ("TrainRound", only("submitted", sets(submitted__receipt__gas_used=OVER)), trained, "NonsensicalAnswer"),
]


@pytest.mark.parametrize(("method", "lie", "ask", "reason"), LIES)
async def test_an_answer_that_makes_no_sense_is_data_loss(
    method: str, lie: Callable[[Any], Any], ask: Callable[[TrainerClient], Any], reason: str
) -> None:
    fake = FakeTrainer()
    async with at(fake) as client:
        await ask(client)
        fake.lies[method] = lie
        with pytest.raises(DataLoss) as raised:
            await ask(client)
    assert raised.value.reason == reason
    assert client.address in raised.value.message and len(raised.value.message) < 500


@pytest.mark.parametrize("said", [0, 1, 4])
async def test_a_round_that_ends_without_an_outcome_is_data_loss(said: int) -> None:
    async with at(FakeTrainer(ROUND[:said])) as client:
        with pytest.raises(DataLoss) as raised:
            await trained(client)
    assert raised.value.reason == "NoOutcome"


@pytest.mark.parametrize("error", [Refused("no stake", reason="NoStake"), InvalidInput("0 steps", reason="TooFew")])
async def test_what_the_trainer_raises_is_raised_here(error: Exception) -> None:
    """Also InvalidInput: the caller's fault, not an answer that makes no sense."""
    fake = FakeTrainer()
    fake.refusal = error
    async with at(fake) as client:
        for ask in (trained, evaluated, status):
            with pytest.raises(type(error), match=str(error)):
                await ask(client)


async def test_nobody_at_the_address_is_said_with_what_to_do() -> None:
    async with TrainerClient.connect("127.0.0.1:1", remedy="start it with `up`") as client:
        with pytest.raises(Unavailable, match=r"no trainer answers at 127\.0\.0\.1:1: start it with `up`"):
            await client.status()
