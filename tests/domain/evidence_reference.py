"""Rule `evidence` once more, from its description alone: one number at a time, in Python's own integers. It shares no code with
`linklearner.domain.rules.evidence`; the logarithms are the C library's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

EXP = [math.floor(65535 * math.exp(-i / 32) + 0.5) for i in range(256)]


def sat16(value: int) -> int:
    return max(-32768, min(32767, value))


def rounded(numerator: int, denominator: int) -> int:
    """To nearest, ties away from zero."""
    whole = (2 * abs(numerator) + denominator) // (2 * denominator)
    return whole if numerator >= 0 else -whole


def shifted(value: int, places: int) -> int:
    return value >> places if places >= 0 else value << -places


@dataclass
class Perceptron:
    widths: Sequence[int]
    exponents: Sequence[int]
    input_exponent: int

    def logits(self, flat: Sequence[int], x: Sequence[int]) -> list[int]:
        at, values = 0, list(x)
        last = len(self.widths) - 2
        for layer, (before, width) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            places = self.exponents[2 * layer] + (self.input_exponent - 12 if layer == 0 else 0)
            biases = at + before * width
            out = []
            for o in range(width):
                row = flat[at + o * before : at + (o + 1) * before]
                total = sum(w * v for w, v in zip(row, values, strict=True))
                out.append(shifted(total, places) + shifted(flat[biases + o], self.exponents[2 * layer + 1] - 12))
            values = out if layer == last else [min(max(value, 0), 32767) for value in out]
            at = biases + width
        return values

    def loss(self, flat: Sequence[int], x: Sequence[int], label: int) -> int:
        z = self.logits(flat, x)
        s = sum(EXP[min((max(z) - one) >> 7, 255)] for one in z)
        return min(max(z) - z[label] + math.floor(4096 * math.log((s >> 6) / 1023.99)), 4 << 12)


def steps(digits: Sequence[int], shifts: Sequence[int], bound: int) -> list[int]:
    """u from d and its shift, weight by weight."""
    norm = sum(d * d << 2 * (shift + 8) for d, shift in zip(digits, shifts, strict=True))
    factor = 256 if norm <= bound * bound else math.isqrt((bound * bound << 16) // norm)
    return [rounded((d << shift + 8) * factor, 1 << 16) for d, shift in zip(digits, shifts, strict=True)]


@dataclass
class Settled:
    gains: list[int]
    records: list[int]
    losses: list[int]
    outcomes: list[str]
    weights: list[int]
    saturated: int
    halvings: int | None
    loss: int


def settle(
    network: Perceptron,
    base: Sequence[int],
    updates: Sequence[Sequence[int]],
    records: Sequence[int],
    stakes: Sequence[int],
    eligible: int,
    examples: Sequence[tuple[Sequence[int], int]],
    fresh: int,
) -> Settled:
    def losses(flat: Sequence[int]) -> list[int]:
        return [network.loss(flat, x, label) for x, label in examples]

    at_base = losses(base)
    a0, f0 = sum(at_base), sum(at_base[-fresh:])
    found = Settled([], [], [], [], list(base), 0, None, a0)
    for u, record in zip(updates, records, strict=True):
        trial = losses([sat16(w + rounded(step, 4)) for w, step in zip(base, u, strict=True)])
        gain = ((f0 - sum(trial[-fresh:])) << 16) // max(f0, 64 * fresh)
        gain = max(-32768, min(32768, gain)) if any(u) else 0
        after = record - (record >> 3) + gain
        found.gains.append(gain)
        found.records.append(after)
        found.losses.append(sum(trial))
        found.outcomes.append(
            "EMPTY" if not any(u) else "NO_RECORD" if after <= 0 else "NO_GAIN" if sum(trial) >= a0 else "MERGED"
        )
    merged = [i for i, outcome in enumerate(found.outcomes) if outcome == "MERGED"]
    present = sum(stakes[i] for i in merged)
    if not present:
        return found
    divisor = max(present, eligible // 4, 1)
    step = [rounded(sum(stakes[i] * updates[i][j] for i in merged), divisor) for j in range(len(base))]
    for halvings in (0, 1, 2):
        wanted = [w + rounded(d, 1 << halvings) for w, d in zip(base, step, strict=True)]
        loss = sum(losses([sat16(w) for w in wanted]))
        if loss <= a0 + (a0 >> 4):
            found.weights = [sat16(w) for w in wanted]
            found.saturated = sum(sat16(w) != w for w in wanted)
            found.halvings, found.loss = halvings, loss
            return found
    found.outcomes = ["GUARDED" if outcome == "MERGED" else outcome for outcome in found.outcomes]
    return found


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def less(vector: Sequence[int], part: Sequence[int]) -> list[int]:
    """The vector less its projection on a part, coefficient and products rounded."""
    coefficient = rounded(dot(vector, part) << 14, dot(part, part))
    return [v - rounded(p * coefficient, 1 << 14) for v, p in zip(vector, part, strict=True)]


def project(u: Sequence[int], atoms: Sequence[Sequence[int]]) -> tuple[list[int], bool, int | None, bool]:
    """Residual, whether a copy, the first atom, whether it explains a quarter."""
    left, unused, basis = list(u), list(range(len(atoms))), []
    first, quarter = None, False
    for turn in range(5):
        scores = [(Fraction(dot(atoms[i], left) ** 2, dot(atoms[i], atoms[i])), -i) for i in unused if any(atoms[i])]
        best, index = max(scores, default=(Fraction(0), 0))
        if best == 0:
            break
        unused.remove(-index)
        atom = list(atoms[-index])
        if turn == 0:
            first, quarter = -index, best >= Fraction(dot(u, u), 4)
        for part in basis:
            atom = less(atom, part)
        if dot(atom, atom) * 64 > dot(atoms[-index], atoms[-index]):
            basis.append(atom)
            left = less(left, atom)
    return left, 20 * dot(left, left) < dot(u, u), first, quarter


@dataclass
class PaidRound:
    accounts: Sequence[bytes]
    updates: Sequence[Sequence[int]]
    merged: Sequence[bool]
    base: Sequence[int]
    after: Sequence[int]
    references: Sequence[Sequence[int]]
    later: Sequence[tuple[Sequence[int], int]]


def pay(network: Perceptron, rounds: Sequence[PaidRound], full: int) -> list[list[tuple[bool, int, int, int, int]]]:
    """By `novel`: for each update whether it is a copy, what is added to U, X and D, and what is payable of FULL."""
    memory: list[tuple[int, list[int], list[bytes]]] = []
    sums: dict[bytes, list[int]] = {}
    answer = []
    for number, one in enumerate(rounds):
        row, added = [], []

        def mean(first: Sequence[int], second: Sequence[int], one: PaidRound = one) -> int:
            total = sum(network.loss(first, x, y) - network.loss(second, x, y) for x, y in one.later)
            return max(-32768, min(32768, 4 * total // len(one.later)))

        def stepped(base: Sequence[int], step: Sequence[int]) -> list[int]:
            return [sat16(w + d) for w, d in zip(base, step, strict=True)]

        for account, u, merged in zip(one.accounts, one.updates, one.merged, strict=True):
            known = [(list(reference), list[bytes]()) for reference in one.references] + [
                (vector, owners) for when, vector, owners in memory if when >= number - 8 and account not in owners
            ]
            left, copy, first, quarter = project(u, [vector for vector, _ in known])
            owners = [*(known[first][1] if quarter and first is not None else [])[:7], account]
            if any(u) and not copy:
                added.append((number, list(u), owners))
            g = mean(one.base, stepped(one.base, [rounded(v, 4) for v in u]))
            p = [rounded(b + 3 * a, 4) for b, a in zip(one.base, one.after, strict=True)]
            d, x = (
                mean(stepped(p, [-rounded(v, 8) for v in vector]), stepped(p, [rounded(v, 8) for v in vector]))
                for vector in (u, left)
            )
            if g < 0:
                g += g >> 2
            elif copy or not merged:
                g = 0
            if copy:
                d, x = min(d, 0), min(x, 0)
            if not any(u):
                g = d = x = 0
            total = sums.setdefault(account, [0, 0, 0, 0])
            for i, more in enumerate((g, x, d)):
                total[i] += more
            due = max(0, min(total[2], 3 * (min(total[0], total[1]) - 328)))
            now = min(max(0, due - total[3]), full)
            total[3] += now
            row.append((copy, g, x, d, now))
        memory += [(number, [a - b for b, a in zip(one.base, one.after, strict=True)], []), *added]
        answer.append(row)
    return answer
