"""`train`: one round on a trainer's private data."""

from contextlib import aclosing
from dataclasses import asdict
from math import isnan
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from linklearner.cli.arguments import host_port, number
from linklearner.cli.calls import CredentialOption, FormatOption, credential_for, request_id, run, service_address
from linklearner.cli.far_side import wrong_service
from linklearner.client.trainer import TrainerClient
from linklearner.domain.encodings import ENCODINGS, TWO_BITS, encoding_named
from linklearner.domain.errors import DataLoss
from linklearner.domain.notation import UINT32, UNIT_WEI
from linklearner.domain.tasks import Submitted
from linklearner.domain.training import (
    MergeForecast,
    ModelPulled,
    PrivacySpent,
    TrainingProgress,
    TrainingWaits,
    UpdateQuantised,
)
from linklearner.output import Format, Shown, console, ll, printable, show

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
        update_bytes = 0
        spent: PrivacySpent | None = None
        expected: MergeForecast | None = None
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), console=console(format), transient=True
        ) as bar:
            line = bar.add_task("pulling the newest weights", total=None)
            where = service_address(trainer_address, "trainers")
            async with (
                wrong_service(where, "a trainer"),
                TrainerClient.connect(where, credential_for(where, credential)) as trainer,
                aclosing(trainer.train(request_id(), wanted, steps=steps, allow_range=allow_range)) as events,
            ):
                async for event in events:
                    match event:
                        case ModelPulled():
                            bar.update(line, description=f"training on version {event.version.version}")
                        case TrainingWaits():
                            bar.update(line, description=f"waits: {escape(printable(event.detail))}")
                        case TrainingProgress():
                            progress = (
                                "training" if isnan(event.loss) else f"loss {event.loss:.3f}"
                            )  # privacy tells none
                            bar.update(line, description=progress, completed=event.step, total=event.step_count)
                        case MergeForecast():
                            expected = event
                            said = f"[bold]Before anything is sent[/bold]  {escape(event.text())}"
                            bar.console.print(said)
                        case UpdateQuantised():
                            update_bytes, spent = event.update_bytes, event.privacy
                            bar.update(line, description=f"submitting {update_bytes:,} bytes", total=None)
                        case Submitted():
                            return {
                                "verdict": "accepted",
                                "round": event.round,
                                "digest": "0x" + event.digest.hex(),
                                "bytes": update_bytes,
                                "influence": ll(event.effective * UNIT_WEI) + " $LL of stake",
                                "transaction": "0x" + event.mined.transaction.hex(),
                                "gas": event.mined.gas_used,
                                **({} if expected is None else {"expected": Shown(asdict(expected), expected.text())}),
                                **({} if spent is None else {"privacy": Shown(asdict(spent), privacy_in_words(spent))}),
                            }
        raise DataLoss("a training ended without an outcome", reason="NoOutcome")  # the client has said so

    show(format, run(work(), format))


def privacy_in_words(spent: PrivacySpent) -> str:
    """One line."""
    whom = "each sample" if spent.mechanism == "sgd" else "the whole data set"
    left = f"{spent.rounds_left:,} more rounds fit" if spent.rounds_left else "no further round fits"
    return (
        f"epsilon {spent.epsilon:.2f} of {spent.epsilon_budget:g} at delta {spent.delta:g} spent in this task ({whom}; noise "
        f"{spent.noise_multiplier:.3g} over a clip of {spent.clip_norm:g}); {left}"
    )
