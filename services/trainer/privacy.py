"""Differential privacy of what leaves: how updates are noised, what each spends, and who stops when the budget is spent.

Two mechanisms, both local (the chain shows every update, so each must protect by itself), and one budget a task:

    sgd      DP-SGD (Abadi et al. 2016): each local step draws samples by Poisson sampling, clips what each of them gives to
             `dp_max_grad_norm` and adds noise. Protects each sample: with it or without it, the updates are nearly as likely.
    update   local training as it is, then the delta clipped to `dp_max_update_norm` and noised once. Protects the whole data set at
             once, and costs no time; but all of it must drown in the noise, so it needs many contributors or few weights. Two deltas
             that are C long lie up to 2C apart: that is the sensitivity, and the noise is a multiple of it.

Post-processing costs nothing, and everything behind the noise is that: the optimiser, the quantiser, its choice of pages and shifts,
and error feedback. The residual is r' = (D + r) - Q(D + r), a function of noised deltas D alone as long as the first r is; so what is
carried under privacy lives under a scope of its own in the journal, and a residual or an update from a time without it is neither
carried nor sent (`PRIVATE_SCOPE`).

Logit adjustment asks for the local label counts, which is a question about the samples. Under `sgd` it gets counts with Gaussian noise,
drawn once a task, counted and kept; under `update` the noise on the delta covers whatever the training did.

What is not covered: how many samples there are; when updates come; what is measured on held-out samples and shown to whoever may call
this trainer. Several tasks with the same samples have a budget each, which add up; so do several state folders.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import Exhausted, InvalidConfig, NotFinite, OutOfRange
from linklearner.domain.training import PrivacySpent
from linklearner.settings import Between, Settings
from services.trainer import accountant
from services.trainer.accountant import Mechanism
from services.trainer.ledger import BUDGET_SPENT, Budget, Overspent, PrivacyLedger, Reservation
from services.trainer.noise import SecureRandom
from services.trainer.recipe import Recipe

PRIVATE_SCOPE: Final = "/private"
"""Behind the scope of a journal's entries that come from noised numbers only."""
COUNT_NOISE: Final = 8.0
"""Noise multiplier of the label counts: one sample changes one of them by 1. Together they cost what 1/64 of a step without sampling and
with noise 1 does: half a hundredth of epsilon 8."""
LEAST_COUNT: Final = 1.0
"""What a noised count is raised to: a label that seems not to be there stays possible, and so does its logarithm."""
MOST_ROUNDS: Final = 2**20

Epsilon = Annotated[float, Between(0.01, 1000.0)]
Delta = Annotated[float, Between(1e-15, 0.1)]
Norm = Annotated[float, Between(1e-6, 1e6)]
Noise = Annotated[float, Between(0.0, 1000.0)]
Rounds = Annotated[int, Between(1, MOST_ROUNDS)]


@dataclass(frozen=True, kw_only=True)
class NoPrivacy(Settings):
    """Updates leave as they are trained."""


@dataclass(frozen=True, kw_only=True)
class DpSgd(Settings):
    """DP-SGD, in Opacus's terms."""

    NAME: ClassVar = "sgd"

    dp_epsilon: Epsilon = 8.0
    """The budget of one task: training stops before more than this is spent. Smaller protects more."""
    dp_delta: Delta = 1e-5
    """Probability that epsilon does not hold; must be less than 1 in as many as there are samples."""
    dp_max_grad_norm: Norm = 1.0
    """The gradient of each sample is clipped to this length."""
    dp_noise_multiplier: Noise = 0.0
    """Standard deviation of the noise over dp_max_grad_norm; 0: what spreads dp_epsilon over dp_rounds rounds."""
    dp_rounds: Rounds = 8
    """Rounds that dp_epsilon is to last for, with the trainer's steps and batch size; unused where a noise multiplier is given."""

    @property
    def clip_norm(self) -> float:
        return self.dp_max_grad_norm

    def sampling(self, sample_count: int, recipe: Recipe) -> tuple[float, int]:
        """Which share of the samples a step draws, and how many steps a round has."""
        return min(1.0, recipe.batch_size / sample_count), recipe.step_count

    def beside(self) -> tuple[Mechanism, ...]:
        """What is spent once, whatever the rounds are."""
        return (Mechanism(1.0, COUNT_NOISE, 1),)


@dataclass(frozen=True, kw_only=True)
class DpUpdate(Settings):
    """Clipping and noise on each whole update."""

    NAME: ClassVar = "update"

    dp_epsilon: Epsilon = 8.0
    """The budget of one task: training stops before more than this is spent. Smaller protects more."""
    dp_delta: Delta = 1e-5
    """Probability that epsilon does not hold; must be less than 1 in as many as there are samples."""
    dp_max_update_norm: Norm = 1.0
    """Each delta is clipped to this length, in real units."""
    dp_noise_multiplier: Noise = 0.0
    """Standard deviation of the noise over twice dp_max_update_norm; 0: what spreads dp_epsilon over dp_rounds rounds."""
    dp_rounds: Rounds = 8
    """Rounds that dp_epsilon is to last for; unused where a noise multiplier is given."""

    @property
    def clip_norm(self) -> float:
        return self.dp_max_update_norm

    def sampling(self, sample_count: int, recipe: Recipe) -> tuple[float, int]:
        """All samples, once a round."""
        return 1.0, 1

    def beside(self) -> tuple[Mechanism, ...]:
        return ()


PrivacySettings = NoPrivacy | DpSgd | DpUpdate
OFF: Final = NoPrivacy()
PRIVACY: Final[dict[str, type[Settings]]] = {"off": NoPrivacy, DpSgd.NAME: DpSgd, DpUpdate.NAME: DpUpdate}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateSteps:
    """How the steps of a local training are noised."""

    sample_rate: float
    max_grad_norm: float
    noise_multiplier: float
    most: int
    """Steps that are counted: a training that would take one more is a bug, and ends."""
    label_counts: NDArray[np.float64] | None
    """(labels,) float64, noised and at least LEAST_COUNT; None: the training adjusts no logits."""
    random: SecureRandom


@dataclass(frozen=True, slots=True)
class ProtectedRound:
    """One training, counted: what it may do, and what is spent when its update is there."""

    steps: PrivateSteps | None
    """None: the training itself is not noised, and the delta is."""
    spent: PrivacySpent
    reservation: Reservation
    random: SecureRandom
    kind: tuple[str, float, Mechanism]
    """How it is noised, clipping included: two trainings with another kind are not the same."""

    def protected(self, delta: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) float64: the delta as it may be used. Raises NotFinite."""
        if self.steps is not None:
            return delta
        return noised_update(delta, self.spent.clip_norm, self.spent.noise_multiplier, self.random)


def check_delta(settings: DpSgd | DpUpdate, sample_count: int) -> None:
    """Raises InvalidConfig for a delta that promises nothing."""
    if settings.dp_delta * sample_count >= 1:
        raise InvalidConfig(
            f"dp_delta must be less than 1/{sample_count} for {sample_count} samples, got {settings.dp_delta:g}: with it, one "
            f"sample in {1 / settings.dp_delta:.0f} may be shown to everybody",
            facts={"setting": "dp_delta"},
        )


class Privacy:
    """One data set's protection: settings, ledger, and randomness that nobody else has."""

    def __init__(
        self, settings: DpSgd | DpUpdate, ledger: PrivacyLedger, sample_count: int, random: SecureRandom | None = None
    ) -> None:
        """Raises InvalidConfig for a delta that promises nothing."""
        check_delta(settings, sample_count)
        self._settings = settings
        self._ledger = ledger
        self._sample_count = sample_count
        self._random = random or SecureRandom()
        self._budget = Budget(settings.dp_epsilon, settings.dp_delta)

    def check_steps(self, wanted: Recipe, own: Recipe) -> None:
        """Raises OutOfRange for a round with other steps than the trainer's own where they are what is counted: a caller who begins rounds
        of ever other lengths, and leaves them, would have a share counted for each that no other round can use.
        """
        if self._settings.sampling(self._sample_count, wanted) != self._settings.sampling(self._sample_count, own):
            raise OutOfRange(
                f"under differential privacy a round has the trainer's own {own.step_count} steps, for which its noise is chosen, not "
                f"{wanted.step_count}: leave the number out, or set LINKLEARNER_TRAINER_STEPS",
                reason="StepsAreCounted",
            )

    def begin(
        self, place: str, label_counts: NDArray[np.int64] | None, recipe: Recipe, base_version: int
    ) -> ProtectedRound:
        """Counts a training that is about to begin. Nothing of it may be kept or sent unless this has returned.

        label_counts: (labels,), of which noised ones are made; None: no logits are adjusted. Raises Exhausted, reason PrivacyBudgetSpent,
        OutOfRange for rounds that no noise makes fit, Unavailable, DataLoss.
        """
        settings, mechanism = self._settings, self._mechanism(recipe)
        try:
            counts = None
            if isinstance(settings, DpSgd) and label_counts is not None and recipe.logit_adjustment:
                noised = label_counts + COUNT_NOISE * self._random.gaussian(len(label_counts))
                counts = self._ledger.label_counts(place, noised, COUNT_NOISE, self._budget).clip(min=LEAST_COUNT)
            reservation = self._ledger.reserve(place, mechanism, self._budget, base_version)
        except Overspent as spent:
            raise self._refusal(spent.spent, spent.wanted) from spent
        steps = None
        if isinstance(settings, DpSgd):
            steps = PrivateSteps(
                sample_rate=mechanism.sample_rate,
                max_grad_norm=settings.clip_norm,
                noise_multiplier=mechanism.noise_multiplier,
                most=mechanism.steps,
                label_counts=counts,
                random=self._random,
            )
        return ProtectedRound(
            steps=steps,
            spent=self._spent(place, mechanism, reservation.epsilon),
            reservation=reservation,
            random=self._random,
            kind=(settings.NAME, settings.clip_norm, mechanism),
        )

    def close(self, round: ProtectedRound, digest: bytes) -> None:
        """The round's one update is made, and is held: to be said before it is sent. Raises DataLoss, Unavailable."""
        self._ledger.close(round.reservation, digest)

    def may_leave(self, place: str, digest: bytes) -> bool:
        """Whether an update that is held was counted as the one of its round."""
        return self._ledger.closed_by(place, digest)

    def spent(self, place: str, recipe: Recipe) -> PrivacySpent:
        """What is spent so far, by all trainings that were counted."""
        return self._spent(place, self._mechanism(recipe))

    def check(self, place: str, recipe: Recipe) -> None:
        """Raises Exhausted, reason PrivacyBudgetSpent, where no further round fits into the budget."""
        spent = self.spent(place, recipe)
        if not spent.rounds_left:
            one_more = accountant.epsilon((*self._ledger.spent(place), self._mechanism(recipe)), self._budget.delta)
            raise self._refusal(spent.epsilon, one_more)

    def _mechanism(self, recipe: Recipe) -> Mechanism:
        """Of one round. Raises OutOfRange."""
        settings = self._settings
        rate, steps = settings.sampling(self._sample_count, recipe)
        noise = settings.dp_noise_multiplier or accountant.noise_for(
            settings.dp_epsilon,
            settings.dp_delta,
            sample_rate=rate,
            steps=steps * settings.dp_rounds,
            beside=settings.beside(),
        )
        return Mechanism(rate, noise, steps)

    def _spent(self, place: str, mechanism: Mechanism, so_far: float | None = None) -> PrivacySpent:
        """so_far: epsilon with a training under way, which uses the share that is open; None: there is none under way."""
        counted = self._ledger.spent(place)
        epsilon = accountant.epsilon(counted, self._budget.delta) if so_far is None else so_far
        unused = so_far is None and self._ledger.has_open(place, mechanism)
        return PrivacySpent(
            mechanism=self._settings.NAME,
            epsilon=epsilon,
            delta=self._budget.delta,
            epsilon_budget=self._budget.epsilon,
            noise_multiplier=mechanism.noise_multiplier,
            clip_norm=self._settings.clip_norm,
            rounds_left=self._rounds_left(counted, mechanism, unused),
        )

    def _rounds_left(self, counted: tuple[Mechanism, ...], mechanism: Mechanism, unused: bool) -> int:
        """How many more rounds like this fit; unused: one more, whose share is counted already. At most MOST_ROUNDS beside it."""

        def fits(rounds: int) -> bool:
            more = Mechanism(mechanism.sample_rate, mechanism.noise_multiplier, mechanism.steps * rounds)
            return accountant.epsilon((*counted, more), self._budget.delta) <= self._budget.epsilon

        if accountant.epsilon(counted, self._budget.delta) > self._budget.epsilon:
            return 0
        low, high = 0, 1
        while high <= MOST_ROUNDS and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low + unused

    def _refusal(self, spent: float, wanted: float) -> Exhausted:
        budget = self._budget
        return Exhausted(
            f"the privacy budget of this task is spent: {spent:.2f} of epsilon {budget.epsilon:g} at delta {budget.delta:g}, and one more "
            f"round would make it {wanted:.2f}. Nothing is trained on these samples any more, and nothing of them leaves. A greater "
            "LINKLEARNER_TRAINER_DP_EPSILON goes on and protects them less; other samples have a budget of their own in another state "
            "folder (LINKLEARNER_TRAINER_STATE_DIR)",
            reason=BUDGET_SPENT,
            facts={"epsilon": f"{spent:.4f}", "epsilon_budget": f"{budget.epsilon:g}", "delta": f"{budget.delta:g}"},
        )


def noised_update(
    delta: NDArray[np.float64], max_norm: float, noise_multiplier: float, random: SecureRandom
) -> NDArray[np.float64]:
    """(N,) float64: the delta, at most `max_norm` long, with noise of noise_multiplier * 2 * max_norm on each weight. Raises NotFinite."""
    norm = float(np.linalg.norm(delta))
    if not isfinite(norm):
        raise NotFinite("the delta is not finite: lower the learning rate or scale the inputs")
    clipped = delta * min(1.0, max_norm / norm) if norm else delta
    return clipped + 2.0 * max_norm * noise_multiplier * random.gaussian(len(delta))
