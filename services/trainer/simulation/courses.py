"""Two ways of averaging the same local training: as the chain does, and in floating point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.chain import contracts
from linklearner.domain import gas
from linklearner.domain.encodings import Encoding
from linklearner.domain.errors import InvalidInput, LinkLearnerError
from linklearner.domain.events import Settlement
from linklearner.domain.fixedpoint import dequantise_weights, quantise_weights
from linklearner.domain.plan import TaskPlan
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import influence
from linklearner.domain.update import Update
from services.trainer import training
from services.trainer.data import Samples
from services.trainer.recipe import Recipe
from services.trainer.simulation.executors import Handle

TASK = 1
"""The number that a simulated task has in its updates."""


@dataclass(frozen=True, slots=True)
class Federation:
    """Who takes part in what.

    first: (N,) float32, the first weights. shards: rows of `learn`, one array a contributor. stakes: units of each. seed: of batches.
    frozen: tensors of the model that nobody trains, by name.
    """

    plan: TaskPlan
    first: NDArray[np.float32]
    learn: Samples
    shards: tuple[NDArray[np.int64], ...]
    stakes: tuple[int, ...]
    seed: int
    frozen: Mapping[str, NDArray[np.float32]]

    @property
    def eligible(self) -> int:
        """Omega: everybody's stake counts, whoever is there."""
        return sum(self.stakes)


@dataclass(frozen=True, slots=True)
class Trained:
    """The local training of one contributor: a delta, (N,) float64, if it is averaged in floating point, else an update as bytes.

    residual: (N,) float64, what the update left out. failure: the reason of what went wrong instead.
    """

    delta: NDArray[np.float64] | None = None
    update: bytes = b""
    residual: NDArray[np.float64] | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One contributor's local training in one round, from 0. encoding None: in floating point."""

    federation: Handle[Federation]
    base: Handle[NDArray[np.float32]]
    contributor: int
    round: int
    recipe: Recipe
    encoding: Encoding | None = None
    residual: NDArray[np.float64] | None = None


def trained(job: Job, delta: NDArray[np.float64]) -> Trained:
    """What a job's delta, (N,) float64 in real units, leaves the contributor as. Raises InvalidInput."""
    if job.encoding is None:
        return Trained(delta=delta)
    shape = job.federation.get().plan.shape
    wanted = delta if job.residual is None else delta + job.residual
    quantised = quantise_delta(wanted, shape, TASK, job.round + 1, job.encoding)
    return Trained(update=quantised.update.encode(shape), residual=quantised.residual)


def work(job: Job) -> Trained:
    """Runs on a worker: trains as a trainer does, from the same seeds whoever averages."""
    federation = job.federation.get()
    plan = federation.plan
    samples = federation.learn[federation.shards[job.contributor]]
    seed = (federation.seed, job.contributor, job.round)
    try:
        delta = training.train(
            plan.model, job.base.get(), samples, job.recipe, seed, lambda step, loss: None, federation.frozen
        )
        return trained(job, delta)
    except InvalidInput as error:  # diverged: a trainer says so and submits nothing
        return Trained(failure=error.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What a round of one course came to; counts are 0 where nothing goes to a chain. present, accepted: contributors, in order."""

    present: tuple[int, ...]
    accepted: tuple[int, ...]
    refused: Mapping[str, int]
    submission_gas: int = 0
    settlement_gas: int = 0
    update_bytes: int = 0
    calldata_bytes: int = 0
    saturated: int = 0
    longest: float = 0.0


class Course(ABC):
    """One way of averaging, round after round. `jobs` of a round first, `merge` with the results in their order then."""

    def __init__(self, federation: Federation, recipe: Recipe) -> None:
        self.federation = federation
        self.recipe = recipe
        self.round = 0
        self._eligible = federation.eligible

    @property
    @abstractmethod
    def weights(self) -> NDArray[np.float32]:
        """(N,) float32: the newest version, as local training starts from it and as it is measured."""

    @abstractmethod
    def jobs(
        self, handle: Handle[Federation], base: Handle[NDArray[np.float32]], present: Sequence[int]
    ) -> Iterator[Job]:
        """One for each contributor that is present."""

    @abstractmethod
    def merge(self, present: Sequence[int], results: Iterable[Trained]) -> Merging:
        """Ends the round."""

    def _influence(self, contributor: int) -> int:
        return influence(self.federation.stakes[contributor], self._eligible)


class FloatAveraging(Course):
    """Federated averaging in float64, weighted by stake as the chain weights."""

    def __init__(self, federation: Federation, recipe: Recipe) -> None:
        super().__init__(federation, recipe)
        self._weights = federation.first.astype(np.float64)

    @property
    def weights(self) -> NDArray[np.float32]:
        return self._weights.astype(np.float32)

    def jobs(
        self, handle: Handle[Federation], base: Handle[NDArray[np.float32]], present: Sequence[int]
    ) -> Iterator[Job]:
        for contributor in present:
            yield Job(handle, base, contributor, self.round, self.recipe)

    def merge(self, present: Sequence[int], results: Iterable[Trained]) -> Merging:
        total = np.zeros_like(self._weights)
        accepted, refused, stake = [], Counter[str](), 0
        for contributor, result in zip(present, results, strict=True):
            if result.delta is None:
                refused[result.failure] += 1
                continue
            weight = self._influence(contributor)
            total += weight * result.delta
            stake += weight
            accepted.append(contributor)
        self._weights = self._weights + total / max(stake, self._eligible // 4, 1)
        self.round += 1
        return Merging(present=tuple(present), accepted=tuple(accepted), refused=refused)


@dataclass(slots=True)
class _Accepted:
    """An accepted update, and what is kept of its contributor if it is merged."""

    contribution: Contribution
    encoded: bytes
    contributor: int
    residual: NDArray[np.float64] = field(repr=False)


class OnChain(Course):
    """Quantised updates with error feedback, judged and merged by the task's rule as the chain does."""

    def __init__(
        self,
        federation: Federation,
        recipe: Recipe,
        encoding: Encoding,
        residuals: Path | None = None,
        paid: Iterable[int] = (),
    ) -> None:
        """residuals: a file for them, N float64 a contributor, instead of memory. paid: who has earned something in the task before."""
        super().__init__(federation, recipe)
        plan = federation.plan
        self._encoding = encoding
        self._shape: Shape = plan.shape
        self._rule = rule_of(plan.terms.rule)
        self._weights = quantise_weights(federation.first, self._shape)
        size = (len(federation.shards), self._shape.weight_count)
        self._residuals: NDArray[np.float64] = (
            np.zeros(size) if residuals is None else np.memmap(residuals, np.float64, "w+", shape=size)
        )
        self._paid = set(paid)

    @property
    def weights(self) -> NDArray[np.float32]:
        return dequantise_weights(self._weights, self._shape)

    def jobs(
        self, handle: Handle[Federation], base: Handle[NDArray[np.float32]], present: Sequence[int]
    ) -> Iterator[Job]:
        for contributor in present:
            residual = np.array(self._residuals[contributor])
            yield Job(handle, base, contributor, self.round, self.recipe, self._encoding, residual)

    def merge(self, present: Sequence[int], results: Iterable[Trained]) -> Merging:
        taken: list[_Accepted] = []
        refused, longest, submission_gas, calldata_bytes = Counter[str](), 0.0, 0.0, 0
        for contributor, result in zip(present, results, strict=True):
            if result.residual is None:
                refused[result.failure] += 1
                continue
            try:
                contribution, norm = self._judged(contributor, result.update)
            except LinkLearnerError as error:
                refused[error.reason] += 1
                continue
            longest = max(longest, norm**0.5 / self._shape.norm_bound)
            data = self._submission(contribution.update)
            submission_gas += gas.submit_need(data, contribution.update, self._shape)
            calldata_bytes += len(data)
            taken.append(_Accepted(contribution, result.update, contributor, result.residual))
        merged, settlement_gas, settled_bytes = self._settled(taken)
        for one in taken:
            self._residuals[one.contributor] = one.residual
        self.round += 1
        return Merging(
            present=tuple(present),
            accepted=tuple(one.contributor for one in taken),
            refused=refused,
            submission_gas=round(submission_gas),
            settlement_gas=round(settlement_gas),
            update_bytes=sum(len(one.encoded) for one in taken),
            calldata_bytes=calldata_bytes + settled_bytes,
            saturated=merged.saturated if merged else 0,
            longest=longest,
        )

    def _judged(self, contributor: int, encoded: bytes) -> tuple[Contribution, int]:
        """What a chain makes of an update, and its squared norm. Raises what it refuses it with."""
        terms = self.federation.plan.terms
        if self.federation.stakes[contributor] < max(terms.floor(self._eligible), 1):
            raise InvalidInput("too little stake", reason="BelowMinimumStake")
        update = Update.decode(encoded, self._shape)
        norm = update.checked_norm(self._shape)
        weight = self._influence(contributor)
        effective = self._rule.verdict(weight, norm, self._shape.norm_bound)
        return Contribution(contributor.to_bytes(20), weight, effective, update), norm

    def _settled(self, taken: Sequence[_Accepted]) -> tuple[Merged | None, float, int]:
        """Merges; gas and calldata of all settlements. A round without updates changes nothing."""
        if not taken:
            return None, 0.0, 0
        shape, rule, terms = self._shape, self._rule, self.federation.plan.terms
        contributions = [one.contribution for one in taken]
        merged = rule.merge(self._weights, contributions, self._eligible, shape)
        newly_paid = len({one.contributor for one in taken} - self._paid)
        self._paid |= {one.contributor for one in taken}
        total, size = 0.0, 0
        parts = [(one.update.header(shape), one.update.groups(shape)) for one in contributions]
        digests = [tuple(bytes(keccak(group)) for group in groups) for _, groups in parts]
        for group in range(shape.group_count):
            settlements = [
                Settlement(
                    contributor=one.contributor, weight=one.weight, effective=one.effective, header=header,
                    digests=its_digests, pages=groups[group],
                )
                for one, (header, groups), its_digests in zip(contributions, parts, digests, strict=True)
            ]  # fmt: skip
            data = contracts.settle(TASK, self.round + 1, group, settlements)
            size += len(data)
            total += gas.settle_need(
                data, rule, [one.update for one in contributions], shape, group,
                merged=merged, rewarded=terms.reward > 0, newly_paid=newly_paid,
            )  # fmt: skip
        self._weights = merged.weights
        return merged, total, size

    def _submission(self, update: Update) -> bytes:
        """Calldata."""
        shape = self._shape
        return contracts.submit(
            contracts.Submit(
                task=TASK, digest=update.digest(shape), header=update.header(shape), groups=update.groups(shape)
            )
        )
