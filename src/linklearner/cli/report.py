"""`report`: how a task went, as one page of HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from linklearner.cli.calls import CredentialOption, FormatOption, TaskOption, credential_for, run
from linklearner.cli.status import TrainersOption
from linklearner.cli.task import terms_in_words
from linklearner.cli.verify import FromBlockOption, PoolOption, RpcOption, history_of
from linklearner.domain.errors import DataLoss, InvalidConfig
from linklearner.output import Format, console, reporting, show
from linklearner.report.collect import facts_of, measure
from linklearner.report.facts import TaskFacts
from linklearner.report.of_task import task_page
from linklearner.report.page import publish
from linklearner.report.png import check_installed, task_picture
from linklearner.suite import Suite, home
from linklearner.verification import HistoryOf


def report(
    format: FormatOption = Format.TEXT,
    rpc: RpcOption = None,
    pool: PoolOption = None,
    from_block: FromBlockOption = None,
    task: TaskOption = None,
    trainer_addresses: TrainersOption = None,
    credential: CredentialOption = None,
    out: Annotated[Path, typer.Option("--out", help="where to write the page")] = Path("report.html"),
    png: Annotated[
        Path | None, typer.Option("--png", help="write its charts as a picture, too (needs linklearner[png])")
    ] = None,
    refusals: Annotated[
        bool | None,
        typer.Option(
            "--refusals/--no-refusals",
            help="look through every block for failed transactions; left out: if there are not too many",
        ),
    ] = None,
) -> None:
    """Write one page about a task: accuracy, gas, bytes, contributors, pay, pot. A JSON-RPC URL is enough; a trainer adds accuracy."""
    what = history_of(rpc, pool, from_block, task, format)
    with reporting(format):
        for path in (out, png):
            if path is not None and not path.absolute().parent.is_dir():
                raise InvalidConfig(f"the folder {path.absolute().parent} does not exist")
        if png is not None:
            check_installed()
        named = tuple(trainer_addresses) if trainer_addresses else _suites_trainers(what)
        trainers = [(one, credential_for(one, credential)) for one in named]
    facts = run(_found(what, trainers, refusals, format), format)
    with reporting(format):
        publish(out, task_page(facts, terms_in_words(facts.terms)).encode())
        if png is not None:
            publish(png, task_picture(facts))
        show(format, _summary(facts, out, png))
        if facts.divergence:
            raise DataLoss(f"the history does not follow the rules: {facts.divergence}", reason="Divergence")


async def _found(
    what: HistoryOf, trainers: Sequence[tuple[str, Any]], refusals: bool | None, format: Format
) -> TaskFacts:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(format), transient=True) as bar:
        line = bar.add_task("replaying", total=None)

        def step(name: str, done: int, total: int) -> None:
            bar.update(line, description=name, completed=done, total=total)

        facts = await facts_of(what, step, failures=refusals)
        await measure(facts, trainers, step)
    return facts


def _suites_trainers(what: HistoryOf) -> tuple[str, ...]:
    """Of the suite here, if the report is about its pool."""
    try:
        suite = Suite.read(home())
    except InvalidConfig:
        return ()
    return suite.trainers if suite.pool.lower() == "0x" + what.pool.hex() else ()


def _summary(facts: TaskFacts, out: Path, png: Path | None) -> dict[str, Any]:
    measured = [one.measured for one in facts.versions if one.measured is not None]
    said: dict[str, Any] = {
        "report": str(out),
        **({} if png is None else {"picture": str(png)}),
        "task": facts.task,
        "model": facts.name,
        "versions": len(facts.versions),
        "rounds": sum(one.over for one in facts.rounds),
        "updates": sum(one.accepted for one in facts.rounds),
        "refused": "not looked for" if facts.refused is None else len(facts.refused),
        "gas": sum(one.submission_gas + one.settlement_gas for one in facts.rounds),
        **({measured[-1].metric or "metric": measured[-1].value} if measured else {"not_measured": facts.measured_why}),
        "equal": not facts.divergence,
    }
    return said
