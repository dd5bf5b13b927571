"""`task …`: look at tasks, make one of a torch module, open it, fill its pot, close it."""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from linklearner.cli.arguments import account_address, number, pot_amount
from linklearner.cli.calls import (
    AccountOption,
    FormatOption,
    GatewayCall,
    asks_gateway,
    asks_gateway_of_all,
    request_id,
)
from linklearner.cli.checkout import checkout, environment
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError, TimedOut, Unavailable
from linklearner.domain.notation import UINT64, UNIT_WEI, shown
from linklearner.domain.plan import TaskPlan
from linklearner.domain.rounds import BPS, Phase, Step, Terms
from linklearner.domain.rules.table import rule_of
from linklearner.domain.tasks import Funded, Mined, Task
from linklearner.output import Format, Shown, address, ago, ll, moment, reporting, show
from linklearner.plan_file import read_plan
from linklearner.storage import write_atomically
from linklearner.suite import home

MAX_REQUEST_ID = 100
PotAmountArgument = Annotated[int, typer.Argument(parser=pot_amount, help="$LL")]
FundOption = Annotated[
    int | None, typer.Option("--fund", parser=pot_amount, help="$LL of the account, into the task's pot at once")
]
RequestOption = Annotated[
    str | None, typer.Option("--request-id", help="go on with an opening that was interrupted under this name")
]
VERBS = {
    Step.LOADED: "load",
    Step.COMMITTED: "commit",
    Step.ACCEPTED: "submit",
    Step.EXAMPLES_OPENED: "open the examples",
    Step.SETTLED: "settle",
    Step.DROPPED: "drop",
}

app = typer.Typer(
    help="Look at tasks, make one of a torch module, open it, fill its pot, close it.", no_args_is_help=True
)


@app.command("show")
@asks_gateway
async def show_task(call: GatewayCall) -> dict[str, Any]:
    """A task: who opened it, its model and terms, its pot, its newest version and its open round."""
    found = await call.gateway.task(call.task)
    spec, shape, status = found.spec, found.shape, found.round
    return {
        "task": found.task,
        "creator": address(found.creator),
        "model": f"{spec.name}: {spec.graph}",
        "inputs": "; ".join(map(str, spec.inputs)),
        "weights": shape.weight_count,
        "pages": f"{shape.page_count} of {shape.page_length} weights",
        "version": found.version,
        "digest": "0x" + (found.announced.digest.hex() if found.announced else ""),
        "pot": _money(found.pot),
        "earned_so_far": _money(found.shares),
        "terms": Shown(
            asdict(found.terms) | {"reward": str(found.terms.reward)}, "\n".join(terms_in_words(found.terms))
        ),
        "phase": phase_of(found),
        "round": status.round,
        "opened": ago(status.opened_s),
        "accepted": f"{status.accepted} of at most {found.terms.max_updates}",
        "present_stake": ll(status.present * UNIT_WEI) + " $LL",
        "eligible_stake": ll(status.eligible * UNIT_WEI) + " $LL",
        "next_steps": Shown(
            [{"step": VERBS.get(due.step, due.step.name.lower()), "from_s": due.from_s} for due in status.due],
            ", ".join(f"{VERBS.get(due.step, due.step.name.lower())} {moment(due.from_s).text}" for due in status.due)
            or "none",
        ),
        "who_can_come_in": who_can_come_in(found),
    }


@app.command("list")
@asks_gateway_of_all
async def list_tasks(
    call: GatewayCall,
    creator: Annotated[
        bytes | None, typer.Option("--creator", parser=account_address, help="0x address; left out: everybody's")
    ] = None,
    after: Annotated[
        int, typer.Option("--after", parser=number("--after", 0, UINT64), help="only tasks with a higher number")
    ] = 0,
) -> list[dict[str, Any]]:
    """The tasks of the pool, oldest first."""
    return [
        {
            "task": found.task,
            "creator": address(found.creator),
            "model": _model_name(found),
            "weights": found.shape.weight_count,
            "version": found.version,
            "round": found.round.round,
            "phase": phase_of(found),
            "pot": _money(found.pot),
            "reward_a_round": _money(found.terms.reward),
        }
        for found in await call.gateway.list_tasks(creator or b"", after)
    ]


@app.command("open")
@asks_gateway_of_all
async def open_task(
    call: GatewayCall,
    plan: Annotated[
        Path,
        typer.Argument(
            help='JSON: {"model": {…}, "seed": 1, "terms": {"reward": "100", …}, …}; what is left out is as for the digits'
        ),
    ],
    fund: FundOption = None,
    account: AccountOption = None,
    request: RequestOption = None,
) -> dict[str, Any]:
    """Open a task of your own: its terms, and its first weights, from the plan's file or seed. It is yours, to close it."""
    return await _open(call, read_plan(plan), fund, account, request)


async def _open(
    call: GatewayCall, wanted: TaskPlan, fund: int | None, account: bytes | None, request: str | None
) -> dict[str, Any]:
    if request is not None and not (1 <= len(request) <= MAX_REQUEST_ID and request.isprintable()):
        raise InvalidInput(f"a request id has 1 to {MAX_REQUEST_ID} characters, got {shown(request)}")
    name = request or request_id()
    who = await call.account(account)
    if fund is not None:
        owned = (await call.gateway.balance(who)).token
        if request is None and owned < fund:
            raise InvalidInput(
                f"{address(who)} has {ll(owned)} $LL, less than the {ll(fund)} for the pot: nothing was sent",
                reason="TooFewTokens",
            )
    try:
        opened = await call.gateway.open_task(
            name, who, wanted.model.to_json(), wanted.shape, wanted.terms, weight_bytes(wanted.first_weights())
        )
    except (Unavailable, TimedOut) as error:
        raise type(error)(
            f"{error.message}; to go on with this very task, type the same again with --request-id {name}",
            reason=error.reason,
            facts=error.facts | {"request_id": name},
        ) from error
    row: dict[str, Any] = {
        "task": opened.task,
        "creator": address(who),
        "version": opened.version.version,
        "digest": "0x" + opened.version.digest.hex(),
        "transactions": ["0x" + mined.transaction.hex() for mined in opened.mined],
        "gas": sum(mined.gas_used for mined in opened.mined),
        "pot": _money(0),
    }
    if fund is None:
        return row
    try:
        funded = await call.gateway.fund_task(f"{name}-fund", who, opened.task, fund)
    except LinkLearnerError as error:
        raise type(error)(
            f"task {opened.task} is open, but its pot is not filled: {error.message}; try `linklearner task fund {ll(fund)} "
            f"--task {opened.task}`",
            reason=error.reason,
            facts=error.facts | {"task": str(opened.task)},
        ) from error
    row["transactions"].append("0x" + funded.mined.transaction.hex())
    return row | {"gas": row["gas"] + funded.mined.gas_used, "pot": _money(funded.pot)}


@app.command("create")
@asks_gateway_of_all
async def create_task(
    call: GatewayCall,
    file: Annotated[
        Path,
        typer.Argument(
            help="a Python file of your own with a torch module and a data function (`linklearner new` writes one)"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for the plan and its first weights; left out: NAME.task beside the file"),
    ] = None,
    fund: FundOption = None,
    account: AccountOption = None,
    request: RequestOption = None,
) -> dict[str, Any]:
    """Make a task of a torch module: export it, hold the export to the module on your samples, choose scales, open it.

    Your file is run here, and nowhere else: contributors and servers get the graph and the first weights.
    """
    folder = out or file.with_suffix(".task")
    row = await asyncio.to_thread(plan_of_file, file, folder)
    return row | await _open(call, read_plan(Path(row["plan"])), fund, account, request)


@app.command("plan")
def plan_task(
    file: Annotated[Path, typer.Argument(help="a Python file of your own with a torch module and a data function")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for the plan and its first weights; left out: NAME.task beside the file"),
    ] = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """The first half of `create`: make the plan of a torch module, and open nothing. No chain is needed."""
    with reporting(format):
        row = plan_of_file(file, out or file.with_suffix(".task"))
    show(format, row | {"next": f"linklearner task open {row['plan']}"})


@app.command("fund")
@asks_gateway
async def fund_task(call: GatewayCall, amount: PotAmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Add $LL of an account to a task's pot, from which its rounds are paid. Anyone may; only closing the task returns the rest, to its
    creator."""
    who = await call.account(account)
    return _funded(call.task, await call.gateway.fund_task(request_id(), who, call.task, amount))


@app.command("grant")
@asks_gateway
async def grant(call: GatewayCall, amount: PotAmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Have new $LL emitted to a task's pot, on the token's schedule. Only the pool's owner."""
    who = await call.account(account)
    return _funded(call.task, await call.gateway.grant_emission(request_id(), who, call.task, amount))


@app.command("close")
@asks_gateway
async def close_task(call: GatewayCall, account: AccountOption = None) -> dict[str, Any]:
    """Let no round follow the open one. Only the task's creator, who then gets what is left in the pot; the open round is still paid."""
    who = await call.account(account)
    closed = await call.gateway.close_task(request_id(), who, call.task)
    said = "yes" if closed.closed else "when its open round, which has updates, is settled or dropped"
    return {"task": call.task, "closed": Shown(closed.closed, said)} | _mined(closed.mined)


def plan_of_file(file: Path, folder: Path) -> dict[str, Any]:
    """Has the trainer's own program make the plan in a process of its own, as it needs torch. What there is to say of it.

    A file of frozen tensors goes into the suite's folder of these, too. Raises InvalidConfig with what to change in the file.
    """
    done = subprocess.run(
        [sys.executable, "-m", "services.trainer.create", str(file.absolute()), "--out", str(folder.absolute())],
        env=environment(checkout()),
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        made: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    except (IndexError, ValueError):
        raise InvalidConfig(f"making a plan of {file} ended with status {done.returncode} and said nothing") from None
    if "error" in made:
        raise InvalidConfig(made["error"], reason=made["reason"])
    row = {
        "model": f"{made['name']}: {made['graph']}",
        "loss": made["loss"],
        "weights": made["weights"],
        "description": f"{made['description_bytes']} bytes",
        "parity": f"module, executor and ONNX differ by {made['difference']:.1e} at most on {made['samples']} samples; int16 weights "
        f"change answers by {made['rounded']:.1e}",
        "plan": str(folder / made["files"]["plan"]),
    }
    if "frozen" in made["files"]:
        base = folder / made["files"]["frozen"]
        where = home() / "frozen"
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(where / base.name, base.read_bytes())
        row["frozen"] = (
            f"{made['frozen_numbers']:,} numbers that nobody trains, in {base}: offer this file to contributors and servers, who find it "
            "by its SHA-256"
        )
    return row


def terms_in_words(terms: Terms) -> list[str]:
    """A line for each thing that the creator fixed."""
    quorum, settler, server = (f"{bps / BPS:.2%}" for bps in (terms.quorum_bps, terms.settler_bps, terms.server_bps))
    return [
        f"rule {rule_of(terms.rule).name}; up to {terms.max_updates} updates a round",
        f"a round lasts {terms.min_round_seconds} s or longer, and is settled once {quorum} of the stake has sent updates",
        f"without that, {terms.round_seconds} s after its first update; it can be dropped after {terms.drop_seconds} s",
        f"a round takes up to {ll(terms.reward)} $LL from the pot, in proportion to its time up to {terms.round_seconds} s; "
        f"its settler gets {settler}",
        f"an update takes {ll(terms.min_stake * UNIT_WEI)} $LL of stake or more; stake is held {terms.stake_seconds} s before and after",
        f"a model server keeps {server} of what inference earns",
    ]


def phase_of(task: Task) -> str:
    if task.round.phase is None:
        return "unknown"
    closing = task.closing and task.round.phase is not Phase.CLOSED
    return task.round.phase.value + (" (the last round)" if closing else "")


def who_can_come_in(task: Task) -> str:
    """Whose update or stake the open round still takes, in a sentence."""
    status, terms = task.round, task.terms
    least = ll(terms.floor(status.eligible) * UNIT_WEI)
    later = f"stake locked now counts in rounds that open {terms.stake_seconds} to {2 * terms.stake_seconds} s later"
    ripe = f"{ll(status.ripe * UNIT_WEI)} $LL of stake waits for the next round"
    match status.phase:
        case Phase.LOADING:
            return "whoever locks stake now: it counts in round 1"
        case Phase.CLOSED:
            return "nobody: the task is closed; stake can be unlocked, earnings claimed, and the weights stay readable"
        case Phase.SETTLING:
            return f"nobody: the round is being merged; {later}"
        case Phase.OPENED:
            return f"nobody: the round's examples are opened, it waits to be settled; {later}"
        case Phase.OPEN:
            waiting = f"; {ripe}: the keeper drops this one, which has no update, for it" if status.ripe else ""
            last = "; it is the last round" if task.closing else f"; {later}"
            return f"accounts with {least} $LL or more that count{waiting}{last}"
        case Phase.COLLECTING if status.accepted < terms.max_updates:
            waiting = f"; {ripe}" if status.ripe else ""
            return f"{terms.max_updates - status.accepted} more accounts with {least} $LL or more that count{waiting}"
        case Phase.COLLECTING:
            return "nobody: the round is full"
    return "unknown"


def _funded(task: int, funded: Funded) -> dict[str, Any]:
    return {"task": task, "pot": _money(funded.pot)} | _mined(funded.mined)


def _mined(mined: Mined) -> dict[str, Any]:
    return {"transaction": "0x" + mined.transaction.hex(), "gas": mined.gas_used}


def _money(wei: int) -> str:
    return ll(wei) + " $LL"


def _model_name(task: Task) -> str:
    """Anyone opens tasks, also of models that this program cannot read."""
    try:
        return task.spec.name
    except InvalidInput:
        return "unknown to this program"
