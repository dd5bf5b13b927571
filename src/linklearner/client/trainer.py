"""A trainer from outside: domain values in and out, its errors in our tree.

    async with TrainerClient.connect("127.0.0.1:50052", credential) as trainer:
        async with aclosing(trainer.train("my-request")) as events:
            async for event in events: ...                  # the last one is Submitted

A trainer is another program. Whatever does not make sense in its answers is DataLoss.
"""

from collections.abc import AsyncGenerator

import grpc

from linklearner.client.service import READ_S, ServiceClient
from linklearner.domain.encodings import Encoding
from linklearner.domain.errors import DataLoss, InvalidInput
from linklearner.domain.model import ModelVersion
from linklearner.domain.tasks import Submitted
from linklearner.domain.training import Evaluation, ModelExport, TrainerStatus, TrainingEvent, UpdateQuantised
from linklearner.rpc import convert
from linklearner.rpc.server import MAX_MESSAGE_BYTES
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc

MEASURE_S = 600.0
"""Seconds for what takes the trainer's own time: measuring and exporting a model, with a download before it."""


class TrainerClient(ServiceClient):
    """One trainer at one address.

    Every method raises Unavailable where nobody answers, TimedOut, what the trainer itself raises, and DataLoss for an answer that makes
    no sense (reason NonsensicalAnswer, or what is wrong with it).
    """

    kind = "trainer"
    full_kind = "trainer"
    advice = "is it a trainer of this version?"
    receive_bytes = MAX_MESSAGE_BYTES  # an exported model comes in one

    def __init__(self, wire: grpc.aio.Channel, address: str, *, connect_s: float = 0.0, remedy: str = "") -> None:
        super().__init__(wire, address, connect_s=connect_s, remedy=remedy)
        self._stub = pb_grpc.TrainerServiceStub(wire)

    async def status(self, *, timeout_s: float = READ_S) -> TrainerStatus:
        answer = await self._ask(self._stub.GetTrainer, pb.GetTrainerRequest(), timeout_s)
        with self._sense():
            return convert.trainer_of(answer)

    async def train(
        self, request_id: str, encoding: Encoding | None = None, *, steps: int = 0, allow_range: bool = False
    ) -> AsyncGenerator[TrainingEvent, None]:
        """One round, step by step; the last event is Submitted. None and 0: the trainer's own settings.

        Training takes as long as it takes: only the caller's patience ends it. To be closed by who leaves it early (`aclosing`), which
        ends the training too. Repeating a request_id whose update was submitted gives its outcome again. Raises Refused with the chain's
        reason, BaseMoved if the weights moved on meanwhile (call again), DataLoss (NoOutcome) for a stream that ends before `Submitted`.
        """
        request = pb.TrainRoundRequest(
            request_id=request_id,
            encoding=convert.encoding_message(encoding),
            step_count=steps,
            allow_range=allow_range,
        )
        digest = None
        with self._errors(), self._sense():
            stream = self._stub.TrainRound(request)
            try:
                async for message in stream:
                    event = convert.training_of(message)
                    match event:
                        case UpdateQuantised():
                            digest = event.digest
                        case Submitted() if digest not in (None, event.digest):
                            raise InvalidInput("another update than the quantised one is said to be accepted")
                    yield event
                    if isinstance(event, Submitted):
                        return
            finally:
                stream.cancel()
        raise DataLoss(
            f"the trainer at {self.address} ended the stream without an outcome: look at its log", reason="NoOutcome"
        )

    async def last_update(self, *, timeout_s: float = READ_S) -> bytes:
        """The bytes of the newest update that it made for its first task. Raises NotFound if it has made none."""
        answer: pb.GetLastUpdateResponse = await self._ask(
            self._stub.GetLastUpdate, pb.GetLastUpdateRequest(), timeout_s
        )
        return answer.update

    async def evaluate(self, version: int = 0) -> Evaluation:
        """version 0: the newest. Raises NotFound."""
        answer = await self._ask(self._stub.Evaluate, pb.EvaluateRequest(version=version), MEASURE_S)
        with self._sense():
            found = convert.evaluation_of(answer)
            _check_version(found.version, version)
        return found

    async def export(self, version: int = 0) -> ModelExport:
        """version 0: the newest. Raises NotFound, DataLoss also if ONNX and torch disagree."""
        answer = await self._ask(self._stub.ExportModel, pb.ExportModelRequest(version=version), MEASURE_S)
        with self._sense():
            export = convert.export_of(answer)
            _check_version(export.version, version)
        return export


def _check_version(found: ModelVersion, asked: int) -> None:
    if asked and found.version != asked:
        raise InvalidInput(f"version {asked} was asked for, {found.version} is described", reason="WrongVersion")
