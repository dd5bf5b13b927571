"""`eth_createAccessList` and `eth_getProof`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devchain.chain.chain import EmbeddedChain
from devchain.chain.questions import CallFailed, CallRequest
from devchain.rpc import codec
from devchain.rpc.codec import RpcError, data, quantity

_SLOTS = 1024
"""Storage keys of one proof, as go-ethereum allows."""


def table(
    chain: EmbeddedChain, question_of: Callable[[list[Any]], CallRequest], number_of: Callable[[Any, int], int]
) -> dict[str, Callable[[list[Any]], Any]]:
    def access_list(params: list[Any]) -> dict[str, Any]:
        question = question_of(params)
        number = number_of(params[1] if len(params) > 1 else None, 1)
        try:
            found, gas, error = chain.questions.access_list(question, number)
        except CallFailed as failure:
            raise RpcError(codec.SERVER_ERROR, str(failure)) from None
        answer: dict[str, Any] = {
            "accessList": [{"address": data(a), "storageKeys": [data(key) for key in keys]} for a, keys in found],
            "gasUsed": quantity(gas),
        }
        return answer if error is None else answer | {"error": error}

    def proof(params: list[Any]) -> dict[str, Any]:
        """The values of an account, without a proof: there is no trie, and a Cosmos node's proofs are of its own kind. The lists of
        proofs are empty, so nobody who checks them is deceived."""
        address = codec.parse_address(codec.argument(params, 0), 0)
        keys = codec.argument(params, 1)
        if not isinstance(keys, list) or len(keys) > _SLOTS:
            raise codec.invalid(1, f"an array of at most {_SLOTS} storage keys")
        slots = [codec.parse_slot(key, 1) for key in keys]
        world = chain.world_at(number_of(codec.argument(params, 2), 2))
        account = world.get_account(address)
        return {
            "address": codec.checksum_address(address),
            "accountProof": [],
            "balance": quantity(account.balance),
            "codeHash": data(account.code_hash if account.exists else bytes(32)),
            "nonce": quantity(account.nonce),
            "storageHash": data(bytes(32)),
            "storageProof": [
                {"key": key, "value": quantity(world.get_storage(address, slot)), "proof": []}
                for key, slot in zip(keys, slots, strict=True)
            ],
        }

    return {"eth_createAccessList": access_list, "eth_getProof": proof}
