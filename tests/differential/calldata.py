"""Chain and Python take exactly the same calldata: `python -m tests.differential.calldata --count 100000 --seed 1`.

Calldata of the pool's functions is made, broken in ways that know its structure, and shown to three judges:

- the real pool with the real Aspect on a devchain. It accepts exactly what `decode_call(canonical=True)` decodes and the rules, computed in
  Python from the decoded values, allow; its events then tell the same values. Where only the encoding is at fault it says so.
- for functions whose calldata nobody reads again (fund, shareFees, claim), the pool alone: it accepts what the plain `decode_call` decodes.
- `bench/contracts/Arguments.sol`, which is solc's decoder and nothing else: `decode_call` gives the very values that solc sees, or
  refuses as it does. (Only where tails overlap so much that decoding multiplies them may Python refuse more.)

Every question is an eth_call on one state, so nothing has to be mined.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from eth_abi.abi import encode
from eth_hash.auto import keccak

from bench.contracts import built
from bench.pool import CREATOR, POOL, TERMS, PoolChain, account, address_of, terms_tuple
from bench.pool_rounds import SMALL, opened, some_update, some_weights
from devchain.chain.chain import CallRequest
from linklearner import artifacts
from linklearner.chain.abi import Decoded, error_string
from linklearner.domain.capacity import most_updates
from linklearner.domain.encodings import ENCODINGS
from linklearner.domain.errors import InvalidInput, InvalidShape, InvalidUpdate
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import influence
from linklearner.domain.update import MAX_SQUARED_NORM, MIN_SQUARED_NORM, Update, join, update_digest

JUDGED: Final = ("submit", "settle", "openTask", "loadPages")
"""Functions whose calldata the Aspect reads, and readers after it."""
PLAIN: Final = ("fund", "shareFees", "claim")
INPUTS: Final = {
    entry["name"]: entry["inputs"] for entry in artifacts.contract("TrainingPool").abi if entry["type"] == "function"
}
NUMBERS: Final = (0, 1, 31, 32, 33, 2**24, 2**32, 2**63, 2**64 - 1, 2**64, 2**255, 2**256 - 1, 2**256 - 32, 2**256 - 96)
# pieces of UTF-8 and of what is almost UTF-8: overlong forms, surrogates, beyond U+10FFFF, cut off
TEXTS: Final = [
    bytes.fromhex(piece)
    for piece in (
        "41", "7f", "80", "bf", "c080", "c1bf", "c280", "dfbf", "c2",
        "e09fbf", "e0a080", "ed9fbf", "eda080", "edbfbf", "ee8080", "efbfbf", "e282", "f08fbfbf",
        "f0908080", "f48fbfbf", "f4908080", "f5808080", "f09f98", "fe", "ff",
    )
]  # fmt: skip


# -- where things lie in canonical calldata


@dataclass
class Layout:
    """Positions in calldata, counted from its first byte."""

    numbers: list[tuple[int, int]] = field(default_factory=list)
    """A value's word and how many of its low bits the type has."""
    offsets: list[tuple[int, int]] = field(default_factory=list)
    """An offset's word and the position that it counts from."""
    lengths: list[int] = field(default_factory=list)
    padding: list[int] = field(default_factory=list)
    contents: list[tuple[int, int, bool]] = field(default_factory=list)
    """Start and end of a byte string, and whether it is text."""
    tails: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Start and end of what an offset leads to, the offset's word, and what that counts from."""


def layout_of(inputs: Sequence[Mapping[str, Any]], data: bytes) -> Layout:
    layout = Layout()

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + 32], "big")

    def walk(parts: Sequence[Mapping[str, Any]], base: int) -> int:
        """Returns where all that belongs to the parts ends."""
        at, end = base, base
        for part in parts:
            kind: str = part["type"]
            if kind == "tuple" and not dynamic(part):
                at = walk(part["components"], at)
            elif dynamic(part):
                layout.offsets.append((at, base))
                start = base + word(at)
                stop = tail(part, start)
                layout.tails.append((start, stop, at, base))
                end = max(end, stop)
                at += 32
            else:
                layout.numbers.append((at, bits(kind)))
                at += 32
        return max(end, at)

    def tail(part: Mapping[str, Any], at: int) -> int:
        kind: str = part["type"]
        if kind == "tuple":
            return walk(part["components"], at)
        layout.lengths.append(at)
        length = word(at)
        if kind.endswith("[]"):
            return walk([{**part, "type": kind[:-2]}] * length, at + 32)
        stop = at + 32 + length
        layout.contents.append((at + 32, stop, kind == "string"))
        end = at + 32 + -(-length // 32) * 32
        layout.padding.extend(range(stop, end))
        return end

    walk(inputs, 4)
    return layout


def dynamic(part: Mapping[str, Any]) -> bool:
    kind: str = part["type"]
    return (
        kind in ("bytes", "string")
        or kind.endswith("[]")
        or (kind == "tuple" and any(map(dynamic, part["components"])))
    )


def bits(kind: str) -> int:
    if kind == "address":
        return 160
    return int(kind[4:]) if kind.startswith("uint") else 256


# -- breaking it

Mutation = Callable[[Random, bytearray, Layout], bytes | bytearray]


def put(data: bytearray, at: int, value: int) -> bytearray:
    data[at : at + 32] = (value % 2**256).to_bytes(32, "big")
    return data


def get(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 32], "big")


def flip_a_bit(random: Random, data: bytearray, layout: Layout) -> bytearray:
    place = random.randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    return data


def dirty_padding(random: Random, data: bytearray, layout: Layout) -> bytearray:
    for at in random.sample(layout.padding, min(len(layout.padding), random.choice((1, 1, 4)))):
        data[at] = random.randrange(256)
    return data


def dirty_high_bits(random: Random, data: bytearray, layout: Layout) -> bytearray:
    at, size = random.choice(layout.numbers)
    return put(data, at, get(data, at) ^ 1 << random.randrange(size, 256)) if size < 256 else data


def other_number(random: Random, data: bytearray, layout: Layout) -> bytearray:
    at, size = random.choice(layout.numbers)
    return put(data, at, random.choice((*NUMBERS, get(data, at) + 1, get(data, at) - 1, random.getrandbits(size))))


def other_offset(random: Random, data: bytearray, layout: Layout) -> bytearray:
    at, base = random.choice(layout.offsets)
    offset = get(data, at)
    near = [offset + by for by in (-64, -33, -32, -31, -1, 1, 31, 32, 33, 64)]
    border = [len(data) - base - by for by in (0, 1, 31, 32, 33, 64, 191, 192, 193)]
    bent = [offset + (1 << random.randrange(20, 256)), -base, 4 - base, -1, -32, random.randrange(len(data))]
    return put(data, at, random.choice((*near, *border, *bent, *NUMBERS)))


def aliased_offset(random: Random, data: bytearray, layout: Layout) -> bytearray:
    """One offset leads to what another one leads to."""
    (at, base), (other, from_base) = random.choice(layout.offsets), random.choice(layout.offsets)
    return put(data, at, from_base + get(data, other) - base)


def swapped_offsets(random: Random, data: bytearray, layout: Layout) -> bytearray:
    (one, base), (other, from_base) = random.choice(layout.offsets), random.choice(layout.offsets)
    to_one, to_other = base + get(data, one), from_base + get(data, other)
    return put(put(data, one, to_other - base), other, to_one - from_base)


def other_length(random: Random, data: bytearray, layout: Layout) -> bytearray:
    at = random.choice(layout.lengths)
    length = get(data, at)
    choices = [*(length + by for by in (-33, -32, -1, 1, 31, 32, 33)), len(data) - at - 32, *NUMBERS]
    return put(data, at, random.choice(choices))


def cut_off(random: Random, data: bytearray, layout: Layout) -> bytearray:
    used = len(data)
    while used and not data[used - 1]:
        used -= 1
    places = (
        used,
        used,
        len(data) - 1,
        len(data) - 32,
        len(data) - random.randrange(1, 65),
        random.randrange(len(data)),
    )
    return data[: max(0, random.choice(places))]


def extended(random: Random, data: bytearray, layout: Layout) -> bytearray:
    size = random.choice((1, 31, 32, 33, 64, random.randrange(1, 200)))
    return data + (bytes(size) if random.random() < 0.5 else random.randbytes(size))


def gap(random: Random, data: bytearray, layout: Layout) -> bytearray:
    """Everything from some tail on moves by a few bytes, and every offset is made to fit."""
    start = random.choice(layout.tails)[0]
    size = random.choice((32, 64, 1, 33))

    def moved(at: int) -> int:
        return at + size if at >= start else at

    targets = [(at, base, base + get(data, at)) for at, base in layout.offsets]
    data = data[:start] + bytes(size) + data[start:]
    for at, base, target in targets:
        put(data, moved(at), moved(target) - moved(base))
    return data


def relocated(random: Random, data: bytearray, layout: Layout) -> bytearray:
    """A tail comes again at the end, changed or not, and its offset leads there."""
    start, stop, at, base = random.choice(layout.tails)
    copy = data[start:stop]
    if len(copy) > 32 and random.random() < 0.5:
        copy[random.randrange(32, len(copy))] ^= 1
    put(data, at, len(data) - base)
    return data + copy


def swapped_tails(random: Random, data: bytearray, layout: Layout) -> bytearray:
    """Two tails of one level change places, with offsets that fit."""
    one = random.choice(layout.tails)
    others = [other for other in layout.tails if other[3] == one[3] and other[0] >= one[1]]
    if not others:
        return swapped_offsets(random, data, layout)
    other = random.choice(others)
    between = data[one[1] : other[0]]
    data[one[0] : other[1]] = data[other[0] : other[1]] + between + data[one[0] : one[1]]
    shift = (other[1] - other[0]) - (one[1] - one[0])
    for start, _, at, base in layout.tails:
        if base == one[3] and one[1] <= start < other[0]:
            put(data, at, start + shift - base)
    put(data, one[2], other[1] - (one[1] - one[0]) - one[3])
    return put(data, other[2], one[0] - one[3])


def other_selector(random: Random, data: bytearray, layout: Layout) -> bytes:
    names = [name for name in INPUTS if name not in ("drop", "setAspect")]
    return POOL.selector(random.choice(names)) + data[4:]


def other_text(random: Random, data: bytearray, layout: Layout) -> bytearray:
    """Bytes that are UTF-8, or nearly, in a byte string."""
    texts = [(start, stop) for start, stop, is_text in layout.contents if is_text]
    if not layout.contents:
        return flip_a_bit(random, data, layout)
    start, stop = random.choice(texts or [(start, stop) for start, stop, _ in layout.contents])
    text = b"".join(
        random.choice(TEXTS[:1] + TEXTS if random.random() < 0.5 else TEXTS[:1]) for _ in range(stop - start)
    )
    data[start:stop] = text[: stop - start]
    return data


MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip_a_bit, dirty_padding, dirty_padding, dirty_high_bits, other_number, other_offset, other_offset, aliased_offset,
    swapped_offsets, other_length, cut_off, cut_off, extended, gap, relocated, swapped_tails, other_selector, other_text,
)  # fmt: skip


# -- the three judges


class Case:
    """One state of the chain, and what its rules say of a call, from the decoded values alone."""

    def __init__(self, seed: int, aspect: bytes | None = None) -> None:
        self.random = Random(seed)
        self.world = PoolChain.deployed(6, aspect)
        self.open = opened(self.world, SMALL, [100, 90, 80])
        self.open.submit(1)
        self.settling = opened(self.world, SMALL, [100, 100, 100])
        for contributor in (1, 2):
            self.settling.submit(contributor)
        self.settling.ripen()
        self.version, self.settling_round = self.open.version, self.settling.number
        self.updates = self.settling.settlement(0)
        self.settlement = POOL.decode_call(self.settle_call(self.updates)).values
        self.loading = self.world.number("nextTask")
        self.world.transact(account(CREATOR), "openTask", self.loading, SMALL.encode(), "{}", terms_tuple(TERMS))
        self.next_task = self.world.number("nextTask")
        self.owned = self.world.balance(address_of(account(2)))
        self.eligible = self.world.status(self.open.task)["eligible"]
        artifact = built()["contracts"]["Arguments"]
        self.arguments = self.world.create(account(0), bytes.fromhex(artifact["bytecode"][2:]))
        self.told: Counter[str] = Counter()

    # making calls

    def settle_call(self, updates: list[Any]) -> bytes:
        return POOL.encode_call("settle", self.settling.task, self.settling_round, 0, updates)

    def call(self) -> bytes:
        """A call in canonical encoding; about half of them the pool accepts."""
        random = self.random
        match random.choices((*JUDGED, *PLAIN), (8, 5, 4, 3, 1, 1, 1))[0]:
            case "submit":
                return self._submit()
            case "settle":
                updates = self.updates
                if random.random() < 0.3:
                    at = random.randrange(len(updates))
                    who, weight, effective, header, digests, pages = updates[at]
                    updates = random.choice(
                        (
                            updates[::-1],
                            updates[:at],
                            [*updates, updates[at]],
                            [
                                *updates[:at],
                                (who, weight, effective, self._broken(header), digests, pages),
                                *updates[at + 1 :],
                            ],
                            [
                                *updates[:at],
                                (who, weight, effective, header, digests, self._broken(pages)),
                                *updates[at + 1 :],
                            ],
                            [*updates[:at], (who, weight, effective, header, digests[:-1], pages), *updates[at + 1 :]],
                        )
                    )
                return self.settle_call(updates)
            case "openTask":
                shape = SMALL.encode()
                if random.random() < 0.4:
                    shape = self._broken(shape)
                model = "".join(random.choice("a{}é€😀\x00") for _ in range(random.randrange(40)))
                return POOL.encode_call("openTask", self.next_task, shape, model, terms_tuple(TERMS))
            case "loadPages":
                weights = some_weights(SMALL, random.randrange(100)).astype("<i2").tobytes()
                size = random.choice((16, 32, 48, 64, 74, 73, 72, 15, 0, random.randrange(75)))
                return POOL.encode_call("loadPages", self.loading, random.choice((0, 0, 0, 1)), weights[:size])
            case "claim":
                return POOL.encode_call("claim", random.choice((self.loading, self.open.task, 2**21)))
            case name:
                return POOL.encode_call(name, self.open.task, random.choice((0, 1, 90, 91, 10**6, 2**38, 2**64 - 1)))

    def _submit(self) -> bytes:
        random = self.random
        encoding = random.choice(list(ENCODINGS.values()))
        pages = [page for page in range(SMALL.page_count) if random.random() < 0.7]
        shift = random.choice((-8, 0, 3, encoding.max_shift))
        update = some_update(
            SMALL, self.open.task, self.version, random.randrange(1000), encoding, pages, shift if pages else 0
        )
        header, groups = update.header(SMALL), list(update.groups(SMALL))
        digest = update.digest(SMALL)
        if random.random() < 0.4:
            at = random.randrange(len(groups))
            match random.randrange(5):
                case 0:
                    header = self._broken(header)
                case 1:
                    groups[at] = self._broken(groups[at])
                case 2:  # the same bytes, cut elsewhere
                    whole = b"".join(groups)
                    cuts = sorted(random.randrange(len(whole) + 1) for _ in range(len(groups) - 1))
                    groups = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
                case 3:
                    groups = random.choice((groups[:-1], [*groups, b""], groups[::-1]))
                case _:
                    header = bytearray(header)
                    header[random.randrange(18, len(header))] = random.randrange(256)
                    header = bytes(header)
            if random.random() < 0.9:
                digest = update_digest(header, tuple(bytes(keccak(group)) for group in groups))
        return POOL.encode_call("submit", self.open.task, digest, header, groups)

    def _broken(self, data: bytes) -> bytes:
        random = self.random
        at = random.randrange(len(data) + 1)
        return random.choice(
            (
                data[:at] + random.randbytes(1) + data[at:],
                data[:at] + data[at + 1 :],
                data[:at] + bytes([random.choice((0, 1, 2, 8, 128, 255))]) + data[at + 1 :],
                data[: max(0, at - 1)],
            )
        )

    def mutant(self) -> tuple[str, bytes]:
        """Calldata and what was done to it."""
        data, done = self.call(), []
        inputs = INPUTS[POOL.decode_call(data).name]
        for _ in range(self.random.choices((0, 1, 2, 3), (2, 10, 3, 1))[0]):
            mutation = self.random.choice(MUTATIONS)
            layout = layout_of(inputs, data)
            if not layout.offsets and mutation not in (flip_a_bit, dirty_high_bits, other_number, cut_off, extended):
                mutation = self.random.choice((dirty_high_bits, other_number, cut_off, extended))
            data = bytes(mutation(self.random, bytearray(data), layout))
            done.append(mutation.__name__)
            if not self._is_walkable(inputs, data):
                break
        return "+".join(done) or "valid", data

    @staticmethod
    def _is_walkable(inputs: Sequence[Mapping[str, Any]], data: bytes) -> bool:
        """Only what is still canonical has a layout for another mutation."""
        with suppress(InvalidInput):
            return INPUTS[POOL.decode_call(data, canonical=True).name] is inputs
        return False

    # judging

    def allows(self, call: Decoded) -> bool:
        """Whether the rules of pool and Aspect allow a call with these values by `sender_of`, in this state."""
        values = call.values
        match call.name:
            case "submit":
                return values["task"] == self.open.task and self._update(values) is not None
            case "settle":
                return bool(values == self.settlement)
            case "loadPages":
                size, page = len(values["weights"]), 2 * SMALL.page_length
                whole = size == 2 * SMALL.weight_count or (size % page == 0 and size < 2 * SMALL.weight_count)
                return values["task"] == self.loading and values["firstPage"] == 0 and size > 0 and whole
            case "openTask":
                try:
                    Shape.decode(values["shape"])
                except InvalidShape:
                    return False
                terms = values["terms"]
                return bool(
                    values["task"] == self.next_task
                    and terms["rule"] == 1
                    and 1 <= terms["quorumBps"] <= 10_000
                    and 1 <= terms["maxUpdates"] <= most_updates(Shape.decode(values["shape"]))
                    and 1 <= terms["minRoundSeconds"] <= terms["roundSeconds"] < terms["dropSeconds"] <= 366 * 86_400
                    and 1 <= terms["stakeSeconds"] <= 366 * 86_400
                    and terms["minStake"] <= 2**38
                    and terms["settlerBps"] <= 10_000
                    and terms["serverBps"] <= 5_000
                )
            case "fund" | "shareFees":
                known = values["task"] in (self.open.task, self.settling.task, self.loading)
                least = 1 if call.name == "fund" else 0
                return bool(known and least <= values["amount"] <= self.owned)
            case "claim":
                return values["task"] in (self.open.task, self.settling.task, self.loading)
            case _:  # a view, or a function whose time has not come
                return bool(self._is_view(call.name))

    @staticmethod
    def _is_view(name: str) -> bool:
        return name not in (
            "drop",
            "setAspect",
            "submit",
            "settle",
            "openTask",
            "loadPages",
            *PLAIN,
            "closeTask",
            "grant",
            "acceptOwnership",
            "renounceOwnership",
            "transferOwnership",
            "release",
        )

    def _update(self, values: Mapping[str, Any]) -> Update | None:
        try:
            update = Update.decode(join(values["header"], values["groups"]), SMALL)
        except InvalidUpdate:
            return None
        fits = (
            (update.task, update.base_version) == (self.open.task, self.version)
            and update.header(SMALL) == values["header"]
            and update.groups(SMALL) == values["groups"]
            and update.digest(SMALL) == values["digest"]
            and MIN_SQUARED_NORM <= update.squared_norm(SMALL) <= MAX_SQUARED_NORM
        )
        return update if fits else None

    def judge(self, data: bytes) -> str:
        """Raises AssertionError where the judges differ. Returns what came of it, in a word."""
        name = next((name for name in INPUTS if POOL.selector(name) == data[:4]), None)
        read = self._decoded(data)
        if name in JUDGED:
            assert name is not None
            self._same_as_solc(name, data, read)
        decoded = self._decoded(data, canonical=name in JUDGED)
        if decoded is not None and self._is_view(decoded.name):
            return "a view"  # some refuse an unknown task; nothing hangs on it
        expected = decoded is not None and self.allows(decoded)
        sender = account(CREATOR if name in ("openTask", "loadPages") else 2)
        outcome = self.world.chain.ask(
            CallRequest(sender=address_of(sender), to=self.world.pool, data=data), self.world.chain.head.number
        )
        assert (outcome.error is None) == expected, (
            f"chain: {outcome.error or 'accepted'}, Python: {expected}, {decoded}"
        )
        if outcome.error is None:
            assert decoded is not None
            self._same_values(
                decoded, [(log.topics, log.data) for log in outcome.logs if log.address == self.world.pool]
            )
            return "accepted"
        said = (error_string(outcome.output) or outcome.error).partition(":")[0]
        if decoded is None and read is not None and self.allows(read):
            wanted = ("BadCalldata", "WrongModel") if name == "openTask" else ("BadCalldata",)
            assert said in wanted, f"only the encoding is at fault, and the chain says {said}"
            return "only the encoding refused"
        return "refused" if read is not None else "undecodable"

    @staticmethod
    def _decoded(data: bytes, *, canonical: bool = False) -> Decoded | None:
        with suppress(InvalidInput):
            return POOL.decode_call(data, canonical=canonical)
        return None

    def _same_values(self, call: Decoded, logs: Sequence[tuple[Sequence[bytes], bytes]]) -> None:
        """The events tell what the call said, and of an update what Python computes."""
        events = [event for topics, data in logs if (event := POOL.decode_log(topics, data)) is not None]
        if call.name == "claim":
            return  # there is nothing to claim, and so nothing to tell
        assert events, f"{call.name} made no event"
        told = events[-1 if call.name != "loadPages" else 0].values
        shared = told.keys() & call.values.keys()
        assert shared and {key: told[key] for key in shared} == {key: call.values[key] for key in shared}
        if call.name == "submit":
            update = self._update(call.values)
            assert update is not None
            weight = influence(90, self.eligible)
            effective = MEAN.verdict(weight, update.squared_norm(SMALL), SMALL.norm_bound)
            assert (told["weight"], told["effective"]) == (weight, effective)

    def _same_as_solc(self, name: str, data: bytes, read: Decoded | None) -> None:
        outcome = self.world.chain.ask(
            CallRequest(sender=bytes(20), to=self.arguments, data=data), self.world.chain.head.number
        )
        if read is None:
            if outcome.error is None:
                try:
                    POOL.decode_call(data)
                except InvalidInput as error:
                    assert "overlap" in error.message, f"solc reads it, Python does not: {error.message}"
                    self.told["overlapping, refused by readers"] += 1
            return
        assert outcome.error is None, f"Python reads what solc refuses: {read}"
        if "\ufffd" not in str(read.values.get("model", "")):
            assert outcome.output == seen(read), f"Python reads other values than solc: {read}"


def seen(call: Decoded) -> bytes:
    """What Arguments.sol answers to a call with these values."""
    values = call.values
    match call.name:
        case "openTask":
            parts = (
                values["task"],
                keccak(values["shape"]),
                keccak(values["model"].encode()),
                tuple(values["terms"].values()),
            )
            terms = "(uint8,uint16,uint16,uint32,uint32,uint32,uint32,uint40,uint16,uint16,uint128)"
            return bytes(keccak(encode(["uint64", "bytes32", "bytes32", terms], parts)))
        case "loadPages":
            parts = values["task"], values["firstPage"], keccak(values["weights"])
            return bytes(keccak(encode(["uint64", "uint32", "bytes32"], parts)))
        case "submit":
            parts = values["task"], values["digest"], keccak(values["header"]), len(values["groups"])
            hashed = keccak(encode(["uint64", "bytes32", "bytes32", "uint256"], parts))
            for group in values["groups"]:
                hashed = keccak(hashed + keccak(group))
            return bytes(hashed)
        case _:
            parts = values["task"], values["round"], values["group"], len(values["updates"])
            hashed = keccak(encode(["uint64", "uint64", "uint32", "uint256"], parts))
            for one in values["updates"]:
                parts = hashed, one["contributor"], one["weight"], one["effective"]
                hashed = keccak(encode(["bytes32", "address", "uint64", "uint64"], parts))
                parts = hashed, keccak(one["header"]), keccak(one["pages"]), len(one["digests"])
                hashed = keccak(encode(["bytes32", "bytes32", "bytes32", "uint256"], parts))
                for digest in one["digests"]:
                    hashed = keccak(hashed + digest)
            return bytes(hashed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.differential.calldata", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    case = Case(options.seed)
    outcomes: Counter[str] = Counter()
    started = time.monotonic()
    for number in range(1, options.count + 1):
        what, data = case.mutant()
        try:
            outcomes[case.judge(data)] += 1
        except AssertionError as difference:
            print(f"{number} ({what}): {difference}\n0x{data.hex()}", file=sys.stderr)
            return 1
        if number % 10_000 == 0:
            print(f"{number:,} after {time.monotonic() - started:.0f} s", flush=True)
    print(f"{options.count:,} calls, seed {options.seed}, {time.monotonic() - started:.0f} s: no difference")
    for outcome, count in (outcomes + case.told).most_common():
        print(f"  {count:>9,}  {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
