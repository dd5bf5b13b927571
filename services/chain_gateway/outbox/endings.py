"""How a request ended, as text in the file: a receipt, or what it was refused with."""

from __future__ import annotations

import json
from typing import Final

from linklearner.chain.answers import Log, Receipt
from linklearner.domain import strictjson
from linklearner.domain.errors import LinkLearnerError, Refused
from services.chain_gateway.outbox.requests import Outcome

MAX_BYTES: Final = 64 << 20
"""JSON of one ending: as much as a node's answer may be."""


def of_refusal(refused: LinkLearnerError) -> str:
    return json.dumps({"message": refused.message, "reason": refused.reason, "facts": refused.facts})


def refusal(text: str) -> Refused:
    """Inverts of_refusal; whatever error it was, it is Refused now."""
    kept = strictjson.loads(text, max_bytes=MAX_BYTES, max_values=MAX_BYTES)
    return Refused(kept["message"], reason=kept["reason"], facts=kept["facts"])


def of_outcome(outcome: Outcome) -> str:
    receipt = outcome.receipt
    return json.dumps(
        {
            "hash": receipt.transaction_hash.hex(),
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
            "contract": None if receipt.contract is None else receipt.contract.hex(),
            "logs": [
                [entry.address.hex(), [topic.hex() for topic in entry.topics], entry.data.hex(), entry.index]
                for entry in receipt.logs
            ],
            "length": outcome.length,
        }
    )


def outcome(text: str) -> Outcome:
    """Inverts of_outcome."""
    kept = strictjson.loads(text, max_bytes=MAX_BYTES, max_values=MAX_BYTES)
    transaction_hash = bytes.fromhex(kept["hash"])
    logs = tuple(
        Log(
            bytes.fromhex(address),
            tuple(bytes.fromhex(topic) for topic in topics),
            bytes.fromhex(data),
            kept["block"],
            index,
            transaction_hash,
        )
        for address, topics, data, index in kept["logs"]
    )
    contract = None if kept["contract"] is None else bytes.fromhex(kept["contract"])
    return Outcome(Receipt(transaction_hash, kept["block"], True, kept["gas_used"], contract, logs), kept["length"])
