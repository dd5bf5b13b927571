"""By which instruction a message came: py-evm's messages do not say it, their shape does."""

from __future__ import annotations

from typing import Any

from eth._utils.address import generate_contract_address


def contract_address(sender: bytes, nonce: int) -> bytes:
    """Where a creation by `sender` with this nonce lands."""
    return bytes(generate_contract_address(sender, nonce))  # type: ignore[arg-type]


def is_call(message: Any) -> bool:
    """Whether the message came by CALL (or is the top-level one), not STATICCALL, DELEGATECALL, CALLCODE or a creation."""
    return bool(message._code_address is None and message.should_transfer_value and not message.is_create)


def call_kind(message: Any) -> str:
    """By which instruction a message came, if not by one that creates."""
    if message.is_static and not message.should_transfer_value and message._code_address is None:
        return "STATICCALL"
    if message._code_address is None:
        return "CALL"
    return "CALLCODE" if message.should_transfer_value or message.sender == message.storage_address else "DELEGATECALL"


def create_kind(state: Any, message: Any, parent: Any) -> str:
    if parent is None:  # a transaction knows but one kind, and the nonce of a question is not counted
        return "CREATE"
    made = contract_address(message.sender, state.get_nonce(message.sender) - 1)
    return "CREATE" if made == message.storage_address else "CREATE2"
