"""Driving whole rounds of a small task: what the tests of contracts and Aspect share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from eth_hash.auto import keccak

from bench.pool import POOL, POT, TERMS, PoolChain, account, address_of
from devchain.chain.blocks import StoredReceipt
from linklearner.domain.encodings import TWO_BITS, Encoding
from linklearner.domain.rounds import Standing, Step, Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.stakes import influence
from linklearner.domain.update import Update

# 37 weights in five pages of 8 (the last has 5), three groups (2, 2, 1); tensors meet inside pages, and not at multiples of four.
SMALL = Shape((Tensor(10, 12), Tensor(7, 8), Tensor(20, 12)), 8, 2, 2**20)
# The same in one page and group.
FLAT = Shape(SMALL.tensors, 40, 1, 2**20)


def some_weights(shape: Shape, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, shape.weight_count).astype(np.int16)


def some_update(
    shape: Shape,
    task: int,
    base_version: int,
    seed: int = 0,
    encoding: Encoding = TWO_BITS,
    pages: Sequence[int] | None = None,
    shift: int = 3,
) -> Update:
    """A dense update, or one with just these pages."""
    generator = np.random.default_rng(seed)
    present = range(shape.page_count) if pages is None else pages
    touched = {tensor for page in present for tensor, _, _ in shape.segments(page)}
    shifts = tuple(shift if tensor in touched else 0 for tensor in range(len(shape.tensors)))
    values = np.array(encoding.values, dtype=np.int8)
    parts = tuple(
        (page, chosen if chosen.any() else chosen + values[-1])  # a page of zeros is no page
        for page in present
        for chosen in (generator.choice(values, shape.page_weights(page)),)
    )
    return Update(task, base_version, encoding, shifts, parts)


@dataclass
class PlayedRound:
    """The open round of a task, with the updates that were sent to it."""

    world: PoolChain
    task: int
    shape: Shape
    accepted: list[tuple[bytes, Update, int, int]] = field(default_factory=list)

    @property
    def version(self) -> int:
        return int(self.world.status(self.task)["version"])

    @property
    def number(self) -> int:
        return int(self.world.status(self.task)["round"])

    def update(self, seed: int = 0, **options: Any) -> Update:
        return some_update(self.shape, self.task, self.version, seed, **options)

    def submit(self, contributor: int, update: Update | None = None) -> StoredReceipt:
        update = self.update(contributor) if update is None else update
        receipt = self.world.submit(contributor, update, self.shape)
        event = next(event for event in self.world.events(receipt) if event.name == "UpdateAccepted")
        self.accepted.append(
            (address_of(account(contributor)), update, event.values["weight"], event.values["effective"])
        )
        return receipt

    def settlement(self, group: int) -> list[tuple[Any, ...]]:
        """The accepted updates as `settle` takes them."""
        found = []
        for who, update, weight, effective in self.accepted:
            groups = update.groups(self.shape)
            digests = [keccak(part) for part in groups]
            found.append((who, weight, effective, update.header(self.shape), digests, groups[group]))
        return found

    def standing(self) -> Standing:
        status = self.world.status(self.task)
        return Standing(
            version=status["version"], accepted=status["accepted"], present=status["present"], eligible=status["eligible"],
            merged_groups=status["merged"], opened_s=status["openedAt"], first_s=status["firstAt"],
            ripe=self.world.read_vault("changesOf", self.task)["joining"],
        )  # fmt: skip

    def ripen(self) -> None:
        """Waits until the round may be settled."""
        values = self.world.read("termsOf", self.task)["0"]
        terms = Terms(**{re.sub("[A-Z]", lambda c: "_" + c[0].lower(), name): value for name, value in values.items()})
        due = next(due for due in rule_of(terms.rule).due(terms, self.standing()) if due.step is Step.SETTLED)
        self.world.wait_until(due.from_s)

    def settle_group(self, group: int, settler: int = 1, updates: list[tuple[Any, ...]] | None = None) -> StoredReceipt:
        updates = self.settlement(group) if updates is None else updates
        return self.world.transact(account(settler), "settle", self.task, self.number, group, updates)

    def settle(self, settler: int = 1) -> list[StoredReceipt]:
        """All groups, as soon as it may be; then the next round is open and has no updates."""
        self.ripen()
        number = self.number
        receipts = []
        for group in range(self.shape.group_count):
            data = POOL.encode_call("settle", self.task, number, group, self.settlement(group))
            receipts.append(self.world.send(account(settler), self.world.pool, data))
        self.accepted = []
        return receipts

    def contributions(self) -> list[Contribution]:
        return [Contribution(who, weight, effective, update) for who, update, weight, effective in self.accepted]


def expected_verdict(round_: PlayedRound, stake: int, update: Update) -> tuple[int, int]:
    """omega and e as Python computes them for an account with `stake` that counts."""
    weight = influence(stake, round_.world.status(round_.task)["eligible"])
    return weight, MEAN.verdict(weight, update.squared_norm(round_.shape), round_.shape.norm_bound)


def opened(
    world: PoolChain, shape: Shape, stakes: Sequence[int], terms: Terms = TERMS, seed: int = 1, pot: int = POT
) -> PlayedRound:
    return PlayedRound(world, world.open_task(shape, some_weights(shape, seed), stakes, terms, pot=pot), shape)
