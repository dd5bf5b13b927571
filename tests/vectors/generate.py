"""Writes the golden vectors from the Python implementation: `python -m tests.vectors.generate`. A test holds the files to it.

Each file is read by the tests of Python (the numbers mean what they say), and of the Aspect's code and the page's (which give the same).
Bytes are hex; integers beyond 2**53 are decimal strings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from coincurve import PrivateKey
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.artifacts import contract
from linklearner.chain.abi import Interface
from linklearner.domain.classifier import classifier
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import MAX_SQUARED_NORM, Update
from linklearner.domain.voucher import Voucher, domain_separator
from tests.any_model import reference_logits
from tests.vectors.evidence import evidence_vectors, pay_vectors

HERE = Path(__file__).parent


def shapes() -> list[Shape]:
    return [
        Shape((Tensor(1, 0),), 4, 1, 1),
        Shape((Tensor(10, 12), Tensor(7, -8), Tensor(20, 24)), 8, 2, 2**20),
        Shape((Tensor(2048, 12), Tensor(32, 12), Tensor(320, 12), Tensor(10, 12)), 2412, 1, 2**31),
        Shape(tuple(Tensor(1 + n % 5, n % 33 - 8) for n in range(200)), 16384, 65536, 12345),
    ]


def updates(shape: Shape, generator: np.random.Generator) -> list[Update]:
    found = [Update(1, 1, TWO_BITS, (0,) * len(shape.tensors), ())]
    for encoding in ENCODINGS.values():
        for present in (range(shape.page_count), range(0, shape.page_count, 2)):
            touched = {tensor for page in present for tensor, _, _ in shape.segments(page)}
            shifts = tuple(
                int(generator.integers(-8, encoding.max_shift + 1)) if tensor in touched else 0
                for tensor in range(len(shape.tensors))
            )
            pages = []
            for page in present:
                place = shape.page_slice(page)
                count = place.stop - place.start
                values = generator.choice(np.array(encoding.values, dtype=np.int8), count)
                if encoding is INT8:
                    values[0] = -128  # the one whose negative is no int8
                pages.append((page, values))
            found.append(Update(2**21 - 1, 2**64 - 1, encoding, shifts, tuple(pages)))
    return found


def update_vectors() -> list[dict[str, Any]]:
    generator = np.random.default_rng(1)
    return [
        {
            "shape": shape.encode().hex(),
            "weight_count": shape.weight_count,
            "page_count": shape.page_count,
            "group_count": shape.group_count,
            "updates": [
                {
                    "encoded": update.encode(shape).hex(),
                    "digest": update.digest(shape).hex(),
                    "squared_norm": str(update.squared_norm(shape)),
                }
                for update in updates(shape, generator)
            ],
        }
        for shape in shapes()
    ]


def merge_vectors() -> list[dict[str, Any]]:
    generator = np.random.default_rng(2)
    vectors = []
    for shape in shapes():
        for eligible in (3, 1000, 2**38):
            contributions = []
            for index, update in enumerate(updates(shape, generator)[:4]):
                weight = max(eligible // 4 - index, 0)
                contributions.append(Contribution(bytes([index + 1]) * 20, weight, weight * 3 // 4, update))
            base = generator.integers(-(2**15), 2**15, shape.weight_count).astype(np.int16)
            base[: min(4, base.size)] = [32767, -32768, 32760, 0][: min(4, base.size)]
            merged = MEAN.merge(base, contributions, eligible, shape)
            vectors.append(
                {
                    "shape": shape.encode().hex(),
                    "eligible": str(eligible),
                    "base": weight_bytes(base).hex(),
                    "contributions": [
                        {
                            "contributor": c.contributor.hex(),
                            "weight": str(c.weight),
                            "effective": str(c.effective),
                            "encoded": c.update.encode(shape).hex(),
                        }
                        for c in contributions
                    ],
                    "weights": weight_bytes(merged.weights).hex(),
                    "saturated": merged.saturated,
                    "changed_pages": list(merged.changed_pages),
                    "digest": model_digest(merged.weights, shape).hex(),
                }
            )
    return vectors


def rounding_vectors() -> list[dict[str, Any]]:
    """Weight 0 moved by total / (divisor * 256): halves, their neighbours, and the very ends."""
    cases = []
    for divisor in (1, 3, 1000, 2**38):
        step = divisor * 256
        for whole in (0, 1, 2, 1000):
            for off in (-step // 2 - 1, -step // 2, -step // 2 + 1, 0, step // 2 - 1, step // 2, step // 2 + 1):
                cases += [(whole * step + off, divisor), (-(whole * step + off), divisor)]
        cases += [(2**15 * step, divisor), (-(2**15) * step, divisor), (2**15 * step - step // 2 - 1, divisor)]
    vectors = []
    for total, divisor in dict.fromkeys(cases):
        magnitude = (abs(total) + divisor * 128) // (divisor * 256)
        moved = magnitude if total >= 0 else -magnitude
        vectors.append({"total": str(total), "divisor": str(divisor), "weight": max(-(2**15), min(2**15 - 1, moved))})
    return vectors


def effective_vectors() -> list[dict[str, Any]]:
    cases = [
        (weight, norm, bound)
        for weight in (0, 1, 1000, 2**36)
        for bound in (1, 1000, 2**20 + 7, 2**31)
        for norm in (0, 1, bound**2 - 1, bound**2, bound**2 + 1, 3 * bound**2, MAX_SQUARED_NORM - 1, MAX_SQUARED_NORM)
        if norm <= MAX_SQUARED_NORM
    ]
    return [
        {"weight": str(w), "squared_norm": str(n), "bound": b, "effective": str(MEAN.verdict(w, n, b))}
        for w, n, b in dict.fromkeys(cases)
    ]


def digest_vectors() -> list[dict[str, Any]]:
    data = bytes(n * 7 % 256 for n in range(5000))
    return [
        {"length": length, "keccak256": keccak(data[:length]).hex()}
        for length in (0, 1, 7, 8, 9, 31, 32, 63, 64, 127, 128, 134, 135, 136, 137, 271, 272, 273, 4824, 5000)
    ]


def forward_vectors() -> list[dict[str, Any]]:
    """Small integers, so that float32 is exact and every language gives the same."""
    generator = np.random.default_rng(3)
    vectors = []
    for architecture in (
        Mlp((3, 2)),
        Mlp((4, 5, 3)),
        Mlp((2, 3, 4, 2)),
        Cnn((1, 4, 4), (2,), 3, 2),
        Cnn((2, 5, 7), (3, 2), 3, 3),
        Cnn((3, 2, 3), (2,), 1, 2),
    ):
        (outputs,) = architecture.output_dimensions
        spec = classifier("vector", architecture, tuple(map(str, range(outputs))), "x", 0.5)
        weights = generator.integers(-4, 5, spec.weight_count).astype(np.float32)
        inputs = (2 * generator.integers(-3, 4, (3, *spec.inputs[0].dimensions))).astype(np.float32)
        vectors.append(
            {
                "model": spec.to_json(),
                "weights": weights.astype(int).tolist(),
                "inputs": inputs.astype(int).tolist(),
                "logits": reference_logits(spec, weights, inputs).astype(int).tolist(),
            }
        )
    return vectors


def calldata_vectors() -> list[dict[str, Any]]:
    """Calls of `submit` to task 1 at version 1: the canonical one, which the chain takes, and others that solc would read alike.

    Each is decoded to the same task, digest, header and groups by whoever follows solc's rules.
    """
    shape = shapes()[1]
    update = next(one for one in updates(shape, np.random.default_rng(5)) if len(one.pages) == shape.page_count)
    update = Update(1, 1, update.encoding, update.shifts, update.pages)
    pool = Interface(contract("TrainingPool").abi)
    header, groups = update.header(shape), update.groups(shape)
    right = pool.encode_call("submit", 1, update.digest(shape), header, list(groups))
    array = 4 + int.from_bytes(right[100:132], "big")
    in_header = 4 + 160 + len(header)
    last = len(right) - (-len(groups[-1]) % 32)
    moved = bytearray(right[:array] + bytes(32) + right[array:])
    moved[100:132] = (array - 4 + 32).to_bytes(32, "big")
    cases = {
        "canonical": right,
        "padding of the header set": right[:in_header] + b"\1" + right[in_header + 1 :],
        "padding of the last group set": right[:-1] + b"\1",
        "padding of the last group cut off": right[:last],
        "one byte of padding cut off": right[:-1],
        "a zero appended": right + b"\0",
        "a word appended": right + bytes(32),
        "a gap before the groups": bytes(moved),
    }
    values = {
        "task": 1,
        "digest": update.digest(shape).hex(),
        "header": header.hex(),
        "groups": [group.hex() for group in groups],
    }
    return [
        {
            "shape": shape.encode().hex(),
            "values": values,
            "cases": [
                {"what": what, "calldata": data.hex(), "canonical": data == right} for what, data in cases.items()
            ],
        }
    ]


def voucher_vectors() -> list[dict[str, Any]]:
    """Vouchers, their digests, and a test key's signature of each (deterministic, RFC 6979)."""
    ends = {"client": bytes(20), "server": b"\xff" * 20, "task": 2**64 - 1, "amount": 2**256 - 1, "expiry": 2**64 - 1}
    usual = {"client": account(1), "server": account(2), "task": 1, "amount": 10**18, "expiry": 2_000_000_000}
    changes: list[dict[str, Any]] = [
        {},
        {"client": account(3)},
        {"server": account(3)},
        {"task": 2},
        {"amount": 10**18 + 1},
        {"expiry": 2_000_000_001},
        {"task": 0, "amount": 0, "expiry": 0},
        ends,
    ]
    domains = [
        (11820, bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")),
        (1, b"\xff" * 20),
        (2**256 - 1, bytes(20)),
    ]
    key = PrivateKey(keccak(b"test account 1"))
    vectors = []
    for chain_id, escrow in domains:
        separator = domain_separator(chain_id, escrow)
        for change in changes:
            voucher = Voucher(**(usual | change))
            digest = voucher.digest(separator)
            vectors.append(
                {
                    "chain_id": str(chain_id),
                    "escrow": escrow.hex(),
                    "separator": separator.hex(),
                    "client": voucher.client.hex(),
                    "server": voucher.server.hex(),
                    "task": str(voucher.task),
                    "amount": str(voucher.amount),
                    "expiry": str(voucher.expiry),
                    "digest": digest.hex(),
                    "signature": signed(key, digest).hex(),
                }
            )
    return vectors


def on_the_edge(encoding_bits: int) -> NDArray[np.float64]:
    """(512,) steps: one weight whose square lies just below what makes the shift larger, and 511 whose squares vanish when they are added
    to it one by one, and do not when they are added in pairs."""
    steps = np.full(512, 2.0**-10.5)
    steps[0] = 2.0**17 - 2.0**-32
    return steps if encoding_bits == 2 else -steps


def quantise_vectors() -> list[dict[str, Any]]:
    """Deltas as float64, little endian; what they become, and the residual. `carried`: the delta is what the case before left over."""
    generator = np.random.Generator(np.random.PCG64(7))
    shapes_ = [
        Shape((Tensor(10, 12), Tensor(7, -8), Tensor(20, 24)), 8, 2, 2**20),
        Shape((Tensor(64, 12), Tensor(8, 12), Tensor(24, 12), Tensor(3, 12)), 20, 2, 2**31),
    ]
    cases: list[tuple[Shape, NDArray[np.float64]]] = []
    for shape in shapes_:
        units = np.ldexp(1.0, -shape.exponents().astype(np.int32))
        for scale in (2.0**-31, 2.0**-9, 0.7, 40.0, 3e4, 2.0**20):
            cases.append((shape, generator.uniform(-scale, scale, shape.weight_count) * units))
        sparse = generator.normal(0, 300, shape.weight_count) * units
        sparse[: shape.page_length] = 0
        cases.append((shape, sparse))
        cases.append(
            (
                shape,
                np.resize(np.array([127.0, -127, 64, 63.5, -0.5, 0.5, 2, -2, 1.5, 1e-12]), shape.weight_count) * units,
            )
        )
    one = Shape((Tensor(512, 0),), 512, 1, 2**31)
    for power in (6, 7, 8):  # the mean square, and the largest, on a limit itself
        cases.append((Shape((Tensor(4, 0),), 4, 1, 1), np.full(4, 2.0**power / 8)))
        cases.append(
            (Shape((Tensor(4, 0),), 4, 1, 1), np.array([127 * 2.0 ** (power - 7), np.nextafter(254, 255), 1, -1]))
        )
    found = []
    for encoding in ENCODINGS.values():
        for shape, delta in (*cases, (one, on_the_edge(encoding.code))):
            for carried in (False, True):
                made = quantise_delta(delta, shape, 2**21 - 1, 2**64 - 1, encoding)
                found.append(
                    {
                        "shape": shape.encode().hex(),
                        "encoding": encoding.code,
                        "carried": carried,
                        **({} if carried else {"delta": delta.astype("<f8").tobytes().hex()}),
                        "update": made.update.encode(shape).hex(),
                        "digest": made.update.digest(shape).hex(),
                        "residual": keccak(made.residual.astype("<f8").tobytes()).hex(),
                    }
                )
                delta = made.residual
                if not delta.any() or shape is one:
                    break
    return found


def account(number: int) -> bytes:
    """The address of a test key."""
    key = PrivateKey(keccak(b"test account %d" % number)).public_key
    return bytes(keccak(key.format(compressed=False)[1:])[-20:])


def signed(key: PrivateKey, digest: bytes) -> bytes:
    """r | s | v, v 27 or 28: as wallets and Solidity have it."""
    signature = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([27 + signature[64]])


FILES = {
    "updates.json": update_vectors,
    "merge.json": merge_vectors,
    "rounding.json": rounding_vectors,
    "effective.json": effective_vectors,
    "digest.json": digest_vectors,
    "forward.json": forward_vectors,
    "calldata.json": calldata_vectors,
    "vouchers.json": voucher_vectors,
    "quantise.json": quantise_vectors,
    "evidence.json": evidence_vectors,
    "evidence_pay.json": pay_vectors,
}


def text_of(name: str) -> str:
    return json.dumps(FILES[name](), indent=0, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    for file in FILES:
        (HERE / file).write_text(text_of(file))
