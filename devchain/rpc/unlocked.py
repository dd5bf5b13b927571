"""What a node's keyring does for its accounts; here for the development accounts alone.

Nothing of this may be reachable by a foreign page: `METHODS` is for whoever decides that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import coincurve
from eth_hash.auto import keccak

from devchain.chain.chain import EmbeddedChain
from devchain.chain.questions import CallRequest
from devchain.chain.transactions import decode
from devchain.rpc import codec
from devchain.rpc.blocks import transaction_json
from devchain.rpc.codec import RpcError, data
from devchain.rpc.signing import sign, unsigned

METHODS = ("eth_sign", "eth_signTransaction", "eth_fillTransaction", "eth_resend")


def table(
    chain: EmbeddedChain,
    keys: Mapping[bytes, bytes],
    question_of: Callable[[list[Any]], CallRequest],
    estimate: Callable[[CallRequest, int], int],
    submit: Callable[[bytes], str],
) -> dict[str, Callable[[list[Any]], Any]]:
    def key_of(address: bytes) -> bytes:
        key = keys.get(address)
        if key is None:
            text = "unknown account: only development accounts (eth_accounts) are signed for"
            raise RpcError(codec.SERVER_ERROR, text)
        return key

    def sign_message(params: list[Any]) -> str:
        """EIP-191, version E: what is signed can be no transaction."""
        key = key_of(codec.parse_address(codec.argument(params, 0), 0))
        message = codec.parse_data(codec.argument(params, 1), 1)
        digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)
        raw = coincurve.PrivateKey(key).sign_recoverable(digest, hasher=None)
        return data(raw[:64] + bytes([raw[64] + 27]))

    def own(question: CallRequest) -> CallRequest:
        chain_id = chain.config.chain_id
        if question.chain_id not in (None, chain_id):
            text = f"chainId does not match node's (have={question.chain_id}, want={chain_id})"
            raise RpcError(codec.SERVER_ERROR, text)
        if question.gas_price is not None and not (question.fee_cap is None and question.tip_cap is None):
            text = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"
            raise RpcError(codec.SERVER_ERROR, text)
        return question

    def signed(question: CallRequest) -> bytes:
        assert question.gas is not None
        assert question.nonce is not None
        return sign(
            question,
            key_of(question.sender),
            nonce=question.nonce,
            gas=question.gas,
            base_fee=chain.head.base_fee,
            chain_id=chain.config.chain_id,
        )

    def sign_transaction(params: list[Any]) -> dict[str, Any]:
        question = own(question_of(params))
        if question.gas is None:
            raise RpcError(codec.SERVER_ERROR, "gas not specified")
        if question.gas_price is None and (question.fee_cap is None or question.tip_cap is None):
            raise RpcError(codec.SERVER_ERROR, "missing gasPrice or maxFeePerGas/maxPriorityFeePerGas")
        if question.nonce is None:
            raise RpcError(codec.SERVER_ERROR, "nonce not specified")
        raw = signed(question)
        return {"raw": data(raw), "tx": transaction_json(decode(raw, chain.config.chain_id), None, None)}

    def fill(params: list[Any]) -> dict[str, Any]:
        """Everything that is missing filled in, nothing signed; for any account."""
        question = own(question_of(params))
        nonce = chain.pending_nonce(question.sender) if question.nonce is None else question.nonce
        gas = estimate(question, chain.head.number) if question.gas is None else question.gas
        raw, shown = unsigned(
            question, nonce=nonce, gas=gas, base_fee=chain.head.base_fee, chain_id=chain.config.chain_id
        )
        return {"raw": data(raw), "tx": shown}

    def resend(params: list[Any]) -> str:
        """The waiting transaction of this sender and nonce once more, at another price or with another limit."""
        question = own(question_of(params))
        if question.nonce is None:
            raise RpcError(codec.SERVER_ERROR, "missing transaction nonce in transaction spec")
        price, limit = (params[i] if len(params) > i else None for i in (1, 2))
        waiting = [t for t in chain.pool.all() if (t.sender, t.nonce) == (question.sender, question.nonce)]
        if not waiting:
            raise RpcError(codec.SERVER_ERROR, f"transaction of nonce {question.nonce} not found")
        old = waiting[0]
        new_price = None if price is None else codec.parse_quantity(price, 1)
        new_limit = None if limit is None else codec.parse_quantity(limit, 2, 64)
        again = replace(
            question,
            to=old.to,
            value=old.value,
            data=old.data,
            gas=new_limit or old.gas,
            gas_price=(new_price or old.fee_cap) if new_price or old.type != 2 else None,
            fee_cap=None if new_price or old.type != 2 else old.fee_cap,
            tip_cap=None if new_price or old.type != 2 else old.tip_cap,
            access_list=old.access_list if old.type else None,
        )
        return submit(signed(again))

    return {
        "eth_sign": sign_message,
        "eth_signTransaction": sign_transaction,
        "eth_fillTransaction": fill,
        "eth_resend": resend,
    }
