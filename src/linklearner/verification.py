"""`verify`: the chain's history replayed in Python, and the books of $LL closed at its end."""

from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from linklearner.chain.contracts import TOKEN
from linklearner.chain.history import History
from linklearner.domain import events
from linklearner.domain.addresses import token_of, vault_of
from linklearner.domain.errors import DataLoss, NotFound
from linklearner.domain.notation import UNIT_WEI, address_text
from linklearner.domain.replay import Emission, Replay, TaskReplay
from linklearner.domain.rules.evidence.course import OUTCOMES
from linklearner.domain.rules.evidence.verdicts import Outcome, record_text
from linklearner.output import Format, console


@dataclass(frozen=True, kw_only=True)
class HistoryOf:
    """Which history: a chain, a pool on it, where it begins, a task."""

    rpc_url: str
    pool: bytes
    from_block: int
    task: int


@dataclass(frozen=True, slots=True)
class Books:
    """What the node says of $LL at one block, wei."""

    supply: int
    emitted: int
    pool: int
    vault: int


async def verified(what: HistoryOf, format: Format) -> dict[str, Any]:
    """Replays the pool's whole history. Raises Divergence, naming block, transaction and field, at the first difference.

    Then asks the node for the balances of pool and vault at the same block: raises DataLoss if they do not hold what they owe, or if the
    supply is not the genesis and what was granted. Returns counts, the newest version's digest of the task and all totals, for printing;
    wei as text. Raises NotFound if the history knows no such task, or does not begin with the pool's deployment.
    """
    kinds = (
        events.UpdateSubmitted, events.ModelUpdated, events.ContributionPaid, events.BatchOpened, events.UpdateJudged
    )  # fmt: skip
    counted: dict[type, int] = dict.fromkeys(kinds, 0)
    merged = 0
    columns = (SpinnerColumn(), TextColumn("block"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(format), transient=True) as bar:
        line = bar.add_task("replaying", total=None)
        async with History(what.rpc_url, what.pool, what.from_block) as history:
            head = await history.head()
            emission = await emission_of(history, what.pool, head)
            replayed = Replay(await history.chain_id(), what.pool, emission)
            async for event in history.events(lambda block, last: bar.update(line, completed=block, total=last), head):
                replayed.feed(event)
                if event.task == what.task and type(event) in counted:
                    counted[type(event)] += 1
                    merged += isinstance(event, events.UpdateJudged) and OUTCOMES.get(event.outcome) is Outcome.MERGED
            replayed.finish()
            task = replayed.tasks.get(what.task)
            if task is None or history.deployment is None:
                raise NotFound(
                    f"the history of pool 0x{what.pool.hex()} from block {what.from_block} on opens no task {what.task}: "
                    "are pool, --from-block and --task right?"
                )
            _same("genesis supply", history.deployment.genesis, emission.genesis)
            _same("start of the emission", history.deployment.time_s, emission.start_s)
            books = await _books(history, what.pool, head)
    return {
        "task": what.task,
        "versions": counted[events.ModelUpdated],
        "updates": counted[events.UpdateSubmitted],
        "payments": counted[events.ContributionPaid],
        **(
            {}
            if task.course is None
            else {
                "batches_of_examples": counted[events.BatchOpened],
                "verdicts": counted[events.UpdateJudged],
                "merged": merged,
                "records": {
                    address_text(account): record_text(record) for account, record in task.course.records.items()
                },
            }
        ),
        "newest_version": task.version,
        "digest": "0x" + task.digest.hex(),
        **_of_task(task),
        **_closed(replayed, emission, books),
        "equal": True,
    }


def _of_task(task: TaskReplay) -> dict[str, Any]:
    flows = task.flows
    return {
        "pot_wei": str(task.pot),
        "funded_wei": str(flows.funded),
        "granted_wei": str(flows.granted),
        "earned_wei": str(flows.earned),
        "claimed_wei": str(flows.pay_claimed),
        "settlers_wei": str(flows.settlers),
        "refunded_wei": str(flows.refunded),
        "fees_wei": str(flows.fees_to_contributors + flows.fees_to_stake + flows.fees_to_pot),
        "stake_wei": str(task.ledger.total * UNIT_WEI),
    }


def _closed(replayed: Replay, emission: Emission, books: Books) -> dict[str, Any]:
    """The totals of all tasks, once what the node says agrees with them. Raises DataLoss."""
    tasks = replayed.tasks.values()
    _same("emitted $LL", replayed.emitted, books.emitted)
    _same("supply of $LL", emission.genesis + replayed.emitted, books.supply)
    roundings = sum(task.flows.roundings for task in tasks)
    report = {
        "supply_wei": str(books.supply),
        "genesis_wei": str(emission.genesis),
        "emitted_wei": str(books.emitted),
        "cap_wei": str(emission.cap),
        "emission_per_second_wei": str(emission.per_second),
        "emission_start_s": emission.start_s,
    }
    stake = sum(task.vault_owes for task in tasks)  # nothing is divided there: what it holds it owes
    for name, holds, owes, balance in (
        ("pool", sum(task.flows.pool for task in tasks), sum(task.pool_owes for task in tasks), books.pool),
        ("vault", stake, stake, books.vault),
    ):
        # Fees are divided with remainders: each division leaves less than a wei that nobody can claim, and never takes one.
        if not 0 <= holds - owes <= roundings:
            raise DataLoss(f"the {name} owes {owes} wei of what its tasks left there, {holds}: the rules do not add up")
        if balance < holds:
            raise DataLoss(
                f"the {name} should hold {holds} wei of $LL for its tasks, the node says {balance}",
                facts={"field": f"balance of the {name}", "expected": holds, "on_chain": balance},
            )
        report |= {
            f"{name}_owes_wei": str(owes),
            f"{name}_dust_wei": str(holds - owes),
            # anybody may transfer $LL to a contract, which does nothing with it
            f"{name}_stray_wei": str(balance - holds),
        }
    return report


async def emission_of(history: History, pool: bytes, head: int) -> Emission:
    """The token's constants. Its genesis supply is what is there beyond the emission; compared with the deployment's later."""
    supply, emitted, cap, per_second, start_s = await history.numbers(
        token_of(pool),
        TOKEN,
        head,
        ("totalSupply",),
        ("emitted",),
        ("cap",),
        ("emissionPerSecond",),
        ("emissionStart",),
    )
    return Emission(supply - emitted, cap, per_second, start_s)


async def _books(history: History, pool: bytes, head: int) -> Books:
    return Books(
        *await history.numbers(
            token_of(pool),
            TOKEN,
            head,
            ("totalSupply",),
            ("emitted",),
            ("balanceOf", "0x" + pool.hex()),
            ("balanceOf", "0x" + vault_of(pool).hex()),
        )
    )


def _same(what: str, ours: int, theirs: int) -> None:
    if ours != theirs:
        raise DataLoss(
            f"{what} should be {ours}, the node says {theirs}",
            facts={"field": what, "expected": ours, "on_chain": theirs},
        )
