"""The protobuf inputs of the join points, byte for byte as a node fills them (proto2: what is set is written, zero or not)."""

from __future__ import annotations


class MarshalError(Exception):
    """A required field has no value (an empty calldata arrives as nothing at all): the node's join point fails with this text."""


def verify_tx_input(*, tx_hash: bytes, to: bytes, block_number: int, validation_data: bytes, call_data: bytes) -> bytes:
    raise NotImplementedError


def pre_tx_execute_input(*, tx_hash: bytes, to: bytes, sender: bytes, block_number: int) -> bytes:
    raise NotImplementedError


def post_tx_execute_input(*, tx_hash: bytes, to: bytes, sender: bytes, block_number: int, status: int) -> bytes:
    raise NotImplementedError


def pre_contract_call_input(
    *, sender: bytes, to: bytes, index: int, data: bytes, value: int, gas: int, block_number: int
) -> bytes:
    """Raises MarshalError on empty `data`, as the node does."""
    raise NotImplementedError


def post_contract_call_input(
    *,
    sender: bytes,
    to: bytes,
    index: int,
    data: bytes,
    value: int,
    gas: int,
    ret: bytes | None,
    error: str,
    block_number: int,
) -> bytes:
    """gas: what is left. ret: None where the call returned nothing. error: "" on success. Raises MarshalError as above."""
    raise NotImplementedError


def operation_input(*, tx_hash: bytes, aspect_id: bytes, sender: bytes, block_number: int, call_data: bytes) -> bytes:
    raise NotImplementedError


def init_input(*, tx_hash: bytes, aspect_id: bytes, sender: bytes, block_number: int, call_data: bytes) -> bytes:
    raise NotImplementedError
