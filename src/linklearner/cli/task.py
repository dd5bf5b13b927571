"""`task …`: look at a task."""

from typing import Any

import typer

from linklearner.cli.calls import GatewayCall, asks_gateway
from linklearner.domain.model import ModelSpec
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
        "model": f"{spec.name}: MLP {'-'.join(map(str, spec.layers))}",
        "inputs": _inputs_of(spec),
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


def _inputs_of(spec: ModelSpec) -> str:
    """What the model is asked and trained with, as measured: it scales by itself."""
    stated = "of unstated range" if spec.input_range is None else "from {:g} to {:g}".format(*spec.input_range)
    return f"{spec.layers[0]} numbers {stated}, called {spec.input_name}"
