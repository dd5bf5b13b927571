"""`task …`: look at a task."""

from typing import Any

import typer

from linklearner.cli.calls import GatewayCall, asks_gateway
from linklearner.domain.notation import UNIT_WEI
from linklearner.output import ll

app = typer.Typer(help="Look at a task.", no_args_is_help=True)


@app.command("show")
@asks_gateway
async def show_task(call: GatewayCall) -> dict[str, Any]:
    """A task's architecture, terms, newest version and open round."""
    found = await call.gateway.task(call.task)
    spec, shape = found.spec, found.shape
    return {
        "task": found.task,
        "model": f"{spec.name}: {spec.architecture}",
        "inputs": str(spec.input),
        "weights": shape.weight_count,
        "pages": f"{shape.page_count} of {shape.page_length} weights",
        "version": found.version,
        "digest": "0x" + (found.announced.digest.hex() if found.announced else ""),
        "round": found.round.round,
        "accepted": f"{found.round.accepted} of {found.terms.quorum}",
        "eligible_stake": ll(found.round.eligible * UNIT_WEI) + " $LL",
        "reward_a_round": ll(found.terms.reward) + " $LL",
        "minimum_stake": ll(found.terms.min_stake * UNIT_WEI) + " $LL",
    }
