"""TrainerService on the wire: requests to use cases, events to messages."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from linklearner.domain.training import TrainerStatus
from linklearner.rpc import convert
from linklearner.rpc.access import Role
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc
from services.trainer.contributor import Contributor
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
        self, contributors: Sequence[Contributor], examiner: Examiner, task: int, samples: Samples, held_out: Samples
    ) -> None:
        """contributors: one of each task; requests are about the first of them."""
        self._contributors = contributors
        self._contributor = contributors[0]
        self._examiner = examiner
        self._task = task
        self._samples = samples
        self._held_out = held_out

    async def GetTrainer(  # noqa: N802
        self, request: pb.GetTrainerRequest, context: Context
    ) -> pb.GetTrainerResponse:
        identity = await self._contributor.identity()
        label_count = max(len(part.label_counts()) for part in (self._samples, self._held_out))
        status = TrainerStatus(
            account=identity.account,
            task=self._task,
            samples=len(self._samples),
            held_out=len(self._held_out),
            label_counts=tuple(self._samples.label_counts(label_count).tolist()),
            busy=self._contributor.busy,
            tasks=tuple(one.activity for one in self._contributors),
        )
        return convert.trainer_message(status)

    async def TrainRound(  # noqa: N802
        self, request: pb.TrainRoundRequest, context: Context
    ) -> AsyncIterator[pb.TrainRoundResponse]:
        encoding = convert.wanted_encoding_of(request.encoding)
        work = self._contributor.contribute(request.request_id, encoding, request.step_count, request.allow_range)
        async with aclosing(work) as events:
            async for event in events:
                yield convert.training_message(event)

    async def Evaluate(  # noqa: N802
        self, request: pb.EvaluateRequest, context: Context
    ) -> pb.EvaluateResponse:
        return convert.evaluation_message(await self._examiner.evaluate(request.version))

    async def ExportModel(  # noqa: N802
        self, request: pb.ExportModelRequest, context: Context
    ) -> pb.ExportModelResponse:
        return convert.export_message(await self._examiner.export(request.version))
