"""Blocks as the operator reads them: transactions, the join points that ran, what they logged, where the gas went, why it failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from devchain.chain.blocks import StoredReceipt
from devchain.chain.chain import MinedBlock
from devchain.chain.evm import revert_reason
from devchain.chain.join_points import AspectRun
from devchain.chain.system_contract import SYSTEM_CONTRACT, method_name
from devchain.chain.transactions import SignedTransaction

_SHOWN: Final = 300
"""Characters of a text that a contract or an Aspect chose."""
_LOG_LINES: Final = 20
"""Of one Aspect call."""
_PARTS: Final = 20
"""Gas parts of one transaction."""


def lines(mined: MinedBlock) -> Iterator[str]:
    """A block, a line per fact."""
    header = mined.block.header
    count = len(mined.block.receipts) + len(mined.panics)
    yield (
        f"block {header.number:,}  {count} {'transaction' if count == 1 else 'transactions'}  "
        f"gas {header.gas_used:,}  base fee {header.base_fee:,} wei  0x{header.hash.hex()[:12]}"
    )
    for receipt, runs in zip(mined.block.receipts, mined.runs, strict=True):
        yield from _transaction_lines(receipt, runs)
    for transaction, reason in mined.panics:
        yield f"  {_summary(transaction)}  NODE PANIC: no receipt, nonce used, fee gone"
        yield f"      {_shown(reason)}"


def _transaction_lines(receipt: StoredReceipt, runs: tuple[AspectRun, ...]) -> Iterator[str]:
    verdict = "ok" if receipt.status else "FAILED"
    yield f"  {_summary(receipt.transaction)}  {verdict}  gas {receipt.gas_used:,} of {receipt.transaction.gas:,}"
    if receipt.contract_address is not None:
        yield f"      at 0x{receipt.contract_address.hex()}"
    for run in runs:
        where = "" if run.index is None else f" at call {run.index}"
        failed = "" if run.error is None else f": {_shown(_first_line(run.error))}"
        yield f"      {run.join_point.value}{where}  Aspect {_short(run.aspect)} v{run.version}  gas {run.gas:,}{failed}"
        for text in run.log_lines[:_LOG_LINES]:
            yield f"        | {_shown(text)}"
        if len(run.log_lines) > _LOG_LINES:
            yield f"        | … {len(run.log_lines) - _LOG_LINES} lines more"
    if len(receipt.parts) > 2:
        parts = ", ".join(f"{part.join_point or part.part} {part.gas:,}" for part in receipt.parts[:_PARTS])
        more = f", … {len(receipt.parts) - _PARTS} more" if len(receipt.parts) > _PARTS else ""
        yield f"      gas: {parts}{more}"
    if receipt.error is not None:
        reason = revert_reason(receipt.output)
        yield f"      {_shown(_first_line(receipt.error))}" + ("" if reason is None else f": {_shown(reason)}")


def _summary(transaction: SignedTransaction) -> str:
    if transaction.to is None:
        to = f"creates a contract ({len(transaction.data):,} bytes)"
    elif transaction.to == SYSTEM_CONTRACT:
        to = f"→ Aspects: {method_name(transaction.data) or '?'}"
    else:
        selector = f" 0x{transaction.data[:4].hex()}" if transaction.data else ""
        to = f"→ {_short(transaction.to)}{selector}"
    value = f"  {transaction.value:,} wei" if transaction.value else ""
    return f"0x{transaction.hash.hex()[:12]}  {_short(transaction.sender)} #{transaction.nonce} {to}{value}"


def _short(address: bytes) -> str:
    text = address.hex()
    return f"0x{text[:6]}…{text[-4:]}"


def _shown(text: str) -> str:
    """Text that a caller chose, for a terminal and a log: one line, cut, and without characters that would steer it."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _first_line(text: str) -> str:
    """What happened, without the backtraces that wasm and the node add."""
    cause = text.partition("Caused by:\n")[2].strip().partition("\n")[0].strip()
    return cause or text.partition("\n")[0].strip()
