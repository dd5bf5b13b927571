"""`task …`: look at a task."""

from typing import Any

import typer

from linklearner.cli.calls import GatewayCall, asks_gateway
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.shape import Shape
from linklearner.output import ll
from linklearner.v1 import chain_gateway_pb2 as gateway

app = typer.Typer(help="Look at a task.", no_args_is_help=True)


@app.command("show")
@asks_gateway
async def show_task(call: GatewayCall) -> dict[str, Any]:
    """A task's architecture, terms, newest version and open round."""
    found = (await call.stub.GetTask(gateway.GetTaskRequest(task=call.task))).task
    spec, shape = ModelSpec.from_json(found.model), Shape.decode(found.shape)
    return {
        "task": found.task,
        "model": f"{spec.name}: MLP {'-'.join(map(str, spec.layers))}",
        "inputs": _inputs_of(spec),
        "weights": shape.weight_count,
        "pages": f"{shape.page_count} of {shape.page_length} weights",
        "version": found.version.version,
        "digest": "0x" + found.version.digest.hex(),
        "round": found.round.round,
        "accepted": f"{found.round.accepted_count} of {found.terms.quorum}",
        "eligible_stake": ll(found.round.eligible_units * UNIT_WEI) + " $LL",
        "reward_a_round": ll(found.terms.reward_wei) + " $LL",
        "minimum_stake": ll(found.terms.min_stake_units * UNIT_WEI) + " $LL",
    }


def _inputs_of(spec: ModelSpec) -> str:
    """What the model is asked and trained with, as measured: it scales by itself."""
    stated = "of unstated range" if spec.input_range is None else "from {:g} to {:g}".format(*spec.input_range)
    return f"{spec.layers[0]} numbers {stated}, called {spec.input_name}"
