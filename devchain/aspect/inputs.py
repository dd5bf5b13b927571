"""The protobuf inputs of the join points, byte for byte as a node fills them (proto2: what is set is written, zero or not)."""

from __future__ import annotations

from devchain.aspect.protobuf import MarshalError, blob, minimal, varint

__all__ = [
    "MarshalError",
    "init_input",
    "operation_input",
    "post_contract_call_input",
    "post_tx_execute_input",
    "pre_contract_call_input",
    "pre_tx_execute_input",
    "verify_tx_input",
]


def verify_tx_input(*, tx_hash: bytes, to: bytes, block_number: int, validation_data: bytes, call_data: bytes) -> bytes:
    """TxVerifyInput {tx {hash, to}, block {number}, validation_data, call_data}."""
    tx = blob(1, tx_hash) + blob(2, to)
    return blob(1, tx) + _block(block_number) + blob(3, validation_data) + blob(4, call_data)


def pre_tx_execute_input(*, tx_hash: bytes, to: bytes, sender: bytes, block_number: int) -> bytes:
    """PreTxExecuteInput {tx {hash, to, from}, block {number}}."""
    return _transaction(tx_hash, to, sender) + _block(block_number)


def post_tx_execute_input(*, tx_hash: bytes, to: bytes, sender: bytes, block_number: int, status: int) -> bytes:
    """PostTxExecuteInput: as before the execution, and receipt {status}."""
    return _transaction(tx_hash, to, sender) + _block(block_number) + blob(3, varint(1, status))


def pre_contract_call_input(
    *, sender: bytes, to: bytes, index: int, data: bytes, value: int, gas: int, block_number: int
) -> bytes:
    """PreContractCallInput {call {from, to, index, data, value, gas}, block {number}}.

    value: wei; gas: EVM gas available to the call. Raises MarshalError on empty `data`, as the node does.
    """
    return blob(1, _call("PreExecMessageInput", sender, to, index, data, value, gas)) + _block(block_number)


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
    """PostContractCallInput: the call as before, with the gas that is left, and what came of it.

    ret: None where the call returned nothing. error: "" on success. Raises MarshalError as above.
    """
    call = _call("PostExecMessageInput", sender, to, index, data, value, gas)
    returned = b"" if ret is None else blob(7, ret)
    return blob(1, call + returned + blob(8, error.encode())) + _block(block_number)


def operation_input(*, tx_hash: bytes, aspect_id: bytes, sender: bytes, block_number: int, call_data: bytes) -> bytes:
    """OperationInput {tx {hash, to, from}, block {number}, call_data}."""
    return _transaction(tx_hash, aspect_id, sender) + _block(block_number) + blob(3, call_data)


def init_input(*, tx_hash: bytes, aspect_id: bytes, sender: bytes, block_number: int, call_data: bytes) -> bytes:
    """InitInput, laid out as OperationInput; call_data is the `initdata` of the deployment."""
    return operation_input(
        tx_hash=tx_hash, aspect_id=aspect_id, sender=sender, block_number=block_number, call_data=call_data
    )


def _transaction(tx_hash: bytes, to: bytes, sender: bytes) -> bytes:
    return blob(1, blob(1, tx_hash) + blob(2, to) + blob(3, sender))


def _block(number: int) -> bytes:
    return blob(2, varint(1, number))


def _call(message: str, sender: bytes, to: bytes, index: int, data: bytes, value: int, gas: int) -> bytes:
    if not data:
        # empty calldata reaches the node's code as nil, and `data` is a required field
        raise MarshalError(f"proto: required field aspect.v2.{message}.data not set")
    return blob(1, sender) + blob(2, to) + varint(3, index) + blob(4, data) + blob(5, minimal(value)) + varint(6, gas)
