"""Tasks by rule `evidence` on the devchain of `task_chain`: examples that can be learnt, and rounds judged beside the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import pairwise

import numpy as np
from eth_hash.auto import keccak

from devchain.chain.blocks import StoredReceipt
from linklearner.chain.abi import Decoded
from linklearner.chain.contracts import POOL, VAULT
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.notation import LL_WEI
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import Terms, commitment, running_seed
from linklearner.domain.rules.evidence.batches import BatchTree, encode_batch
from linklearner.domain.rules.evidence.ledger import PayKind
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, Judgement, judge, steps_of
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.contracts.task_chain import TERMS, TaskChain, address_of

NUMBER = 2
FULL = 1000
"""Q14 nats that earn an account its whole part of a round."""
EVIDENCE = replace(TERMS, rule=NUMBER, max_updates=8)
NETWORK = IntegerNetwork((5, 6, 3), (12,) * 4, 4)
"""57 weights."""
BOND = EVIDENCE.reward
"""The least that there may be, wei."""


def shape_of(network: IntegerNetwork, norm_bound: int = 2**24, page_length: int = 16) -> Shape:
    tensors = tuple(Tensor(n, q) for n, q in zip(network.tensor_lengths, network.exponents, strict=True))
    return Shape(tensors, page_length, 2**12, norm_bound)


def learnable(network: IntegerNetwork, count: int, seed: int) -> Examples:
    """The label is the place of the largest of the first inputs."""
    generator = np.random.default_rng(seed)
    inputs = generator.integers(0, 17, (count, network.widths[0])).astype(np.int16)
    labels = inputs[:, : network.widths[-1]].argmax(axis=1).astype(np.int64)
    return Examples(inputs, labels)


def first_weights(network: IntegerNetwork, seed: int = 3) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, 1500, network.weight_count)).astype(np.int16)


def better(network: IntegerNetwork, base: np.ndarray, seed: int, sign: int = 1) -> np.ndarray:
    """(N,) steps that make the loss on examples of the kind fall (or rise): found by trying."""
    generator = np.random.default_rng(seed)
    examples = learnable(network, 60, seed + 1000)
    tries = generator.normal(0, 250, (200, network.weight_count))
    moved = np.clip(base + np.rint(tries), -(2**15), 2**15 - 1).astype(np.int16)
    losses = examples.losses(network, moved).sum(axis=1)
    found = ((losses.mean() - losses)[:, None] * tries).mean(axis=0)
    return sign * found / np.abs(found).max() * 800


@dataclass
class EvidenceTask:
    """A task whose every opened batch and record is known beside the chain."""

    world: TaskChain
    task: int
    network: IntegerNetwork
    shape: Shape
    batches: list[bytes]
    stakes: Sequence[int]
    tree: BatchTree
    examples: Examples
    """All of the set, in order."""
    sizes: Sequence[int]
    weights: np.ndarray
    records: dict[bytes, int] = field(default_factory=dict)
    opened: int = 0
    sent: list[tuple[int, Update]] = field(default_factory=list)
    sealed: dict[int, tuple[Update, bytes]] = field(default_factory=dict)
    """What each account has committed to, and its salt."""

    @classmethod
    def begun(
        cls,
        world: TaskChain,
        stakes: Sequence[int] = (100, 100, 100),
        terms: Terms = EVIDENCE,
        network: IntegerNetwork = NETWORK,
        sizes: Sequence[int] = (3, 2, 4, 1, 5),
        pot: int = 200 * LL_WEI,
        shape: Shape | None = None,
        weights: np.ndarray | None = None,
        examples: Examples | None = None,
        batches: Sequence[bytes] | None = None,
        pay: PayKind = PayKind.GAIN,
        full: int = FULL,
        reveal_seconds: int = 0,
        bond: int = BOND,
    ) -> EvidenceTask:
        """batches: what is committed, if not the batches of `examples`."""
        shape = shape_of(network) if shape is None else shape
        examples = learnable(network, sum(sizes), 5) if examples is None else examples
        cuts = np.cumsum([0, *sizes])
        batches = [encode_batch(examples[a:b]) for a, b in pairwise(cuts)] if batches is None else list(batches)
        tree = BatchTree(batches)
        weights = first_weights(network) if weights is None else weights
        task = world.number(POOL, "nextTask")
        world.call(1, POOL, "openTask", task, shape.encode(), "{}", astuple(terms))
        commitment = (tree.root, len(sizes), sum(sizes), network.input_exponent, reveal_seconds, bond)
        world.call(1, POOL, "commitExamples", task, *commitment)
        if pay is not PayKind.GAIN:
            world.call(1, POOL, "namePay", task, pay, full)
        for index, units in enumerate(stakes, 1):
            world.call(index, VAULT, "lock", task, units)
        world.call(1, POOL, "loadPages", task, 0, weight_bytes(weights))
        if pot:
            world.call(1, POOL, "fund", task, pot)
        return cls(world, task, network, shape, batches, stakes, tree, examples, sizes, weights.astype(np.int16))

    @property
    def number(self) -> int:
        return int(self.world.status(self.task)["round"])

    def update(self, steps: np.ndarray, encoding: Encoding = INT8) -> Update:
        version = self.world.status(self.task)["version"]
        return quantise_delta(np.ldexp(steps, -12), self.shape, self.task, version, encoding).update

    def submit(self, who: int, steps: np.ndarray, encoding: Encoding = TWO_BITS) -> StoredReceipt:
        update = self.update(steps, encoding)
        receipt = self.world.submit(who, update, self.shape)
        self.sent.append((who, update))
        return receipt

    def play(self, number: int, people: Sequence[int] = (1, 2, 3)) -> None:
        """A round in which everybody works honestly, but every third is a turn of harm by the last of several."""
        for who in people:
            sign = -1 if number % 3 == 2 and len(people) > 1 and who == people[-1] else 1
            self.submit(who, self.work(10 * number + who, sign), (TWO_BITS, INT8)[(number + who) % 2])
        self.close()
        self.open()
        self.settled()

    def commitment(self, who: int, update: Update, salt: bytes) -> bytes:
        seed = running_seed(self.world.chain.config.chain_id, self.world.pool, self.task, self.number)
        return commitment(seed, address_of(who), update.digest(self.shape), salt)

    def commit(self, who: int, steps: np.ndarray, encoding: Encoding = TWO_BITS) -> StoredReceipt:
        update = self.update(steps, encoding)
        salt = bytes(keccak(b"salt %d" % who))
        sealed = self.commitment(who, update, salt)
        receipt = self.world.call(who, POOL, "commitUpdate", self.task, self.number, sealed)
        self.sealed[who] = (update, salt)
        if any(event.values.get("recordLost") for event in events_of(receipt, self.world)):
            self.records[address_of(who)] = 0
        return receipt

    def reveal(self, who: int, update: Update | None = None, salt: bytes | None = None) -> StoredReceipt:
        """What it has committed to, or something else."""
        kept, key = self.sealed[who]
        update, salt = update or kept, salt or key
        groups = list(update.groups(self.shape))
        call = (self.task, update.digest(self.shape), update.header(self.shape), groups, salt)
        receipt = self.world.call(who, POOL, "revealUpdate", *call)
        self.sent.append((who, update))
        self.world.sent.setdefault(self.task, []).append((address_of(who), update))
        return receipt

    def work(self, seed: int, sign: int = 1) -> np.ndarray:
        return better(self.network, self.weights, seed, sign)

    def close(self) -> None:
        """Waits until nobody may submit any more."""
        self.world.wait(EVIDENCE.round_seconds)

    def open(self, who: int = 1, batch: int | None = None) -> StoredReceipt:
        batch = self.opened if batch is None else batch
        receipt = self.world.call(
            who, POOL, "openExamples", self.task, self.number, self.batches[batch], list(self.tree.proof(batch))
        )
        self.opened += 1
        return receipt

    def expected(self) -> Judgement:
        """What Python says of the open round, whose examples are opened."""
        known = sum(self.sizes[: self.opened])
        eligible = self.world.status(self.task)["eligible"]
        return judge(
            self.network,
            self.weights,
            np.stack([steps_of(update, self.shape) for _, update in self.sent]),
            [self.records.get(address_of(who), 0) for who, _ in self.sent],
            [min(self.stakes[who - 1], eligible // 4) for who, _ in self.sent],
            eligible,
            self.examples[:known],
            self.sizes[self.opened - 1],
        )

    def settle(self, settler: int = 2) -> StoredReceipt:
        (receipt,) = self.world.settle(settler, self.task, self.shape)
        self.sent = []
        return receipt

    def settled(self, settler: int = 2) -> tuple[Judgement, list[Decoded]]:
        """Settles the open round, and checks weights, verdicts and records against Python. The events of the transaction."""
        expected, sent = self.expected(), list(self.sent)
        receipt = self.settle(settler)
        events = events_of(receipt, self.world)
        judged = [event.values for event in events if event.name == "UpdateJudged"]
        assert [one["contributor"] for one in judged] == [address_of(who) for who, _ in sent]
        names = ("MERGED", "EMPTY", "NO_RECORD", "NO_GAIN", "GUARDED")
        assert [(one["gain"], one["record"], names[one["outcome"]]) for one in judged] == [
            (verdict.gain, verdict.record, verdict.outcome.name) for verdict in expected.verdicts
        ]
        for (who, _), verdict in zip(sent, expected.verdicts, strict=True):
            self.records[address_of(who)] = verdict.record
            assert self.world.number(POOL, "recordOf", self.task, address_of(who)) == verdict.record
        assert np.array_equal(self.world.weights(self.task, self.shape), expected.weights)
        self.weights = expected.weights
        return expected, events


def events_of(receipt: StoredReceipt, world: TaskChain) -> list[Decoded]:
    decoded = [POOL.decode_log(log.topics, log.data) for log in receipt.logs if log.address == world.pool]
    return [event for event in decoded if event is not None]
