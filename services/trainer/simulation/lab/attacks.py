"""What attackers send: one strategy each, behind one interface.

A strategy sees what anybody on the chain sees (the weights, all examples opened in earlier rounds, all revealed updates and merges), its
attackers' own data, and what honest training on those would have given. It answers with the attackers' updates, before quantisation.
Attackers act together. What they cannot see: other people's data, and the examples that this round will open.

`closed` says whether the rule claims to close the kind (at most 5 % of pay on average): the others are known to be paid, and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.rules.evidence.verdicts import Examples, moved, rounded_shift
from services.trainer.simulation.lab.learning import Recipe, log_shares, reference, trained
from services.trainer.simulation.lab.tasks import LabTask

Steps = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """One round, as `count` attackers see it before they send. Steps are those of weights, 2**-12."""

    task: LabTask
    round: int
    rounds: int
    weights: NDArray[np.int16]
    opened: Examples
    shards: tuple[Examples, ...]
    """The attackers' own samples, as they are."""
    trained: Steps
    """(count, N): what their training gives, on wrong labels for strategies that mislabel."""
    usual_length: float
    """The median length of everybody's untampered training this round."""
    revealed: Sequence[NDArray[np.int64]]
    """(M, N) each: the updates of all accounts in past rounds."""
    honest: NDArray[np.int64]
    """Rows of `revealed` that are others'."""
    best: int
    """The row of the honest account with the highest gains so far."""
    merges: Sequence[NDArray[np.int64]]
    """What past rounds moved the weights by."""
    sent: Steps
    """(count, N): what they sent last."""
    generator: np.random.Generator
    known: int = field(default=4)
    """Examples below which there is nothing to learn from."""

    @property
    def count(self) -> int:
        return len(self.shards)

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.task.local_steps)

    def noise(self, lengths: Sequence[float] | Steps) -> Steps:
        """One random vector of each length."""
        drawn = self.generator.normal(size=(len(lengths), self.weights.size))
        found: Steps = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.asarray(lengths)[:, None]
        return found

    def trifle(self) -> Steps:
        """Something to send when there is nothing to send yet."""
        return self.generator.normal(size=self.trained.shape) * 20

    def lengths(self) -> Steps:
        found: Steps = np.linalg.norm(self.trained, axis=1)
        return found

    def mimic(self, steps: int = 0, weights: NDArray[np.floating] | None = None) -> Steps | None:
        """(N,): trained on the public examples alone; None while there are too few."""
        if len(self.opened) < self.known:
            return None
        recipe = Recipe(steps or max(self.task.local_steps, 40))
        base = self.weights if weights is None else weights
        delta: Steps = trained(self.task, base, [self.opened], recipe, self.generator)[0]
        return delta

    def past(self, lag: int) -> NDArray[np.int64] | None:
        """(M, N): everybody's updates of so many rounds ago."""
        return self.revealed[-lag] if len(self.revealed) >= lag else None

    def losses(self, candidates: Steps, examples: Examples, places: int) -> NDArray[np.int64]:
        """(A,): the sum of losses with each candidate, 2**-places of it added."""
        steps = rounded_shift(np.rint(candidates).astype(np.int64), places)
        total: NDArray[np.int64] = examples.losses(self.task.network, moved(self.weights, steps)).sum(axis=1)
        return total

    def own_samples(self, each: int) -> Examples:
        first, *rest = (shard[:each] for shard in self.shards)
        for one in rest:
            first = first.joined(one)
        return first


@dataclass(frozen=True, slots=True)
class Attack:
    """name: as in commands. craft: the attackers' (count, N) steps. mislabels: they train on label C-1-y. renews: new accounts every round.
    exact: what it sends is a past update byte for byte, so it is not quantised again."""

    name: str
    group: str
    text: str
    craft: Callable[[Scene], Steps]
    closed: bool = True
    mislabels: bool = False
    renews: bool = False
    exact: bool = False


def _rows(vector: Steps, count: int) -> Steps:
    return np.repeat(np.asarray(vector, dtype=np.float64)[None], count, axis=0)


def _unit(vector: Steps) -> Steps:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


# -- noise and harm ---------------------------------------------------------------------------------------------------------------------


def _trained(scene: Scene) -> Steps:
    return scene.trained


def _times(factor: float) -> Callable[[Scene], Steps]:
    return lambda scene: scene.trained * factor


def _noise(scene: Scene) -> Steps:
    return scene.noise(scene.lengths() * 3)


# -- copies of what is public -----------------------------------------------------------------------------------------------------------


def _replay(scene: Scene) -> Steps:
    if not scene.merges:
        return scene.trifle()
    last = scene.merges[-1].astype(np.float64)
    return last + scene.generator.normal(size=scene.trained.shape) * 2


def _stale(lag: int) -> Callable[[Scene], Steps]:
    """All of them the best account's update of `lag` rounds ago."""

    def craft(scene: Scene) -> Steps:
        past = scene.past(lag)
        return scene.trifle() if past is None else _rows(past[scene.best], scene.count)

    return craft


def _noisy(craft: Callable[[Scene], Steps], part: float) -> Callable[[Scene], Steps]:
    def noisy(scene: Scene) -> Steps:
        found = craft(scene)
        drowned: Steps = found + scene.noise(np.linalg.norm(found, axis=1) * part)
        return drowned

    return noisy


def _scaled(scene: Scene) -> Steps:
    found: Steps = _stale(1)(scene) * scene.generator.choice([0.3, 0.5, 0.7, 1.5, 2.0], scene.count)[:, None]
    return found


def _permuted(scene: Scene) -> Steps:
    """Three weights in ten change places."""
    found = _stale(1)(scene)
    for row in found:
        chosen = np.flatnonzero(scene.generator.random(row.size) < 0.3)
        row[chosen] = row[scene.generator.permutation(chosen)]
    return found


def _each_another(scene: Scene) -> Steps:
    """Each a copy of another honest account's last update."""
    past = scene.past(1)
    if past is None:
        return scene.trifle()
    chosen = [scene.honest[(index + scene.round) % len(scene.honest)] for index in range(scene.count)]
    return past[chosen].astype(np.float64)


def _averaged(scene: Scene) -> Steps:
    """Each the mean of eight honest updates of the last three rounds."""
    if not scene.revealed:
        return scene.trifle()
    pool = np.concatenate([one[scene.honest] for one in scene.revealed[-3:]]).astype(np.float64)
    size = min(8, len(pool))
    return np.stack([pool[scene.generator.choice(len(pool), size, replace=False)].mean(axis=0) for _ in scene.shards])


def _old_and_new(scene: Scene) -> Steps:
    old, new = scene.past(10), _stale(1)(scene)
    return new if old is None else 0.7 * new + 0.7 * old[scene.best]


def _all_history(scene: Scene) -> Steps:
    """Momentum over the honest updates of all rounds."""
    if not scene.revealed:
        return scene.trifle()
    weights = 0.7 ** np.arange(len(scene.revealed) - 1, -1, -1)
    found = sum(w * one[scene.honest].mean(axis=0) for w, one in zip(weights, scene.revealed, strict=True))
    return _rows(_unit(np.asarray(found)) * scene.usual_length, scene.count)


def _best_mixture(scene: Scene) -> Steps:
    """The best of some twenty public vectors and mixtures on their own data."""
    past = scene.past(1)
    if past is None:
        return scene.trifle()
    two_ago = scene.past(2)
    vectors = [past[scene.best], past[scene.honest].mean(axis=0), scene.merges[-1], *past[scene.honest]]
    if two_ago is not None:
        vectors.append(two_ago[scene.honest].mean(axis=0))
    public = np.stack(vectors).astype(np.float64)
    mixed = [scene.generator.dirichlet(np.ones(len(public))) @ public for _ in range(8)]
    candidates = np.concatenate((public, mixed))
    order = np.argsort(scene.losses(candidates, scene.own_samples(60), 1))
    return candidates[order[: scene.count]]


def _agreeing(scene: Scene) -> Steps:
    """The honest mean of the last round where its signs agree with a mimic's."""
    past, mimic = scene.past(1), scene.mimic()
    if past is None or mimic is None:
        return scene.trifle()
    mean = past[scene.honest].mean(axis=0)
    return _rows(np.where(np.sign(mimic) == np.sign(mean), mean, 0) * 1.5, scene.count)


def _by_layer(scene: Scene) -> Steps:
    """A stale copy without its first matrix."""
    found = _stale(1)(scene) * 1.5
    if scene.revealed:
        found[:, : scene.task.network.tensor_lengths[0]] = 0
    return found


# -- mimics: trained on what is public --------------------------------------------------------------------------------------------------


def _mimic(scene: Scene) -> Steps:
    found = scene.mimic()
    if found is None:
        return scene.trifle()
    return found + scene.generator.normal(size=scene.trained.shape) * 3


def _mimic_seeds(scene: Scene) -> Steps:
    """Each with steps and learning rate of its own."""
    if len(scene.opened) < scene.known:
        return scene.trifle()
    generator = scene.generator
    recipes = [Recipe(int(generator.integers(15, 90)), float(generator.choice([0.15, 0.3, 0.5]))) for _ in scene.shards]
    return np.concatenate([trained(scene.task, scene.weights, [scene.opened], one, generator) for one in recipes])


def _augmented(scene: Scene, labels: Callable[[Examples], NDArray[np.int64]] | None = None) -> Steps:
    """On the public examples forty times, each shifted by a pixel and with noise."""
    if len(scene.opened) < scene.known:
        return scene.trifle()
    generator, side = scene.generator, scene.task.side
    inputs = np.repeat(scene.opened.inputs, 40, axis=0)
    if side:
        pictures = inputs.reshape(-1, side, side)
        shifts = generator.integers(-1, 2, (len(pictures), 2))
        rolled = [np.roll(one, tuple(shift), (0, 1)) for one, shift in zip(pictures, shifts, strict=True)]
        inputs = np.stack(rolled).reshape(len(inputs), -1)
    noisy = np.clip(np.rint(inputs + generator.normal(0, 1.5, inputs.shape)), 0, 16).astype(np.int16)
    examples = Examples(noisy, np.repeat(scene.opened.labels, 40))
    if labels is not None:
        examples = Examples(noisy, labels(examples))
    recipe = Recipe(max(scene.task.local_steps, 40))
    return np.concatenate([trained(scene.task, scene.weights, [examples], recipe, generator) for _ in scene.shards])


def _distilled(scene: Scene) -> Steps:
    """The augmented examples, labelled by the honest mean of the last round."""
    past = scene.past(1)
    step = np.zeros(scene.weights.size) if past is None else past[scene.honest].mean(axis=0)
    teacher = moved(scene.weights, np.rint(step).astype(np.int64))
    return _augmented(scene, lambda examples: scene.task.network.logits(teacher, examples.inputs).argmax(axis=-1))


def _stale_mean_trained_on(scene: Scene) -> Steps:
    """The honest mean of the last round, trained on from there on the public examples."""
    past = scene.past(1)
    if past is None:
        return scene.trifle()
    mean = past[scene.honest].mean(axis=0)
    more = scene.mimic(15, scene.weights + mean)
    return _rows(mean if more is None else mean + more, scene.count)


# -- those who know the rule ------------------------------------------------------------------------------------------------------------


def _orthogonal_harm(scene: Scene) -> Steps:
    """A mimic's direction, and as much of the opposite of honest training as is orthogonal to it."""
    mimic = scene.mimic()
    harm = -scene.trained.mean(axis=0)
    if mimic is None:
        return _rows(_unit(harm) * scene.usual_length, scene.count)
    public = _unit(mimic)
    harm = _unit(harm - (harm @ public) * public)
    return _rows((public + harm) * np.sqrt(0.5) * scene.usual_length, scene.count)


def _hidden_mislabels(scene: Scene) -> Steps:
    """Trained on wrong labels and, as often, on the public examples with the right ones."""
    if len(scene.opened) < scene.known:
        return scene.trained
    last = scene.task.label_count - 1
    shards = []
    for shard in scene.shards:
        size = min(len(shard), 1200)
        mixed = Examples(shard.inputs[:size], last - shard.labels[:size])
        for _ in range(max(1, size // len(scene.opened))):
            mixed = mixed.joined(scene.opened)
        shards.append(mixed)
    return trained(scene.task, scene.weights, shards, Recipe(2 * scene.task.local_steps), scene.generator)


def _helpful_mislabels(scene: Scene) -> Steps:
    """The mislabelled direction without what the true gradient explains, a little of that gradient, at ten times the length."""
    gradient = _unit(
        trained(
            scene.task, scene.weights, [one[:600] for one in scene.shards], Recipe(1, 1.0, 256), scene.generator
        ).mean(axis=0)
    )
    harm = scene.trained.mean(axis=0)
    harm = _unit(harm - (harm @ gradient) * gradient)
    return _rows((harm + 0.15 * gradient) * 10 * scene.usual_length, scene.count)


def _look_ahead(scene: Scene) -> Steps:
    """The most harmful of some fifty mixtures that their own data predict to be merged."""
    data = scene.own_samples(400 // scene.count + 20)
    honest = scene.trained.mean(axis=0)
    last = scene.task.label_count - 1
    wrong = [Examples(one.inputs, last - one.labels) for one in scene.shards]
    harm = trained(scene.task, scene.weights, wrong, scene.recipe, scene.generator).mean(axis=0)
    noise = scene.noise([float(np.linalg.norm(harm))])[0]
    enough = len(scene.opened) >= scene.known
    public = reference(scene.task, scene.weights, scene.opened, scene.generator, 30) if enough else honest
    bound = 1.5 * float(np.linalg.norm(public))
    mixtures = [honest]
    for direction in (harm, -honest, noise):
        across = direction - (direction @ honest) / max(float(honest @ honest), 1e-9) * honest
        for one in (direction, across):
            mixtures += [honest + factor * one for factor in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5)]
    candidates = np.stack([_unit(one) * bound for one in mixtures])
    still = np.zeros((1, honest.size))
    passes = scene.losses(candidates, data, 2) < scene.losses(still, data, 2) * 0.999
    if enough:
        passes &= scene.losses(candidates, scene.opened, 2) < scene.losses(still, scene.opened, 2)
        passes &= candidates @ public > 0.05 * bound * np.linalg.norm(public)
    if not passes.any():
        return _rows(honest, scene.count)
    worst = int(np.where(passes, scene.losses(candidates, data, 0), -1).argmax())
    return _rows(candidates[worst], scene.count)


def _half_a_copy(scene: Scene) -> Steps:
    """Half a stale copy, half a short training on 32 samples of their own."""
    past = scene.past(1)
    if past is None:
        return scene.trifle()
    copy = past[scene.best].astype(np.float64)
    few = [shard[:32] for shard in scene.shards]
    recipe = Recipe(max(8, scene.task.local_steps // 4))
    own = trained(scene.task, scene.weights, few, recipe, scene.generator, log_shares(scene.task, few))
    lengths = np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1)
    mixed: Steps = 0.5 * copy + 0.5 * own * (np.linalg.norm(copy) / lengths)
    return mixed


def _on_off(scene: Scene) -> Steps:
    return scene.trained * (-5 if scene.round >= scene.rounds // 2 else 1)


def _resend(scene: Scene) -> Steps:
    """Trains one round in four, and sends the same again in between."""
    return scene.sent if scene.round % 4 else scene.trained


HARM, COPY, MIMIC, KNOWING, OPEN = "noise and flips", "copies", "mimics", "know the rule", "not closed"

ATTACKS: dict[str, Attack] = {
    one.name: one
    for one in (
        Attack("noise", HARM, "random, three times as long as training", _noise),
        Attack("label-flip", HARM, "trained on label C-1-y", _trained, mislabels=True),
        Attack("sign-flip", HARM, "the opposite of honest training", _times(-1)),
        Attack("sign-flip-5", HARM, "five times the opposite", _times(-5)),
        Attack("replay", COPY, "what the last round merged, and a little noise", _replay),
        Attack("stale-copy", COPY, "the best account's last update", _stale(1), exact=True),
        Attack("stale-copy-2", COPY, "of two rounds ago", _stale(2), exact=True),
        Attack("stale-copy-4", COPY, "of four rounds ago", _stale(4), exact=True),
        Attack("stale-copy-6", COPY, "of six rounds ago", _stale(6), exact=True),
        Attack("stale-copy-10", COPY, "of ten rounds ago: beyond the memory", _stale(10), exact=True),
        Attack("noisy-copy", COPY, "with 30 % of its length as noise", _noisy(_stale(1), 0.3)),
        Attack("drowned-copy", COPY, "with as much noise", _noisy(_stale(1), 1.0)),
        Attack(
            "framing-copy", COPY, "of another each, with as much noise: to fill the memory", _noisy(_each_another, 1)
        ),
        Attack("scaled-copy", COPY, "0.3 to 2 times as long", _scaled),
        Attack("permuted-copy", COPY, "three weights in ten change places", _permuted),
        Attack("spread-copy", COPY, "each another honest account's", _each_another, exact=True),
        Attack("averaged-copy", COPY, "means of eight honest updates of three rounds", _averaged),
        Attack("old-and-new-copy", COPY, "of the last round and of ten rounds ago", _old_and_new),
        Attack("all-history", COPY, "momentum over all honest updates so far", _all_history),
        Attack("best-mixture", COPY, "of twenty public mixtures, on their own data", _best_mixture),
        Attack("agreeing-copy", COPY, "where its signs agree with a mimic's", _agreeing),
        Attack("layer-copy", COPY, "without its first matrix", _by_layer),
        Attack("mimic", MIMIC, "trained on the public examples", _mimic),
        Attack("noisy-mimic", MIMIC, "with 30 % of its length as noise", _noisy(_mimic, 0.3)),
        Attack("drowned-mimic", MIMIC, "with as much noise", _noisy(_mimic, 1.0)),
        Attack("mimic-seeds", MIMIC, "each with other steps and learning rate", _mimic_seeds),
        Attack("augmented-mimic", MIMIC, "on shifted and noisy public examples", _augmented),
        Attack("stale-mean-trained", MIMIC, "the last honest mean, trained on public examples", _stale_mean_trained_on),
        Attack("distilled", MIMIC, "augmented examples labelled by the last honest mean", _distilled),
        Attack("orthogonal-harm", KNOWING, "a mimic's direction and harm orthogonal to it", _orthogonal_harm),
        Attack(
            "hidden-mislabels", KNOWING, "wrong labels beside right public examples", _hidden_mislabels, mislabels=True
        ),
        Attack(
            "helpful-mislabels",
            KNOWING,
            "mislabelled but for a little true gradient",
            _helpful_mislabels,
            mislabels=True,
        ),
        Attack("whitewash", KNOWING, "label-flip by new accounts every round", _trained, mislabels=True, renews=True),
        Attack("whitewash-noise", KNOWING, "noise by new accounts every round", _noise, renews=True),
        Attack("whitewash-mimic", KNOWING, "mimic-seeds by new accounts every round", _mimic_seeds, renews=True),
        Attack("half-copy", OPEN, "half a copy, half trained on 32 samples", _half_a_copy, closed=False),
        Attack("on-off", OPEN, "honest first, five times the opposite later", _on_off, closed=False),
        Attack("resend", OPEN, "trains one round in four and sends it four times", _resend, closed=False),
        Attack("look-ahead", OPEN, "the worst that their own data say is merged", _look_ahead, closed=False),
    )
}
