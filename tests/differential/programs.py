"""Seeded random EVM programs: mostly meaningful code (balanced stacks, small memory, calls between three contracts), some noise.

A program is a world of three contracts, an externally owned account and one transaction. Every instruction of its dialect can
occur; `GAS` values end in results and storage, so that a wrong price shows even where the total would hide it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

SENDER: Final = bytes.fromhex("5e" * 20)
CONTRACTS: Final = tuple(bytes([0xC0 + i]) * 20 for i in range(3))
BYSTANDER: Final = bytes.fromhex("b5" * 20)
"""Has a balance and no code."""
NOBODY: Final = bytes.fromhex("0f" * 20)
"""Does not exist."""

PUSH0, MCOPY, TLOAD, TSTORE = 0x5F, 0x5E, 0x5C, 0x5D
BLOBHASH, BLOBBASEFEE, PREVRANDAO = 0x49, 0x4A, 0x44
CREATE, CREATE2, SELFDESTRUCT = 0xF0, 0xF5, 0xFF

SHANGHAI_AND_CANCUN: Final = frozenset({PUSH0, MCOPY, TLOAD, TSTORE})
BLOBS: Final = frozenset({BLOBHASH, BLOBBASEFEE})
CREATION: Final = frozenset({CREATE, CREATE2})

_UNARY: Final = (0x15, 0x19)
_BINARY: Final = (*range(0x01, 0x08), 0x0A, 0x0B, *range(0x10, 0x15), *range(0x16, 0x19), *range(0x1A, 0x1E))
_TERNARY: Final = (0x08, 0x09)
_NULLARY: Final = (
    0x30, 0x32, 0x33, 0x34, 0x36, 0x38, 0x3A, 0x3D, 0x41, 0x42, 0x43, PREVRANDAO, 0x45, 0x46, 0x47, 0x48, BLOBBASEFEE, 0x58,
    0x59, 0x5A, 0x5A, 0x5A, PUSH0,
)  # fmt: skip
_CALLS: Final = (0xF1, 0xF2, 0xF4, 0xFA)
_WORDS: Final = (0, 1, 2, 3, 31, 32, 33, 64, 255, 256, 2**64, 2**128 - 1, 2**255 - 1, 2**255, 2**256 - 1, 2**256 - 2)


@dataclass(frozen=True, slots=True)
class Program:
    """What both machines are given. `codes` and `balances` belong to CONTRACTS in order."""

    codes: tuple[bytes, bytes, bytes]
    storage: dict[int, int]
    """At most one slot, of the contract that is called; none for a creation. pyrevm makes the account warm by giving it
    storage, and takes a second slot for one that this transaction has written already."""
    balances: tuple[int, int, int]
    data: bytes
    value: int
    gas: int
    to: bytes | None
    """None: the transaction creates, `data` is the init code."""

    def __str__(self) -> str:
        lines = [
            f"to {'creation' if self.to is None else self.to.hex()} value {self.value} gas {self.gas} data {self.data.hex()}"
        ]
        lines.append(f"storage {self.storage}")
        for address, code, balance in zip(CONTRACTS, self.codes, self.balances, strict=True):
            lines.append(f"{address.hex()} balance {balance}\n  {code.hex()}")
        return "\n".join(lines)


def program(seed: int, without: frozenset[int]) -> Program:
    """The program of this seed in the dialect that lacks the opcodes `without`."""
    random = Random(seed)
    writer = _Writer(random, without)
    codes = tuple(writer.code(position) for position in range(len(CONTRACTS)))
    creates = CREATE not in without and random.random() < 0.08
    storage = {} if creates or random.random() < 0.3 else {random.randrange(4): random.choice(_WORDS)}
    return Program(
        codes=(codes[0], codes[1], codes[2]),
        storage=storage,
        balances=(random.choice((0, 1, 10**6)), random.choice((0, 7)), random.choice((0, 10**18))),
        data=writer.init_code() if creates else random.randbytes(random.choice((0, 0, 4, 36, 100))),
        value=random.choice((0, 0, 0, 1, 1000)),
        gas=random.choice((25_000, 60_000, 200_000, 500_000, 1_000_000, 1_000_000, 2_000_000)) + random.randrange(5000),
        to=None if creates else CONTRACTS[0],
    )


def opcodes_of(code: bytes) -> list[tuple[int, int]]:
    """(offset, opcode) of every instruction, push data skipped."""
    found, at = [], 0
    while at < len(code):
        found.append((at, code[at]))
        at += 1 + (code[at] - 0x5F if 0x60 <= code[at] <= 0x7F else 0)
    return found


class _Writer:
    def __init__(self, random: Random, without: frozenset[int]) -> None:
        self._random = random
        self._without = without
        self._out = bytearray()
        self._height = 0
        self._later = CONTRACTS

    def code(self, position: int) -> bytes:
        """The contract at a position. Now and then plain noise."""
        random = self._random
        self._later = CONTRACTS[position + 1 :] or (BYSTANDER,)
        if random.random() < 0.04:
            return self._noise(random.randbytes(random.randrange(1, 60)))
        self._out, self._height = bytearray(), 0
        for _ in range(random.randrange(1, 28)):
            random.choices(_SNIPPETS, _WEIGHTS)[0](self)
        self._ending()
        code = bytes(self._out)
        if random.random() < 0.05:
            # one byte off: a broken jump, a shifted push, a missing operand
            at = random.randrange(len(code))
            code = self._noise(code[:at] + random.randbytes(1) + code[at + 1 :])
        return code

    def init_code(self) -> bytes:
        """Runs a little, then returns some code (or fails)."""
        outer = self._out, self._height
        random = self._random
        self._out, self._height = bytearray(), 0
        for _ in range(random.randrange(3)):
            random.choices(_SNIPPETS[:_PLAIN], _WEIGHTS[:_PLAIN])[0](self)
        runtime = random.choice(
            (b"", b"\x00", bytes.fromhex("5a600055"), bytes.fromhex("60016001f3"), b"\xef\x00", bytes(40))
        )
        self._out += b"\x7f" + runtime.ljust(32, b"\0")[:32] + bytes.fromhex("600052")
        self._number(min(len(runtime), 32) if random.random() < 0.9 else random.choice((24_576, 24_577)))
        self._out += bytes.fromhex("6000")
        self._height = 0
        self._out.append(0xF3 if random.random() < 0.85 else 0xFD)
        code = bytes(self._out)
        self._out, self._height = outer
        return code

    def _noise(self, code: bytes) -> bytes:
        """Bytes of other dialects become INVALID (wherever they are read as instructions)."""
        patched = bytearray(code)
        for at, opcode in opcodes_of(code):
            if opcode in self._without:
                patched[at] = 0xFE
        return bytes(patched)

    # -- pieces

    def _op(self, opcode: int, takes: int = 0, gives: int = 0) -> None:
        assert opcode not in self._without
        while self._height < takes:
            self._constant()
        self._out.append(opcode)
        self._height += gives - takes

    def _number(self, value: int) -> None:
        size = max(1, (value.bit_length() + 7) // 8)
        self._out.append(0x5F + size)
        self._out += value.to_bytes(size, "big")
        self._height += 1

    def _constant(self) -> None:
        random = self._random
        if random.random() < 0.15:
            self._number(random.getrandbits(256))
        elif random.random() < 0.15:
            self._number(int.from_bytes(self._address(), "big"))
        else:
            self._number(random.choice(_WORDS))

    def _address(self) -> bytes:
        # mostly forwards, or endless recursion would burn the gas of most programs
        if self._random.random() < 0.7:
            return self._random.choice(self._later)
        return self._random.choice((*CONTRACTS, BYSTANDER, NOBODY, SENDER))

    def _offset(self) -> None:
        """A place in memory: small, rarely absurd."""
        random = self._random
        if random.random() < 0.002:
            self._number(random.choice((2**20, 2**32, 2**64, 2**255)))
        else:
            self._number(random.choice((0, 0, 1, 31, 32, 64, 96, 200)))

    def _size(self) -> None:
        random = self._random
        self._number(
            random.choice((2**24, 2**64)) if random.random() < 0.001 else random.choice((0, 1, 4, 32, 33, 64, 100))
        )

    def arithmetic(self) -> None:
        random = self._random
        pick = random.random()
        if pick < 0.15:
            self._op(random.choice(_UNARY), 1, 1)
        elif pick < 0.9:
            self._op(random.choice(_BINARY), 2, 1)
        else:
            self._op(random.choice(_TERNARY), 3, 1)

    def environment(self) -> None:
        random = self._random
        opcode = random.choice(_NULLARY)
        if opcode not in self._without:
            self._op(opcode, 0, 1)
        pick = random.random()
        if pick < 0.1:
            self._number(random.choice((0, 1, 31, 2**64)))
            self._op(0x35, 1, 1)  # CALLDATALOAD
        elif pick < 0.3:
            self._number(int.from_bytes(self._address(), "big"))
            self._op(random.choice((0x31, 0x3B, 0x3F)), 1, 1)
        elif pick < 0.36:
            self._number(random.choice((0, 99, 100, 500, 743, 744, 999, 1000, 1001)))
            self._op(0x40, 1, 1)  # BLOCKHASH
        elif pick < 0.4 and BLOBHASH not in self._without:
            self._number(0)
            self._op(BLOBHASH, 1, 1)

    def constants(self) -> None:
        for _ in range(self._random.randrange(1, 4)):
            self._constant()

    def shuffle(self) -> None:
        random = self._random
        if self._height == 0:
            return
        pick = random.random()
        depth = random.randrange(1, min(self._height, 16) + 1)
        if pick < 0.4:
            self._out.append(0x7F + depth)  # DUP
            self._height += 1
        elif pick < 0.7 and self._height > depth:
            self._out.append(0x8F + depth)  # SWAP
        else:
            self._op(0x50, 1, 0)

    def memory(self) -> None:
        random = self._random
        pick = random.random()
        if pick < 0.35:
            self._constant()
            self._offset()
            self._op(random.choice((0x52, 0x52, 0x53)), 2, 0)
        elif pick < 0.5:
            self._offset()
            self._op(0x51, 1, 1)
        elif pick < 0.65:
            self._size()
            self._offset()
            self._op(0x20, 2, 1)
        elif pick < 0.75:
            # what the last call returned; asking for more than that halts
            if random.random() < 0.9:
                self._op(0x3D, 0, 1)
                self._number(0)
            else:
                self._size()
                self._offset()
            self._offset()
            self._op(0x3E, 3, 0)
        elif pick < 0.9:
            self._size()
            self._offset()
            self._offset()
            self._op(random.choice((0x37, 0x39) if MCOPY in self._without else (0x37, 0x39, MCOPY, MCOPY)), 3, 0)
        else:
            self._size()
            self._offset()
            self._offset()
            self._number(int.from_bytes(self._address(), "big"))
            self._op(0x3C, 4, 0)

    def storage(self) -> None:
        random = self._random
        transient = TLOAD not in self._without and random.random() < 0.45
        slot = random.randrange(2) if transient else random.choice((0, 1, 2, 3, 3, 2**256 - 1))
        if random.random() < 0.55:
            if random.random() < 0.3:
                self._op(0x5A, 0, 1)
            else:
                self._number(random.choice((0, 0, 1, 1, 2, 2**255)))
            self._number(slot)
            self._op(TSTORE if transient else 0x55, 2, 0)
        else:
            self._number(slot)
            self._op(TLOAD if transient else 0x54, 1, 1)

    def log(self) -> None:
        topics = self._random.randrange(5)
        for _ in range(topics):
            self._constant()
        self._size()
        self._offset()
        self._op(0xA0 + topics, 2 + topics, 0)

    def branch(self) -> None:
        """if (x) { one snippet }, seldom with a wrong target."""
        random = self._random
        if random.random() < 0.7:
            self._constant()
        else:
            self._op(0x5A, 0, 1)
        self._out += b"\x61\x00\x00"
        patch = len(self._out) - 2
        self._out.append(0x57)
        self._height = max(self._height - 1, 0)
        before = self._height
        random.choice((_Writer.log, _Writer.storage, _Writer.storage, _Writer.memory, _Writer.memory, _Writer.failure))(
            self
        )
        while self._height > before:
            self._op(0x50, 1, 0)
        while self._height < before:
            self._constant()
        target = len(self._out) + (1 if random.random() < 0.02 else 0)
        self._out[patch : patch + 2] = target.to_bytes(2, "big")
        self._out.append(0x5B)

    def loop(self) -> None:
        """Count down from a small number, doing one thing."""
        self._number(self._random.choice((1, 2, 5, 9)))
        start = len(self._out)
        self._out.append(0x5B)
        before = self._height
        self._random.choice((_Writer.storage, _Writer.memory, _Writer.environment))(self)
        while self._height > before:
            self._op(0x50, 1, 0)
        while self._height < before:
            self._constant()
        self._out += bytes.fromhex("6001900380") + b"\x61" + start.to_bytes(2, "big") + b"\x57"
        self._op(0x50, 1, 0)

    def call(self) -> None:
        random = self._random
        opcode = random.choice(_CALLS)
        self._size()
        self._offset()
        self._size()
        self._offset()
        takes = 6
        if opcode in (0xF1, 0xF2):
            self._number(random.choice((0, 0, 0, 0, 1, 5, 10**9, 2**200)))
            takes = 7
        precompile = random.random() < 0.25
        self._number(random.randrange(1, 10) if precompile else int.from_bytes(self._address(), "big"))
        if random.random() < 0.6:
            self._op(0x5A, 0, 1)
        else:
            self._number(random.choice((0, 100, 700, 2300, 3000, 30_000, 2**64)))
        self._op(opcode, takes, 1)
        if random.random() < 0.3:
            self._op(0x3D, 0, 1)

    def create(self) -> None:
        if CREATE in self._without:
            return self.call()
        random = self._random
        init = self.init_code()
        for at in range(0, len(init), 32):
            self._out += b"\x7f" + init[at : at + 32].ljust(32, b"\0")
            self._number(256 + at)
            self._height -= 1
            self._out.append(0x52)
        if random.random() < 0.5:
            self._number(random.choice((0, 1)))  # salt: a second one collides
            opcode, takes = CREATE2, 4
        else:
            opcode, takes = CREATE, 3
        self._number(len(init) if random.random() < 0.97 else random.choice((0, 49_153, 70_000)))
        self._number(256)
        self._number(random.choice((0, 0, 0, 1, 2**100)))
        self._op(opcode, takes, 1)
        if random.random() < 0.5:
            # call what was made
            self._out += (
                bytes.fromhex("5f5f5f5f5f855af1")
                if PUSH0 not in self._without
                else bytes.fromhex("60006000600060006000855af1")
            )
            self._height += 1
        return None

    def failure(self) -> None:
        pick = self._random.random()
        if pick < 0.4:
            self._size()
            self._offset()
            self._op(0xFD, 2, 0)
        elif pick < 0.6:
            self._out.append(0xFE)
        elif pick < 0.8:
            self._out.append(0x00)
        elif SELFDESTRUCT not in self._without:
            self._number(int.from_bytes(self._address(), "big"))
            self._op(SELFDESTRUCT, 1, 0)

    def _ending(self) -> None:
        random = self._random
        pick = random.random()
        if pick < 0.7:
            # everything that is known: the stack, then what gas is left
            self._out.append(0x5A)
            self._height += 1
            count = min(self._height, 6)
            for at in range(count):
                self._number(32 * at)
                self._op(0x52, 2, 0)
            self._number(32 * count)
            self._number(0)
            self._out.append(0xF3 if random.random() < 0.9 else 0xFD)
        elif pick < 0.95:
            self.failure()


_TABLE: Final[tuple[tuple[Callable[[_Writer], None], int], ...]] = (
    (_Writer.arithmetic, 16),
    (_Writer.environment, 8),
    (_Writer.constants, 8),
    (_Writer.shuffle, 8),
    (_Writer.memory, 12),
    (_Writer.storage, 12),
    (_Writer.log, 2),
    (_Writer.branch, 6),
    (_Writer.loop, 4),
    (_Writer.call, 10),
    (_Writer.create, 6),
    (_Writer.failure, 1),
)
_SNIPPETS: Final = tuple(snippet for snippet, _ in _TABLE)
_WEIGHTS: Final = tuple(weight for _, weight in _TABLE)
_PLAIN: Final = 7
"""So many of them, from the first, are short enough for init code."""
