"""`train`: one round on a trainer's private data."""

from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from linklearner.cli.arguments import encoding_named, host_port, number
from linklearner.cli.calls import CredentialOption, FormatOption, connected, request_id, run, service_address
from linklearner.cli.far_side import wrong_service
from linklearner.domain.encodings import ENCODINGS, TWO_BITS
from linklearner.domain.errors import DataLoss, InvalidInput, NotFound
from linklearner.domain.notation import UINT32, UNIT_WEI
from linklearner.domain.tasks import Submitted
from linklearner.output import Format, console, ll, show
from linklearner.rpc import convert
from linklearner.v1 import trainer_pb2 as trainer
from linklearner.v1 import trainer_pb2_grpc as trainer_grpc

TrainerOption = Annotated[
    str | None,
    typer.Option(
        "--trainer", parser=host_port("--trainer"), help="host:port of a trainer", envvar="LINKLEARNER_TRAINER"
    ),
]


def train(
    format: FormatOption = Format.TEXT,
    trainer_address: TrainerOption = None,
    credential: CredentialOption = None,
    encoding: Annotated[str, typer.Option(help=" or ".join(one.name for one in ENCODINGS.values()))] = TWO_BITS.name,
    steps: Annotated[
        int,
        typer.Option(parser=number("--steps", 0, UINT32), help="local optimiser steps; 0: the trainer's own setting"),
    ] = 0,
    allow_range: Annotated[
        bool, typer.Option("--allow-range", help="train also on data far from the range that `task show` states")
    ] = False,
) -> None:
    """Train one round on a trainer's private data and submit the update."""

    async def work() -> dict[str, Any]:
        wanted = encoding_named(encoding)
        quantised = None
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), console=console(format), transient=True
        ) as bar:
            line = bar.add_task("pulling the newest weights", total=None)
            where = service_address(trainer_address, "trainers")
            async with wrong_service(where, "a trainer"), connected(where, credential) as wire:
                stub = trainer_grpc.TrainerServiceStub(wire)
                request = trainer.TrainRoundRequest(
                    request_id=request_id(), encoding=wanted, step_count=steps, allow_range=allow_range
                )
                async for event in stub.TrainRound(request):
                    match event.WhichOneof("event"):
                        case "pulled":
                            bar.update(line, description=f"training on version {event.pulled.version.version}")
                        case "progress":
                            done = event.progress
                            bar.update(
                                line, description=f"loss {done.loss:.3f}", completed=done.step, total=done.step_count
                            )
                        case "quantised":
                            quantised = event.quantised
                            bar.update(line, description=f"submitting {quantised.update_bytes:,} bytes", total=None)
                        case "submitted":
                            outcome = _outcome(event, where)
                            return {
                                "verdict": "accepted",
                                "round": outcome.round,
                                "digest": "0x" + outcome.digest.hex(),
                                "bytes": quantised.update_bytes if quantised else 0,
                                "influence": ll(outcome.effective * UNIT_WEI) + " $LL of stake",
                                "transaction": "0x" + outcome.mined.transaction.hex(),
                                "gas": outcome.mined.gas_used,
                            }
        raise NotFound("the trainer ended the stream without an outcome: look at its log")

    show(format, run(work(), format))


def _outcome(event: trainer.TrainRoundResponse, where: str) -> Submitted:
    """Raises DataLoss for an outcome that is none: its parts are of lengths that the trainer chose."""
    try:
        return convert.submitted_of(event.submitted)
    except InvalidInput as error:
        raise DataLoss(
            f"the trainer at {where} answers what makes no sense ({error.message})", reason="NonsensicalAnswer"
        ) from error
