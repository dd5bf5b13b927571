"""The limits of what moves stake and money, and of opening a task, by transactions that make as many slots new as they can."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import astuple

import pytest

from bench.pool_rounds import some_weights
from linklearner.chain.abi import Interface
from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain import gas
from linklearner.domain.capacity import most_updates
from linklearner.domain.digest import weight_bytes
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape, Tensor
from tests.contracts.task_chain import TERMS, Reverted, TaskChain, address_of

SMALL = Shape((Tensor(10, 12), Tensor(7, 8), Tensor(20, 12)), 8, 2, 2**20)
FREE = 2.4
"""Half of the limit is charged at least: what a small transaction may cost beyond its use, 1.2 times, in the worst case."""


@pytest.fixture
def world() -> Iterator[TaskChain]:
    world = TaskChain.deployed()
    yield world
    world.chain.close()


def test_small_transactions_fit_their_limits(world: TaskChain) -> None:
    used: dict[str, list[int]] = {}

    def do(name: str, who: int, interface: Interface, function: str, *arguments: object) -> None:
        used.setdefault(name, []).append(world.call(who, interface, function, *arguments).gas_used)

    def poor(who: int) -> None:
        world.call(who, TOKEN, "transfer", address_of(0), world.balance(address_of(who)))

    terms = dataclasses.replace(TERMS, min_round_seconds=1)
    task = world.open_task(1, SMALL, terms, stakes=[50, 40, 30])
    for name, units in (("FIRST_LOCK", 100), ("LOCK", 1)):
        do(name, 5, VAULT, "lock", task, units)
    do("UNLOCK", 5, VAULT, "unlock", task, 1)
    do("UNLOCK", 2, VAULT, "unlock", task, 5)
    for _ in range(2):
        world.wait(500)
        do("GRANT", 0, POOL, "grant", task, LL_WEI)
        do("FUND", 1, POOL, "fund", task, 100 * LL_WEI)
    do("DROP", 4, POOL, "drop", task)
    poor(2)
    do("WITHDRAW", 2, VAULT, "withdraw", task)
    world.call(3, VAULT, "delegate", address_of(3))
    for again in range(2):
        for who in (1, 2, 3, 5):
            world.submit(who, world.update(task, SMALL, who), SMALL)
        world.wait(61)
        world.settle(4, task, SMALL)
        poor(1)
        do("CLAIM", 1, POOL, "claim", task)
        do("SHARE_FEES", 6, POOL, "shareFees", task, LL_WEI)
        do("CLAIM", 2, POOL, "claim", task)
        poor(2)
        do("CLAIM_STAKE_FEES", 2, VAULT, "claim", task)
        do("CLAIM_STAKE_FEES", 1, VAULT, "claim", task)
        do("LOCK", 3, VAULT, "lock", task, 1)
        do("UNLOCK", 3, VAULT, "unlock", task, 5)
        do("LOCK", 5, VAULT, "lock", task, 7)
        do("LOCK" if again else "FIRST_LOCK", 8, VAULT, "lock", task, 7)
        world.wait(300)
        do("DROP", 4, POOL, "drop", task)
        for who in (5, 8):
            do("MATURE", who, VAULT, "mature", task)
            do("UNLOCK", who, VAULT, "unlock", task, 1)
        world.wait(101)
        do("WITHDRAW", 5, VAULT, "withdraw", task)
    world.submit(3, world.update(task, SMALL, 78), SMALL)
    world.call(1, POOL, "closeTask", task)
    world.wait(601)
    poor(1)
    do("DROP", 4, POOL, "drop", task)
    world.call(0, TOKEN, "transfer", address_of(1), 10)
    for stakes, pot in (((0, 0, 10), 5), ((), 5)):
        other = world.open_task(1, SMALL, terms, stakes=stakes, pot=pot)
        do("CLOSE", 1, POOL, "closeTask", other)
    for who in (6, 7):  # nobody has stake there yet
        if who == 7:
            world.call(who, VAULT, "delegate", address_of(who))
        fresh = world.open_task(1, SMALL, terms, stakes=[])
        do("FIRST_LOCK", who, VAULT, "lock", fresh, 5)
        do("LOCK", who, VAULT, "lock", fresh, 5)
        do("FIRST_LOCK", 4, VAULT, "lock", fresh, 5)
    for name, costs in used.items():
        limit = getattr(gas, name)
        assert max(costs) * 1.03 <= limit <= FREE * min(costs), (name, min(costs), max(costs))


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize(
    "shape", [SMALL, Shape((Tensor(16_000, 12),), 16, 500, 2**20)], ids=["few pages", "1,000 pages"]
)
def test_dropping_a_half_merged_round_fits_its_limit(world: TaskChain, shape: Shape, closing: bool) -> None:
    """What is merged is a version: its digest takes those of all pages, which a round that is dropped otherwise does not read."""
    terms = dataclasses.replace(TERMS, max_updates=3)
    task = world.open_task(1, shape, terms, stakes=[100, 100, 100], pot=LL_WEI, pages_per_call=400)
    for who in (1, 2):
        world.submit(who, world.update(task, shape, who, pages=[0, shape.page_count - 1]), shape)
    if closing:  # the creator, who gets the rest of the pot, has nothing yet
        world.call(1, POOL, "closeTask", task)
        world.call(1, TOKEN, "transfer", address_of(0), world.balance(address_of(1)))
    world.wait(61)
    world.settle_group(4, task, shape, 0)
    if not closing:
        world.call(7, VAULT, "lock", task, 5)
    world.wait(TERMS.drop_seconds)
    used = world.drop(7, task).gas_used
    assert world.status(task)["version"] == 2
    assert used <= gas.drop_limit(shape, 1) <= 2 * used
    assert gas.drop_limit(shape, 0) == gas.DROP


@pytest.mark.parametrize("pages_per_call", [1, 3, 100])
@pytest.mark.parametrize("model", ["{}", "x" * 4000], ids=["short", "long"])
def test_opening_and_loading_fit_their_limits(world: TaskChain, pages_per_call: int, model: str) -> None:
    for shape in (SMALL, Shape((Tensor(3000, 12),) * 3, 1024, 9, 2**20), Shape((Tensor(9, 1),) * 200, 256, 4, 2**20)):
        terms = dataclasses.replace(TERMS, max_updates=1)
        task = world.number(POOL, "nextTask")
        data = POOL.encode_call("openTask", task, shape.encode(), model, astuple(terms))
        used = world.send(1, world.pool, data).gas_used
        assert used <= gas.open_limit(data, shape, model) <= 2 * used
        weights = some_weights(shape)
        for first in range(0, shape.page_count, pages_per_call):
            after = min(first + pages_per_call, shape.page_count)
            part = weights[first * shape.page_length : after * shape.page_length]
            data = POOL.encode_call("loadPages", task, first, weight_bytes(part))
            used = world.send(1, world.pool, data).gas_used
            assert used <= gas.load_limit(data, shape, first, after) <= 2 * used


@pytest.mark.parametrize("reward", [0, 100 * LL_WEI])
@pytest.mark.parametrize("closing", [False, True])
def test_rounds_fit_their_limits_with_all_that_the_vault_may_have_to_count(
    world: TaskChain, reward: int, closing: bool
) -> None:
    """Stake that shares for the first time, fees between the rounds, the last round of a task."""
    task = world.open_task(
        1, SMALL, dataclasses.replace(TERMS, reward=reward), stakes=[100, 100, 100], pot=900 * LL_WEI
    )
    earned: set[int] = set()
    for number in (1, 2, 3):
        updates = []
        for who in (1, 2, 3):
            update = world.update(task, SMALL, who + number)
            data = POOL.encode_call(
                "submit", task, update.digest(SMALL), update.header(SMALL), list(update.groups(SMALL))
            )
            used = world.submit(who, update, SMALL).gas_used
            assert used <= gas.submit_limit(data, update, SMALL) < 2 * used
            updates.append(update)
        world.wait(61)
        last = closing and number == 3
        if last:
            world.call(1, POOL, "closeTask", task)
        base = world.weights(task, SMALL)
        for group in range(SMALL.group_count):
            data = world.settlement(task, SMALL, group)
            settled = POOL.decode_call(data).values["updates"]
            pages = SMALL.group_page_range(group)
            merged = MEAN.merge(
                base,
                [
                    Contribution(one["contributor"], one["weight"], one["effective"], update.within(pages, SMALL))
                    for one, update in zip(settled, updates, strict=True)
                ],
                world.status(task)["eligible"],
                SMALL,
            )
            limit = gas.settle_limit(
                data, MEAN, updates, SMALL, group, merged=merged, rewarded=reward > 0,
                newly_paid=len({1, 2, 3} - earned), closing=last,
            )  # fmt: skip
            used = world.send(4, world.pool, data).gas_used
            assert used <= limit <= 2 * used, (number, group)
        world.sent[task] = []
        earned = {1, 2, 3}
        if not last:
            world.call(6, POOL, "shareFees", task, LL_WEI)
            for who in (1, 2, 3):
                world.call(who, VAULT, "lock", task, 10)
            world.wait(200)
            world.drop(7, task)


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        Shape((Tensor(48_000, 12),), 16_384, 3, 1),
        Shape((Tensor(9, 1),) * 200, 256, 4, 1),
        Shape((Tensor(1000, 1),), 64, 3, 1),
    ],
    ids=["small", "large pages", "many tensors", "many groups"],
)
def test_python_and_the_pool_agree_on_how_many_updates_a_block_can_settle(world: TaskChain, shape: Shape) -> None:
    most = most_updates(shape)
    for updates, taken in ((most, True), (most + 1, False)):
        terms = dataclasses.replace(TERMS, max_updates=updates)
        arguments = (world.number(POOL, "nextTask"), shape.encode(), "{}", astuple(terms))
        if taken:
            world.call(1, POOL, "openTask", *arguments)
        else:
            with pytest.raises(Reverted, match="BadTerms"):
                world.call(1, POOL, "openTask", *arguments)
