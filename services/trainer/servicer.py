"""TrainerService on the wire: requests to use cases, events to messages."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import grpc

from linklearner.domain.encodings import Encoding, encoding_of
from linklearner.domain.tasks import Submitted
from linklearner.rpc import convert
from linklearner.rpc.access import Role
from linklearner.v1 import model_pb2, trainer_pb2_grpc
from linklearner.v1 import trainer_pb2 as pb
from services.trainer.contributor import Contributor, Event, Prepared, Progress, Pulled
from services.trainer.data import Samples
from services.trainer.examiner import Examiner

SERVICE = "linklearner.v1.TrainerService"
ROLES = {
    f"/{SERVICE}/GetTrainer": Role.READ,
    f"/{SERVICE}/TrainRound": Role.CONTRIBUTE,
    f"/{SERVICE}/Evaluate": Role.CONTRIBUTE,
    f"/{SERVICE}/ExportModel": Role.CONTRIBUTE,
}
"""What a caller must be allowed to do: the last three take this machine's time."""
Context = grpc.aio.ServicerContext[Any, Any]


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    def __init__(
        self, contributor: Contributor, examiner: Examiner, task: int, samples: Samples, held_out: Samples
    ) -> None:
        self._contributor = contributor
        self._examiner = examiner
        self._task = task
        self._samples = samples
        self._held_out = held_out

    async def GetTrainer(  # noqa: N802
        self, request: pb.GetTrainerRequest, context: Context
    ) -> pb.GetTrainerResponse:
        identity = await self._contributor.identity()
        label_count = 1 + max(int(part.y.max(initial=0)) for part in (self._samples, self._held_out))
        return pb.GetTrainerResponse(
            account=identity.account,
            task=self._task,
            sample_count=len(self._samples),
            held_out_count=len(self._held_out),
            label_counts=self._samples.label_counts(label_count).tolist(),
            busy=self._contributor.busy,
        )

    async def TrainRound(  # noqa: N802
        self, request: pb.TrainRoundRequest, context: Context
    ) -> AsyncIterator[pb.TrainRoundResponse]:
        encoding = _encoding(request.encoding)
        work = self._contributor.contribute(request.request_id, encoding, request.step_count, request.allow_range)
        async with aclosing(work) as events:
            async for event in events:
                yield _message(event)

    async def Evaluate(  # noqa: N802
        self, request: pb.EvaluateRequest, context: Context
    ) -> pb.EvaluateResponse:
        version, score = await self._examiner.evaluate(request.version)
        return pb.EvaluateResponse(
            version=convert.version_message(version),
            sample_count=len(self._held_out),
            accuracy=score.accuracy,
            loss=score.loss,
        )

    async def ExportModel(  # noqa: N802
        self, request: pb.ExportModelRequest, context: Context
    ) -> pb.ExportModelResponse:
        export = await self._examiner.export(request.version)
        return pb.ExportModelResponse(
            version=convert.version_message(export.version),
            onnx=export.onnx,
            max_abs_difference=export.max_abs_difference,
        )


def _encoding(number: int) -> Encoding | None:
    if number == model_pb2.ENCODING_UNSPECIFIED:
        return None
    return encoding_of(number)


def _message(event: Event) -> pb.TrainRoundResponse:
    match event:
        case Pulled():
            return pb.TrainRoundResponse(pulled=pb.ModelPulled(version=convert.version_message(event.version)))
        case Progress():
            return pb.TrainRoundResponse(
                progress=pb.TrainingProgress(step=event.step, step_count=event.step_count, loss=event.loss)
            )
        case Prepared():
            return pb.TrainRoundResponse(
                quantised=pb.UpdateQuantised(
                    encoding=cast("model_pb2.Encoding", event.encoding.code),
                    update_bytes=event.update_bytes,
                    page_count=event.page_count,
                    pages_total=event.pages_total,
                    residual_ratio=event.residual_ratio,
                    digest=event.digest,
                )
            )
        case Submitted():
            return pb.TrainRoundResponse(submitted=convert.submitted_message(event))
