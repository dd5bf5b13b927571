"""`verify`: the chain's history, replayed here."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from linklearner.cli.arguments import account_address, number, url
from linklearner.cli.calls import FormatOption, TaskOption, run
from linklearner.domain.notation import UINT64, address
from linklearner.output import Format, ll, reporting, show
from linklearner.suite import Suite, home
from linklearner.verification import HistoryOf, verified

RpcOption = Annotated[
    str | None, typer.Option("--rpc", parser=url("--rpc"), help="JSON-RPC URL of a chain", envvar="LINKLEARNER_RPC")
]
PoolOption = Annotated[bytes | None, typer.Option(parser=account_address, help="address of the TrainingPool")]
FromBlockOption = Annotated[
    int | None, typer.Option(parser=number("--from-block", 0, UINT64), help="block of the pool's deployment")
]


def verify(
    format: FormatOption = Format.TEXT,
    rpc: RpcOption = None,
    pool: PoolOption = None,
    from_block: FromBlockOption = None,
    task: TaskOption = None,
) -> None:
    """Replay the chain's history in Python: every verdict, weight, digest, pot and payment, to the wei."""
    found = run(verified(history_of(rpc, pool, from_block, task, format), format), format)
    show(format, in_words(found) if format is Format.TEXT else found)


def in_words(found: Mapping[str, Any]) -> dict[str, Any]:
    """Money as people read it, instead of wei."""
    return {
        name.removesuffix("_wei"): ll(int(value)) + " $LL" if name.endswith("_wei") else value
        for name, value in found.items()
    }


def history_of(
    rpc: str | None, pool: bytes | None, from_block: int | None, task: int | None, format: Format
) -> HistoryOf:
    """What was typed, the rest as the suite here wrote it down."""
    with reporting(format):
        if rpc and pool:
            return HistoryOf(rpc_url=rpc, pool=pool, from_block=from_block or 0, task=task or 1)
        suite = Suite.read(home())
        return HistoryOf(
            rpc_url=rpc or suite.rpc_url,
            pool=pool or address(suite.pool),
            from_block=suite.deployed_block if from_block is None else from_block,
            task=suite.task if task is None else task,
        )
