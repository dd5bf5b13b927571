"""The Aspect's side of the chain: Artela's system contract, and what `aggregator` answers to readers.

Reading is the Aspect's `operation`, called through the system contract by eth_call: free, whole pages at once, at any block whose state the
node still has. All numbers of the answers are big-endian, weights are little-endian int16.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from linklearner.chain.abi import Interface
from linklearner.domain.errors import DataLoss, InvalidInput
from linklearner.domain.shape import Shape
from services.chain_gateway.chain import Chain

SYSTEM_CONTRACT: Final = bytes.fromhex("0000000000000000000000000000000000a27e14")
PRE_CONTRACT_CALL: Final = 4
"""The join point that `aggregator` runs at."""
READ_BYTES: Final = 1 << 20
"""Weights fetched by one question: far below the 10 MiB of an Aspect's memory, and of a JSON answer that a node makes gladly."""


def _inputs(*types: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for kind, name in types]


SYSTEM: Final = Interface(
    [
        {
            "type": "function",
            "name": "deploy",
            "inputs": [
                *_inputs(("bytes", "code"), ("bytes", "initdata")),
                {
                    "name": "properties",
                    "type": "tuple[]",
                    "components": _inputs(("string", "key"), ("bytes", "value")),
                },
                *_inputs(("address", "account"), ("bytes", "proof"), ("uint256", "joinPoints")),
            ],
            "outputs": [],
        },
        {
            "type": "function",
            "name": "bind",
            "inputs": _inputs(
                ("address", "aspectId"), ("uint256", "aspectVersion"), ("address", "contract"), ("int8", "priority")
            ),
            "outputs": [],
        },
        {
            "type": "function",
            "name": "aspectsOf",
            "inputs": _inputs(("address", "contract")),
            "outputs": [
                {
                    "name": "bound",
                    "type": "tuple[]",
                    "components": _inputs(("address", "aspectId"), ("uint64", "version"), ("int8", "priority")),
                }
            ],
        },
        {
            "type": "function",
            "name": "entrypoint",
            "inputs": _inputs(("address", "aspectId"), ("bytes", "optArgs")),
            "outputs": _inputs(("bytes", "answer")),
        },
    ]
)


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a task as they stood at one block. merged_groups: more than 0 while a settlement is half done."""

    version: int
    merged_groups: int
    data: bytes


async def operate(chain: Chain, aspect: bytes, question: bytes, *, block: int | None) -> bytes:
    """The Aspect's answer. Raises what it refuses with (NoSuchTask, …), NotFound for a block without state."""
    answer = await chain.call(SYSTEM_CONTRACT, SYSTEM.encode_call("entrypoint", aspect, question), block=block)
    try:
        return bytes(SYSTEM.decode_result("entrypoint", answer)["answer"])
    except InvalidInput as error:
        raise DataLoss(f"the Aspect 0x{aspect.hex()} does not answer as one: {len(answer)} bytes") from error


async def read_weights(chain: Chain, aspect: bytes, task: int, shape: Shape, block: int) -> Weights:
    """Every page at one block, so that all belong together. Raises DataLoss for answers of another length."""
    at_once = max(1, READ_BYTES // (2 * shape.page_length))
    parts, seen = [], set()
    for first in range(0, shape.page_count, at_once):
        count = min(at_once, shape.page_count - first)
        question = struct.pack(">BQII", 2, task, first, count)
        answer = await operate(chain, aspect, question, block=block)
        start, stop = shape.page_slice(first).start, shape.page_slice(first + count - 1).stop
        if len(answer) != 12 + 2 * (stop - start):
            raise DataLoss(
                f"pages {first} to {first + count - 1} of task {task} have {2 * (stop - start)} bytes, the chain gave "
                f"{len(answer) - 12}",
                facts={"task": task, "block": block},
            )
        seen.add(struct.unpack_from(">QI", answer))
        parts.append(answer[12:])
    if len(seen) != 1:
        raise DataLoss(f"the pages of task {task} at block {block} are not of one version", facts={"task": task})
    version, merged = seen.pop()
    return Weights(version, merged, b"".join(parts))
