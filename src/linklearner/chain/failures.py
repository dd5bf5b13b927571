"""Transactions that failed: who sent what, and why it was refused. A chain keeps them, without an event and without the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from linklearner.chain.abi import Interface, error_string
from linklearner.chain.answers import Malformed, address, data, fields, items, optional_address, quantity
from linklearner.chain.contracts import POOL
from linklearner.domain.errors import InvalidInput

NAMED: Final = re.compile(r"\b([A-Z][A-Za-z0-9]{2,60}): ")
"""What the Aspect says, wherever it stands in a node's message: `Name: sentence`."""
OUT_OF_GAS: Final = "out of gas"


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction to the pool, succeeded or not. function: what it calls, empty for bytes that call nothing of it."""

    block: int
    time_s: int
    transaction: bytes
    sender: bytes
    gas: int
    data: bytes = field(repr=False)
    function: str
    task: int
    """0 where the call names none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """reason: the contract's or the Aspect's own name for it; Unknown where calling it again does not tell."""

    sent: Sent
    gas_used: int
    reason: str


def sent_in(answer: object, number: int, pool: bytes) -> list[Sent]:
    """The transactions to the pool in the answer to eth_getBlockByNumber with all transactions. Raises Malformed."""
    if answer is None:
        raise Malformed(f"the node no longer has block {number}: ask one that keeps its history")
    block = fields(answer, "block")
    if quantity(block.get("number"), "block's number") != number:
        raise Malformed(f"the node was asked for block {number} and gives another one")
    time_s = quantity(block.get("timestamp"), "block's time", 32)
    found = []
    for entry in items(block.get("transactions"), "transactions"):
        one = fields(entry, "transaction")
        if optional_address(one.get("to"), "transaction's receiver") != pool:
            continue
        calldata = data(one.get("input"), "calldata")
        function, task = _called(calldata)
        found.append(
            Sent(
                block=number, time_s=time_s, transaction=data(one.get("hash"), "transaction's hash", 32),
                sender=address(one.get("from"), "transaction's sender"), gas=quantity(one.get("gas"), "transaction's gas"),
                data=calldata, function=function, task=task,
            )
        )  # fmt: skip
    return found


def reason_of(error: object, interfaces: Sequence[Interface]) -> str:
    """Why a call was refused, from the error of eth_call: of the contract, of the Aspect, of the node."""
    failure: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    try:
        revert = data(failure.get("data"), "revert data")
    except Malformed:
        revert = b""
    for interface in interfaces:
        try:
            decoded = interface.decode_error(revert)
        except InvalidInput:
            continue
        if decoded is not None:
            return decoded.name
    message = str(failure.get("message", ""))
    for text in (error_string(revert) or "", message):
        named = NAMED.search(text)
        if named:
            return named[1]
    return "OutOfGas" if OUT_OF_GAS in message.lower() else "Unknown"


def _called(calldata: bytes) -> tuple[str, int]:
    try:
        call = POOL.decode_call(calldata)
    except InvalidInput:
        return "", 0
    task = call.values.get("task", 0)
    return call.name, task if isinstance(task, int) else 0
