"""A rule and an encoding that the product has not: one file a language and rows of the tables, and whole rounds run by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.pool import POOL, TERMS, PoolChain, Reverted, account, address_of
from bench.pool_rounds import PlayedRound, opened, some_weights
from linklearner.domain import gas
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.replay import Replay
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Rule
from linklearner.domain.update import Update
from tests.contracts.test_replay import GROUPED, SPEC, events_of
from tests.seams.chain import FOLDER, extended
from tests.seams.median_of_signs import MEDIAN_OF_SIGNS
from tests.seams.one_bit import ONE_BIT

ROOT = FOLDER.parents[1]
BY_SIGNS = replace(TERMS, rule=MEDIAN_OF_SIGNS.number)


@pytest.fixture(scope="module")
def extended_pool() -> Iterator[PoolChain]:
    with extended():
        world = PoolChain.deployed(8)
    yield world
    world.chain.close()


@pytest.fixture
def world(extended_pool: PoolChain) -> Iterator[PoolChain]:
    with extended():
        yield extended_pool


def begin(world: PoolChain, rule: Rule) -> PlayedRound:
    terms = replace(TERMS, rule=rule.number)
    weights = some_weights(GROUPED)
    weights[:6] = 32767  # some cannot go up
    return PlayedRound(world, world.open_task(GROUPED, weights, [500, 40, 300], terms, SPEC.to_json()), GROUPED)


def fill(round_: PlayedRound) -> None:
    """Three updates, one in each encoding."""
    for who, encoding in ((1, ONE_BIT), (2, TWO_BITS), (3, INT8)):
        delta = np.random.default_rng(who).normal(0.0, 0.01, GROUPED.weight_count)
        round_.submit(who, quantise_delta(delta, GROUPED, round_.task, round_.version, encoding).update)


@pytest.mark.parametrize("rule", [MEDIAN_OF_SIGNS, MEAN], ids=lambda rule: rule.name)
def test_a_round_by_either_rule_in_three_encodings(world: PoolChain, rule: Rule) -> None:
    round_ = begin(world, rule)
    base = world.weights(round_.task, GROUPED)
    fill(round_)
    for who, update, weight, effective in round_.accepted:
        norm = update.squared_norm(GROUPED)
        assert effective == rule.verdict(weight, norm, GROUPED.norm_bound), who.hex()
    merged = rule.merge(base, round_.contributions(), 840, GROUPED)
    _, shares = rule.pay(TERMS, [weight for _, _, weight, _ in round_.accepted], 840)
    before = [world.balance(address_of(account(who))) for who in (1, 2, 3)]
    world.chain.set_next_timestamp(world.chain.head.timestamp + TERMS.round_seconds)
    round_.settle(settler=7)
    assert np.array_equal(world.weights(round_.task, GROUPED), merged.weights)
    assert tuple(world.balance(address_of(account(who))) for who in (1, 2, 3)) == tuple(
        had + share for had, share in zip(before, shares, strict=True)
    )


def test_the_second_rule_has_its_own_times(world: PoolChain) -> None:
    round_ = begin(world, MEDIAN_OF_SIGNS)
    fill(round_)  # more than the quorum
    with pytest.raises(Reverted, match="RoundNotOver"):
        round_.settle()
    since = world.status(round_.task)["firstAt"]
    world.chain.set_next_timestamp(since + 2 * BY_SIGNS.drop_seconds - 1)
    with pytest.raises(Reverted, match="NotYetDroppable"):
        world.transact(account(1), "drop", round_.task)
    world.chain.set_next_timestamp(since + 2 * BY_SIGNS.drop_seconds)
    world.transact(account(1), "drop", round_.task)


def test_limits_of_gas_follow_the_rule(world: PoolChain) -> None:
    round_ = begin(world, MEDIAN_OF_SIGNS)
    fill(round_)
    world.chain.set_next_timestamp(world.chain.head.timestamp + TERMS.round_seconds)
    updates = [update for _, update, _, _ in round_.accepted]
    for group in range(GROUPED.group_count):
        data = POOL.encode_call("settle", round_.task, round_.number, group, round_.settlement(group))
        limit = gas.settle_limit(
            data, MEDIAN_OF_SIGNS, updates, GROUPED, group, merged=None, rewarded=True, newly_paid=1
        )
        assert world.send(account(1), world.pool, data).gas_used <= limit


def test_replay_takes_each_task_by_its_own_rule() -> None:
    with extended():
        world = PoolChain.deployed(8)
        for rule in (MEAN, MEDIAN_OF_SIGNS):
            round_ = begin(world, rule)
            fill(round_)
            world.chain.set_next_timestamp(world.chain.head.timestamp + TERMS.round_seconds)
            round_.settle()
        replay = Replay(world.chain.config.chain_id, world.pool)
        for number in range(1, world.chain.head.number + 1):
            for receipt in world.chain.store.receipts(number):
                for event in events_of(receipt, number, world):
                    replay.feed(event)
        replay.finish()
        assert {task: found.version for task, found in replay.tasks.items()} == {1: 2, 2: 2}
        for task, found in replay.tasks.items():
            assert np.array_equal(found.weights, world.weights(task, GROUPED))
        world.chain.close()


def test_the_product_itself_has_neither() -> None:
    world = PoolChain.deployed(3)
    with pytest.raises(Reverted) as reverted:
        opened(world, GROUPED, [10], BY_SIGNS)
    assert (reverted.value.name, reverted.value.values) == ("BadTerms", {"field": "rule"})
    round_ = opened(world, GROUPED, [10, 10])
    update = Update(round_.task, 1, ONE_BIT, (0,) * len(GROUPED.tensors), ())
    with pytest.raises(Reverted, match="NotCanonical"):
        round_.submit(1, update)
    world.chain.close()


def test_a_pool_and_an_aspect_that_do_not_belong_together_say_so() -> None:
    """The pool has the rule, the Aspect has not: its default row speaks, and nothing is merged by another rule."""
    aspect = (ROOT / "src/linklearner/artifacts/aggregator.wasm").read_bytes()
    with extended():
        world = PoolChain.deployed(4, aspect)
        round_ = opened(world, GROUPED, [10, 10], BY_SIGNS)
        with pytest.raises(Reverted, match="NoSuchRule"):
            round_.submit(1)
        world.chain.close()


def test_the_artifacts_are_of_the_sources_that_are_here() -> None:
    manifest = json.loads((FOLDER / "artifacts/MANIFEST.json").read_text())
    for entry in manifest.values():
        for name, digest in entry["sources"].items():
            laid_over = FOLDER / name
            path = laid_over if laid_over.exists() else ROOT / name
            assert _sha256(path) == digest, f"{name} changed since the artifacts were built; run `make artifacts`"
        for name, digest in entry["outputs"].items():
            assert _sha256(FOLDER / "artifacts" / name) == digest, f"{name} is not what the build wrote"


def test_the_second_rule_and_the_third_encoding_are_as_small_as_the_recipes_say() -> None:
    """In each language one file for the rule, one for the encoding, and otherwise only tables."""
    added, replaced = set(), set()
    for path in (*FOLDER.glob("aspects/**/*.ts"), *FOLDER.glob("contracts/**/*.sol")):
        name = path.relative_to(FOLDER)
        (replaced if (ROOT / name).exists() else added).add(str(name))
    assert replaced == {
        "aspects/aggregator/encodings/table.ts",
        "aspects/aggregator/rules/table.ts",
        "contracts/rules/Rules.sol",
    }
    assert added == {
        "aspects/aggregator/encodings/one_bit.ts",
        "aspects/aggregator/rules/median_of_signs.ts",
        "contracts/rules/MedianOfSigns.sol",
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
