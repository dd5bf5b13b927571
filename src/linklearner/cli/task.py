"""`task …`: look at tasks, make one of a torch module, open it, fill its pot, close it."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self

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
from linklearner.domain.rounds import BPS, RULE_EVIDENCE, Due, Phase, Step, Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.table import rule_named, rule_of
from linklearner.domain.tasks import Funded, Mined, Task
from linklearner.output import Format, Shown, address, ago, ll, moment, reporting, show
from linklearner.plan_file import read_plan
from linklearner.storage import write_atomically
from linklearner.suite import home

MAX_REQUEST_ID = 100
ROUNDS, A_ROUND = 20, 4.0
"""Of the examples that judge a task by rule evidence, unless others are asked for."""
FEW, MANY = 2.5, 5.0
"""Examples a round with which the rule was tried."""
PotAmountArgument = Annotated[int, typer.Argument(parser=pot_amount, help="$LL")]
FundOption = Annotated[
    int | None, typer.Option("--fund", parser=pot_amount, help="$LL of the account, into the task's pot at once")
]
RequestOption = Annotated[
    str | None, typer.Option("--request-id", help="go on with an opening that was interrupted under this name")
]
RuleOption = Annotated[str, typer.Option("--rule", help="mean, or evidence: updates are judged by examples of yours")]
HoldOutOption = Annotated[
    str | None,
    typer.Option(
        "--hold-out", help="rule evidence: where the examples are from, a data source; left out: the file's own data"
    ),
]
RoundsOption = Annotated[
    int,
    typer.Option(
        "--rounds", parser=number("--rounds", 1, 10_000), help="rule evidence: rounds that the examples are for"
    ),
]
ARoundOption = Annotated[
    float, typer.Option("--a-round", min=1.0, max=1000.0, help="rule evidence: examples a round, on average")
]
SetSeedOption = Annotated[
    int | None,
    typer.Option(
        "--example-seed",
        parser=number("--example-seed", 0, UINT64),
        help="rule evidence: which examples, to make them again",
    ),
]
JUDGED = (
    "an update is merged, and paid, if it helps on examples that are opened after the round's last update",
    "about half of all honest updates are refused in a round, which is normal and never punished",
)
"""Of terms by rule evidence."""
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
            [
                {
                    "step": VERBS.get(due.step, due.step.name.lower()),
                    "from_s": due.from_s,
                    "until_s": due.until_s or None,
                }
                for due in status.due
            ],
            ", ".join(_due_in_words(due) for due in status.due) or "none",
        ),
        "who_can_come_in": who_can_come_in(found),
        **({} if found.examples is None else _examples_of(found)),
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
                f"{address(who)} has {ll(owned)} $LL, less than the {ll(fund)} for the pot: nothing was sent. Name another account with "
                "--account; `linklearner balance` shows what each has",
                reason="TooFewTokens",
            )
    try:
        opened = await call.gateway.open_task(
            name,
            who,
            wanted.model.to_json(),
            wanted.shape,
            wanted.terms,
            weight_bytes(wanted.first_weights()),
            wanted.examples,
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
    rule: RuleOption = MEAN.name,
    hold_out: HoldOutOption = None,
    rounds: RoundsOption = ROUNDS,
    a_round: ARoundOption = A_ROUND,
    seed: SetSeedOption = None,
    fund: FundOption = None,
    account: AccountOption = None,
    request: RequestOption = None,
) -> dict[str, Any]:
    """Make a task of a torch module: export it, hold the export to the module on your samples, choose scales, open it.

    Your file is run here, and nowhere else: contributors and servers get the graph and the first weights.
    """
    folder = out or file.with_suffix(".task")
    wanted = Judging.of(rule, hold_out or f"python:{file}", rounds, a_round, seed)
    if wanted is not None and request is not None and (kept := _made_before(folder)) is not None:
        row: dict[str, Any] = {"plan": str(kept)}  # others would be other examples, and another task
    else:
        row = await asyncio.to_thread(plan_of_file, file, folder, wanted)
    return row | await _open(call, read_plan(Path(row["plan"])), fund, account, request)


@app.command("plan")
def plan_task(
    file: Annotated[Path, typer.Argument(help="a Python file of your own with a torch module and a data function")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for the plan and its first weights; left out: NAME.task beside the file"),
    ] = None,
    rule: RuleOption = MEAN.name,
    hold_out: HoldOutOption = None,
    rounds: RoundsOption = ROUNDS,
    a_round: ARoundOption = A_ROUND,
    seed: SetSeedOption = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """The first half of `create`: make the plan of a torch module, and open nothing. No chain is needed."""
    with reporting(format):
        wanted = Judging.of(rule, hold_out or f"python:{file}", rounds, a_round, seed)
        row = plan_of_file(file, out or file.with_suffix(".task"), wanted)
    show(format, row | {"next": f"linklearner task open {row['plan']}"})


@app.command("examples")
def make_examples(
    plan: Annotated[Path, typer.Argument(help="a plan, as for `task open`; it is changed to rule evidence")],
    hold_out: Annotated[
        str,
        typer.Option(
            "--hold-out", help="where they are from, a data source (docs/data.md): what trainers hold out of it"
        ),
    ],
    rounds: RoundsOption = ROUNDS,
    a_round: ARoundOption = A_ROUND,
    seed: SetSeedOption = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """Make the examples that judge a task by rule evidence, beside its plan, in a file that only you can read. No chain is needed."""
    with reporting(format):
        row = examples_of_plan(plan, Judging(hold_out, rounds, a_round, seed))
    show(format, row | {"next": f"linklearner task open {plan}"})


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


def _trainer_program(module: str, *arguments: str, what: str) -> dict[str, Any]:
    """What a program of the trainer says, which runs in a process of its own because it needs torch. Raises InvalidConfig."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(checkout()),
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        made: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    except (IndexError, ValueError):
        raise InvalidConfig(f"{what} ended with status {done.returncode} and said nothing") from None
    if "error" in made:
        raise InvalidConfig(made["error"], reason=made["reason"])
    return made


@dataclass(frozen=True, slots=True)
class Judging:
    """How the examples of a task by rule `evidence` are made. seed: None for one that nobody can guess."""

    hold_out: str
    rounds: int
    a_round: float
    seed: int | None

    @classmethod
    def of(cls, rule: str, hold_out: str, rounds: int, a_round: float, seed: int | None) -> Self | None:
        """None for a rule that judges by no examples. Raises InvalidInput for one that there is not."""
        return cls(hold_out, rounds, a_round, seed) if rule_named(rule).number == RULE_EVIDENCE else None


def _made_before(folder: Path) -> Path | None:
    """The plan of an opening that was interrupted, if its examples are made."""
    plan = folder / "plan.json"
    try:
        return plan if read_plan(plan).examples is not None else None
    except InvalidConfig:
        return None


def examples_of_plan(plan: Path, wanted: Judging) -> dict[str, Any]:
    """Makes the examples beside the plan, and says what they are. Raises InvalidConfig with what to change."""
    seed = [] if wanted.seed is None else ["--seed", str(wanted.seed)]
    kind, colon, place = wanted.hold_out.partition(":")
    source = f"{kind}:{Path(place).absolute()}" if place else kind + colon
    made = _trainer_program(
        "services.trainer.examples",
        str(plan.absolute()), "--from", source, "--rounds", str(wanted.rounds), "--a-round", str(wanted.a_round), *seed,
        what=f"making the examples of {plan}",
    )  # fmt: skip
    labels = ", ".join(f"{label} {count}" for label, count in made["labels"].items())
    control = (
        "not measured: the source holds out no other samples"
        if made["control"] is None
        else f"{made['control']:.1%} of {made['control_count']} other held-out samples, by a model trained on the examples alone: what "
        "whoever has the file starts from"
    )
    row = {
        "rule": "evidence",
        "examples": Shown(
            made["examples"],
            f"{made['examples']} for {made['rounds']} rounds, of what trainers hold out"
            + (f" ({made['left_out']} rows that occur twice were left out)" if made["left_out"] else ""),
        ),
        "labels": Shown(made["labels"], labels),
        "control": Shown(made["control"], control),
        "root": "0x" + made["root"],
        "examples_file": f"{plan.with_name(made['file'])}: keep it to yourself, and keep it; rounds are judged by nothing else",
    }
    if made["fewer"]:
        row["max_updates"] = f"{made['max_updates']} a round: so many a block can judge by all examples"
    if not FEW <= wanted.a_round <= MANY:
        row["warning"] = f"{wanted.a_round:g} examples a round: the rule was tried with {FEW:g} to {MANY:g}"
    if wanted.seed is not None:
        row["seed"] = "whoever guesses it and has the samples knows the examples: leave it out for a task that pays"
    return row


def plan_of_file(file: Path, folder: Path, judging: Judging | None = None) -> dict[str, Any]:
    """Has the trainer's own program make the plan, and by rule `evidence` its examples. What there is to say of it.

    A file of frozen tensors goes into the suite's folder of these, too. Raises InvalidConfig with what to change in the file.
    """
    made = _trainer_program(
        "services.trainer.create",
        str(file.absolute()), "--out", str(folder.absolute()),
        what=f"making a plan of {file}",
    )  # fmt: skip
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
    return row if judging is None else row | examples_of_plan(folder / made["files"]["plan"], judging)


def terms_in_words(terms: Terms) -> list[str]:
    """A line for each thing that the creator fixed."""
    judged = terms.rule == RULE_EVIDENCE
    quorum, settler, server = (f"{bps / BPS:.2%}" for bps in (terms.quorum_bps, terms.settler_bps, terms.server_bps))
    return [
        f"rule {rule_of(terms.rule).name}; up to {terms.max_updates} updates a round",
        *(JUDGED if judged else ()),
        f"a round lasts {terms.min_round_seconds} s or longer, and {'closes' if judged else 'is settled'} once {quorum} of the stake has "
        "sent updates",
        f"without that, {terms.round_seconds} s after its first update; it can be dropped after {terms.drop_seconds} s",
        f"a round takes up to {ll(terms.reward)} $LL from the pot, in proportion to its time up to {terms.round_seconds} s; "
        f"its settler gets {settler}",
        f"an update takes {ll(terms.min_stake * UNIT_WEI)} $LL of stake or more; stake is held {terms.stake_seconds} s before and after",
        f"a model server keeps {server} of what inference earns",
    ]


def _due_in_words(due: Due) -> str:
    until = f" until {moment(due.until_s).text}" if due.until_s else ""
    return f"{VERBS.get(due.step, due.step.name.lower())} {moment(due.from_s).text}{until}"


def _examples_of(task: Task) -> dict[str, Any]:
    """By which rule evidence judges."""
    found = task.examples
    assert found is not None
    return {
        "examples": Shown(
            asdict(found) | {"root": "0x" + found.root.hex()},
            f"{found.opened_examples} of {found.examples} opened, in {found.opened_batches} of {found.batches} batches, one a round; "
            f"inputs in steps of 2**-{found.input_exponent}",
        ),
        "examples_root": "0x" + found.root.hex(),
        "examples_made_by": f"{address(task.creator)}, the task's creator, who knows all of them and is trusted not to train on them",
    }


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
        case Phase.COLLECTING if _closed_to_updates(task):
            return f"nobody: the round waits for its examples, which the task's creator opens; {later}"
        case Phase.COLLECTING if status.accepted < terms.max_updates:
            waiting = f"; {ripe}" if status.ripe else ""
            return f"{terms.max_updates - status.accepted} more accounts with {least} $LL or more that count{waiting}"
        case Phase.COLLECTING:
            return "nobody: the round is full"
    return "unknown"


def _closed_to_updates(task: Task) -> bool:
    """By rule evidence: the examples that judge the round may be on their way."""
    closes_s = next((due.until_s for due in task.round.due if due.step is Step.ACCEPTED), 0)
    return bool(closes_s) and time.time() >= closes_s


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
