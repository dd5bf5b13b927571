"""Replaying a real history: it agrees with the chain, and whatever is altered in it is noticed and named."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bench.pool_rounds import some_weights
from devchain.chain.blocks import StoredReceipt
from linklearner.chain.answers import Log
from linklearner.chain.contracts import COMPLETED, POOL, VAULT, completed, decode_event
from linklearner.domain import events as happened
from linklearner.domain.classifier import classifier
from linklearner.domain.encodings import INT8
from linklearner.domain.errors import Divergence
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.notation import LL_WEI
from linklearner.domain.replay import Replay
from linklearner.domain.rounds import Phase, Terms
from linklearner.domain.shape import Shape
from tests.contracts.task_chain import PER_SECOND, TERMS, TaskChain, address_of, agrees

SPEC = classifier("tiny", Mlp((5, 4, 3)), ("a", "b", "c"))  # 39 weights
GROUPED = SPEC.shape(12, 8, 2, 3000)  # five pages, three groups; long updates are scaled down
FLAT = SPEC.shape(12, 40, 1, 2**20)
BARE = dataclasses.replace(
    TERMS, min_round_seconds=1, round_seconds=30, drop_seconds=31, stake_seconds=7, settler_bps=0
)


OF_EVIDENCE = (
    happened.ExamplesCommitted,
    happened.BatchOpened,
    happened.UpdateJudged,
    happened.UpdateCommitted,
    happened.BondPut,
    happened.BondForfeited,
    happened.BondClaimed,
    happened.BondReturned,
    happened.PayNamed,
    happened.PaySetAside,
    happened.RoundsHandedIn,
    happened.UpdateCredited,
    happened.PayReturned,
)
"""Of tasks by another rule: tests/contracts/test_evidence_rounds.py, test_sealed_rounds.py and test_pay_later.py."""


def events_of(receipt: StoredReceipt, block: int, world: Any, time_s: int = 0) -> list[happened.Event]:
    """One transaction as the replay wants it."""
    data = receipt.transaction.data
    found = [
        decode_event(
            Log(log.address, tuple(log.topics), log.data, block, index, receipt.transaction.hash),
            POOL if log.address == world.pool else VAULT,
        )
        for index, log in enumerate(receipt.logs)
        if log.address in (world.pool, world.vault)
    ]
    return [
        dataclasses.replace(completed(event, data) if type(event) in COMPLETED else event, time_s=time_s)
        for event in found
        if event is not None
    ]


def lived() -> TaskChain:
    """Tasks of several creators side by side, and every event there is, most of them in more than one situation."""
    world = TaskChain.deployed(9)
    grouped = world.open_task(
        1, GROUPED, stakes=[500, 400, 300], pot=500 * LL_WEI, model=SPEC.to_json(), pages_per_call=2
    )
    bare = world.open_task(2, FLAT, BARE, stakes=[10, 10], weights=some_weights(FLAT, 2))
    world.call(5, POOL, "fund", bare, 3 * LL_WEI)
    world.wait(5)
    world.call(0, POOL, "grant", grouped, PER_SECOND * 5)
    world.call(6, POOL, "shareFees", bare, 1001)  # nobody to share it: to the pot
    # round 1 of both
    world.submit(1, world.update(grouped, GROUPED, 1), GROUPED)
    world.submit(1, world.update(bare, FLAT, 5, encoding=INT8, shift=-3), FLAT)
    world.call(4, VAULT, "lock", grouped, 1000)
    world.call(2, VAULT, "unlock", grouped, 15)  # without an update in the round: leaves at once
    world.submit(2, world.update(grouped, GROUPED, 9, shift=-1), GROUPED)
    world.call(2, VAULT, "unlock", grouped, 20)  # with one: leaves with the next round
    world.submit(3, world.update(grouped, GROUPED, 3, pages=[0, 4], encoding=INT8), GROUPED)
    world.submit(2, world.update(bare, FLAT, 7), FLAT)
    world.wait(40)
    world.settle(3, bare, FLAT)
    world.settle(5, grouped, GROUPED)
    # fees, shared by contributions and stake; stake that counts only later
    world.call(6, POOL, "shareFees", grouped, 7 * LL_WEI + 1)
    world.call(1, POOL, "claim", grouped)
    world.call(2, VAULT, "claim", grouped)
    world.wait(210)
    world.drop(7, grouped)  # an empty round, for the stake of 4 that has ripened
    world.call(4, VAULT, "mature", grouped)
    world.call(6, POOL, "shareFees", grouped, LL_WEI)
    world.call(4, VAULT, "claim", grouped)
    world.call(2, VAULT, "withdraw", grouped)
    # a round of which only a part is merged
    world.submit(4, world.update(grouped, GROUPED, 11), GROUPED)
    world.submit(1, world.update(grouped, GROUPED, 12, encoding=INT8), GROUPED)
    world.wait(61)
    world.settle_group(6, grouped, GROUPED, 0)
    world.call(3, VAULT, "unlock", grouped, 30)  # Omega stays while the round is being merged
    world.settle_group(7, grouped, GROUPED, 1)
    world.wait(600)
    world.drop(7, grouped)
    # a round that is left, and one that is settled for what is there
    world.submit(2, world.update(grouped, GROUPED, 21), GROUPED)
    world.wait(600)
    world.drop(1, grouped)
    world.call(8, VAULT, "lock", grouped, 12)
    world.call(8, VAULT, "lock", grouped, 5)
    world.call(8, VAULT, "unlock", grouped, 3)
    world.submit(2, world.update(grouped, GROUPED, 22), GROUPED)
    world.submit(3, world.update(grouped, GROUPED, 23), GROUPED)
    world.call(0, POOL, "grant", grouped, PER_SECOND * 100)
    world.call(1, POOL, "closeTask", grouped)  # its last round is the open one
    world.submit(1, world.update(grouped, GROUPED, 24), GROUPED)
    world.submit(4, world.update(grouped, GROUPED, 25), GROUPED)
    world.wait(30)
    world.settle(2, grouped, GROUPED)
    world.call(6, POOL, "shareFees", grouped, 5 * LL_WEI)
    for who in (1, 2, 3):
        world.call(who, POOL, "claim", grouped)
    world.call(3, VAULT, "claim", grouped)
    world.call(3, VAULT, "unlock", grouped, 270)
    world.wait(100)
    world.call(3, VAULT, "withdraw", grouped)
    world.call(2, POOL, "closeTask", bare)  # at once: its round is empty
    world.call(6, POOL, "shareFees", bare, 10**6)
    early = world.number(POOL, "nextTask")
    world.call(3, POOL, "openTask", early, FLAT.encode(), "{}", dataclasses.astuple(BARE))
    world.call(3, POOL, "fund", early, 9)
    world.call(3, POOL, "closeTask", early)  # before it has weights
    return world


@pytest.fixture(scope="module")
def world() -> Iterable[TaskChain]:
    world = lived()
    yield world
    world.chain.close()


@pytest.fixture(scope="module")
def history(world: TaskChain) -> list[happened.Event]:
    return world.history()


def replayed(world: TaskChain, events: Iterable[happened.Event]) -> Replay:
    result = world.replay()
    for event in events:
        result.feed(event)
    result.finish()
    return result


def test_an_honest_history_replays_to_what_is_on_the_chain(world: TaskChain, history: list[happened.Event]) -> None:
    result = replayed(world, history)
    assert {type(event) for event in history} == {
        kind for kind in vars(happened).values() if isinstance(kind, type) and issubclass(kind, happened.Event)
    } - {happened.Event, *COMPLETED, *OF_EVIDENCE}
    agrees(world, result)
    assert result.emitted == 105 * PER_SECOND


def test_the_history_has_what_it_is_for(world: TaskChain, history: list[happened.Event]) -> None:
    """The fixture's situations came about: scaled-down updates, a half-merged drop, a refund, fees to all three."""
    submitted = [event for event in history if isinstance(event, happened.UpdateSubmitted)]
    assert any(event.effective < event.weight for event in submitted)
    assert any(event.effective == event.weight for event in submitted)
    versions = {e.transaction for e in history if isinstance(e, happened.ModelUpdated)}
    dropped = [event.transaction in versions for event in history if isinstance(event, happened.RoundDropped)]
    assert dropped == [False, True, False]
    shared = [event for event in history if isinstance(event, happened.FeesShared)]
    assert any(event.to_contributors and event.to_stake and not event.to_pot for event in shared)
    assert any(event.to_pot for event in shared)
    assert [event.refund > 0 for event in history if isinstance(event, happened.TaskClosed)] == [True, True, True]
    assert all(task.phase is Phase.CLOSED for task in replayed(world, history).tasks.values())


# ── Whatever is altered ──────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(world: TaskChain, events: list[happened.Event]) -> Any:
    """Where the history ends, or the field in which it diverges."""
    try:
        tasks = replayed(world, events).tasks
    except Divergence as divergence:
        assert divergence.facts.keys() == {"block", "transaction", "field"}
        return divergence.facts["field"]
    return {
        n: (t.version, t.digest, t.running, t.phase, t.ledger, t.terms, t.shares, t.flows, t.creator)
        for n, t in tasks.items()
    }


def altered(value: Any) -> Any:
    """Something else of the same type."""
    match value:
        case bool():
            return None
        case None:  # a salt, where no update is sealed
            return bytes(32)
        case int():
            return value + 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:] if value else b"\1"
        case str():
            return value + " "
        case Terms():
            return dataclasses.replace(value, reward=value.reward + 10**9)
        case tuple():
            if value and isinstance(value[0], happened.Settlement):
                return value[1:]
            return (*value[:-1], altered(value[-1])) if value else (b"\1",)
    raise TypeError(type(value))


def test_whatever_is_altered_in_a_history_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    """At once, or in the state it ends in where nothing that followed depended on it, which the books and the chain's views belie."""
    honest = outcome(world, history)
    # who sent it, and what a text says
    free = {("SettlerPaid", "settler"), ("TaskOpened", "model"), ("PotFunded", "funder")}
    late = set()
    for index, event in enumerate(history):
        for field in dataclasses.fields(event):
            if field.name in ("block", "transaction", "time_s") or (type(event).__name__, field.name) in free:
                continue
            changed = dataclasses.replace(event, **{field.name: altered(getattr(event, field.name))})
            result = outcome(world, [*history[:index], changed, *history[index + 1 :]])
            assert result != honest, (index, event, field.name)
            if not isinstance(result, str):
                late.add((type(event).__name__, field.name))
    assert late <= {
        ("TaskOpened", "creator"),
        ("TaskOpened", "terms"),
        ("PotFunded", "amount"),
        ("StakeLocked", "account"),
        ("StakeLocked", "units"),
        ("StakeUnlocked", "units"),
        ("FeesShared", "to_stake"),
        ("FeesShared", "to_contributors"),
    }


@pytest.mark.parametrize("field", ["block", "transaction"])
def test_what_one_call_says_is_of_one_transaction(world: TaskChain, history: list[happened.Event], field: str) -> None:
    kinds = (happened.ContributionPaid, happened.SettlerPaid, happened.TaskClosed)
    for index, event in enumerate(history):
        if isinstance(event, kinds):
            changed = dataclasses.replace(event, **{field: altered(getattr(event, field))})
            assert outcome(world, [*history[:index], changed, *history[index + 1 :]]) == field


def test_a_time_that_is_altered_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    """From any event on, all later ones by a second as well: pay, maturity, deadlines and the rounds' openings hang on it.

    Backwards at once; forwards where anything follows that has a date of its own, or in the state it ends in.
    """
    honest = outcome(world, history)
    for index, event in enumerate(history):
        for seconds in (-10_000, 1):
            later = [dataclasses.replace(one, time_s=one.time_s + seconds) for one in history[index:]]
            result = outcome(world, [*history[:index], *later])
            dated = any(
                isinstance(one, happened.StakeLocked | happened.StakeUnlocked | happened.ContributionPaid)
                for one in history[index:]
            )
            if dated or (seconds < 0 and index):
                assert result != honest, (index, event, seconds)


def test_each_part_of_a_settlement_is_compared(world: TaskChain, history: list[happened.Event]) -> None:
    index = next(i for i, event in enumerate(history) if isinstance(event, happened.GroupSettled))
    event = history[index]
    assert isinstance(event, happened.GroupSettled)
    for field in dataclasses.fields(happened.Settlement):
        first = dataclasses.replace(event.updates[0], **{field.name: altered(getattr(event.updates[0], field.name))})
        changed = dataclasses.replace(event, updates=(first, *event.updates[1:]))
        with pytest.raises(Divergence) as divergence:
            replayed(world, [*history[:index], changed])
        assert divergence.value.facts["field"] == f"updates[0].{field.name}"
        assert divergence.value.facts["block"] == str(event.block)


def test_what_is_left_out_of_a_history_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    honest = outcome(world, history)
    for index in range(len(history)):
        assert outcome(world, [*history[:index], *history[index + 1 :]]) != honest, history[index]


def test_what_is_told_twice_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    honest = outcome(world, history)
    for index in range(len(history)):
        assert outcome(world, [*history[: index + 1], *history[index:]]) != honest, history[index]


def test_another_pool_or_chain_has_another_running_hash(world: TaskChain, history: list[happened.Event]) -> None:
    ours = replayed(world, history)
    for chain_id, pool in ((1, world.pool), (world.chain.config.chain_id, bytes(20))):
        other = Replay(chain_id, pool, world.emission())
        for event in history:
            other.feed(event)
        assert all(other.tasks[n].running != ours.tasks[n].running for n in ours.tasks)


def test_a_history_may_not_begin_in_the_middle(world: TaskChain, history: list[happened.Event]) -> None:
    for index in (1, 5, len(history) - 2):
        with pytest.raises(Divergence, match="opened"):
            replayed(world, history[index:])


def test_a_shape_that_the_chain_cannot_have_taken_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    first = history[0]
    assert isinstance(first, happened.TaskOpened)
    with pytest.raises(Divergence):
        world.replay().feed(dataclasses.replace(first, shape=b""))
    with pytest.raises(Divergence):  # by the number of weights that were loaded
        replayed(world, [dataclasses.replace(first, shape=Shape(FLAT.tensors[:-1], 40, 1, 1).encode()), *history[1:]])


@pytest.mark.parametrize(
    "model", ["{}", "", "[" * 5000, "\ufffd", SPEC.to_json().replace(SPEC.graph.digest.hex(), "00" * 32)]
)
def test_a_model_text_that_says_nothing_stops_no_replay(
    world: TaskChain, history: list[happened.Event], model: str
) -> None:
    """The chain keeps any text: whoever opens a task with a bad one must not stop everybody's verify."""
    first = history[0]
    assert isinstance(first, happened.TaskOpened)
    assert replayed(world, [dataclasses.replace(first, model=model), *history[1:]]).tasks[first.task].model is None


# ── What the chain's rules do not let happen, as a chain would tell it that lets it happen ───────────────────────────────


def first_of(history: list[happened.Event], kind: type[happened.Event], accept: Callable[[Any], bool]) -> int:
    return next(i for i, event in enumerate(history) if isinstance(event, kind) and accept(event))


def test_a_settlement_or_drop_that_comes_too_early_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    """The same calls a second before they are allowed, all later ones shifted with them: the time is what differs, not the pay."""
    for kind, index in (
        ("settled", first_of(history, happened.GroupSettled, lambda e: e.task == 2)),
        ("settled by quorum", first_of(history, happened.GroupSettled, lambda e: e.task == 1)),
        ("dropped", first_of(history, happened.RoundDropped, lambda e: e.task == 1)),
        ("half merged", first_of(history, happened.RoundDropped, lambda e: e.round == 3) - 1),
    ):
        before = history[index - 1].time_s
        early = [dataclasses.replace(event, time_s=before) for event in history[index:]]
        assert outcome(world, [*history[:index], *early]) == "time_s", kind


def test_a_grant_beyond_the_schedule_is_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    index = first_of(history, happened.PotGranted, lambda e: True)
    grant = history[index]
    assert isinstance(grant, happened.PotGranted)
    released = (grant.time_s - world.emission().start_s) * PER_SECOND
    for amount, fits in ((released, True), (released + 1, False)):
        result = outcome(world, [*history[:index], dataclasses.replace(grant, amount=amount)])
        assert (result != "amount") is fits
    # what was granted once is not there again
    again = [dataclasses.replace(grant, amount=released), dataclasses.replace(grant, amount=1)]
    assert outcome(world, [*history[:index], *again]) == "amount"


def test_a_task_that_is_closed_takes_nothing(world: TaskChain, history: list[happened.Event]) -> None:
    end = history[-1]
    where = {"block": end.block, "transaction": end.transaction, "time_s": end.time_s, "task": 1}
    for event in (
        happened.PotFunded(**where, funder=bytes(20), amount=1),
        happened.PotGranted(**where, amount=1),
        happened.StakeLocked(**where, account=address_of(1), units=1, matures_at=0),
        happened.TaskClosing(**where),
        happened.TaskClosed(**where, refund=0),
        happened.RoundDropped(**where, round=7),
        happened.EarningsClaimed(**where, account=address_of(7), pay=0, fees=0),
        happened.StakeMatured(**where, account=address_of(7), units=0),
    ):
        with pytest.raises(Divergence):
            replayed(world, [*history, event])


def test_terms_that_the_pool_refuses_are_noticed(world: TaskChain, history: list[happened.Event]) -> None:
    first = history[0]
    assert isinstance(first, happened.TaskOpened)
    for field, value in (
        ("rule", 9),
        ("quorum_bps", 0),
        ("quorum_bps", 10_001),
        ("max_updates", 0),
        ("max_updates", 1024),  # more than a block holds
        ("min_round_seconds", 0),
        ("min_round_seconds", 61),
        ("drop_seconds", 60),
        ("drop_seconds", 366 * 24 * 3600 + 1),
        ("stake_seconds", 0),
        ("min_stake", 2**38 + 1),
        ("settler_bps", 10_001),
        ("server_bps", 5_001),
    ):
        terms = dataclasses.replace(first.terms, **{field: value})
        with pytest.raises(Divergence) as divergence:
            world.replay().feed(dataclasses.replace(first, terms=terms))
        assert divergence.value.facts["field"] == "terms"
