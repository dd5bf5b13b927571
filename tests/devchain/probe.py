"""The probe Aspect and its contracts on a chain in memory: what the tests of join points and management speak."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

from eth_abi import decode, encode
from eth_account import Account
from eth_hash.auto import keccak

from devchain.chain.blocks import StoredReceipt
from devchain.chain.chain import EmbeddedChain
from devchain.chain.questions import CallRequest
from devchain.chain.system_contract import SYSTEM_CONTRACT
from devchain.config import ChainConfig

DATA = Path(__file__).resolve().parents[1] / "data" / "conformance"
WASM = (DATA / "probe.wasm").read_bytes()
CONTRACTS = json.loads((DATA / "Probe.json").read_text())
ALL_JOIN_POINTS = 30

_OPS = {
    "ctx": 1, "get": 2, "set": 3, "prop": 4, "tget": 5, "tset": 6, "balance": 7, "state": 8, "static": 13, "gas": 23, "revert": 24,
    "trap": 25, "loop": 26, "softrevert": 28, "echo": 29, "log": 30, "setbig": 34, "burn": 33,
}  # fmt: skip
_SIGNATURES = {
    "deploy": "(bytes,bytes,(string,bytes)[],address,bytes,uint256)",
    "upgrade": "(address,bytes,(string,bytes)[],uint256)",
    "bind": "(address,uint256,address,int8)",
    "unbind": "(address,address)",
    "changeVersion": "(address,address,uint64)",
    "versionOf": "(address)",
    "aspectsOf": "(address)",
    "boundAddressesOf": "(address)",
    "entrypoint": "(address,bytes)",
}


def program(*ops: tuple[Any, ...]) -> bytes:
    """The bytes of a probe program: op code, then each argument with its length."""
    out = b""
    for name, *arguments in ops:
        out += bytes([_OPS[name]])
        for argument in arguments:
            raw = argument.encode() if isinstance(argument, str) else argument
            if isinstance(raw, int):
                raw = raw.to_bytes(max(1, (raw.bit_length() + 7) // 8), "little")
            out += struct.pack("<H", len(raw)) + raw
    return out


def results(output: bytes) -> list[bytes]:
    """The bodies of what a program handed back."""
    found = []
    while output:
        size = struct.unpack("<I", output[1:5])[0]
        raw = output[5 : 5 + size]
        found.append(raw if output[0] in (27, 29, 33, 35) else raw[6:])
        output = output[5 + size :]
    return found


def system(method: str, *arguments: Any) -> bytes:
    """Calldata for the system contract."""
    signature = _SIGNATURES[method]
    return keccak((method + signature).encode())[:4] + encode([signature], [arguments])[_head(signature) :]


def _head(signature: str) -> int:
    # a dynamic tuple stands behind an offset word that calldata does not have
    return 32 if "bytes" in signature else 0


def contract(method: str, *arguments: Any, of: str = "Probe") -> bytes:
    """Calldata for a probe contract."""
    entry = next(e for e in CONTRACTS[of]["abi"] if e.get("name") == method)
    types = [i["type"] for i in entry["inputs"]]
    return keccak(f"{method}({','.join(types)})".encode())[:4] + encode(types, arguments)


class Rig:
    """A chain in memory with two accounts, exact gas, and short words for what tests do."""

    def __init__(self, multiplier: Fraction = Fraction(0)) -> None:
        self.me, self.other = (Account.from_key(bytes([n]) * 32) for n in (0x11, 0x22))
        addresses = [self.address(account) for account in (self.me, self.other)]
        config = ChainConfig(min_gas_multiplier=multiplier, alloc=dict.fromkeys(addresses, 10**24))
        self.chain = EmbeddedChain(config, None, lambda: 1_700_000_000.0)

    @staticmethod
    def address(account: Any) -> bytes:
        return bytes.fromhex(account.address[2:])

    def raw(
        self, to: bytes | None, data: bytes = b"", *, gas: int = 5_000_000, value: int = 0, who: Any = None
    ) -> bytes:
        account = who or self.me
        fields: dict[str, Any] = {
            "nonce": self.chain.pending_nonce(self.address(account)),
            "gas": gas,
            "gasPrice": 10**9,
            "value": value,
            "data": data,
            "chainId": 7105636,
        }
        if to is not None:
            fields["to"] = to
        return bytes(account.sign_transaction(fields).raw_transaction)

    def send(self, to: bytes | None, data: bytes = b"", **options: Any) -> StoredReceipt:
        """Mine one transaction."""
        self.chain.submit(self.raw(to, data, **options))
        return self.chain.mine().receipts[0]

    def create(self, name: str = "Probe") -> bytes:
        receipt = self.send(None, bytes.fromhex(CONTRACTS[name]["bin"]))
        assert receipt.status == 1 and receipt.contract_address is not None
        return receipt.contract_address

    def call(self, to: bytes, data: bytes = b"", *, value: int = 0, gas: int | None = None, who: Any = None) -> bytes:
        """`eth_call` on the head. Raises CallFailed."""
        question = CallRequest(sender=self.address(who or self.me), to=to, data=data, value=value, gas=gas)
        return self.chain.call(question, self.chain.head.number)

    def aspect(
        self, init: bytes = b"", properties: tuple[tuple[str, bytes], ...] = (), join_points: int = ALL_JOIN_POINTS
    ) -> bytes:
        data = system("deploy", WASM, init, list(properties), self.address(self.me), b"", join_points)
        receipt = self.send(SYSTEM_CONTRACT, data)
        assert receipt.status == 1, receipt.error
        assert receipt.contract_address is not None
        return receipt.contract_address

    def manage(self, method: str, *arguments: Any, **options: Any) -> StoredReceipt:
        return self.send(SYSTEM_CONTRACT, system(method, *arguments), **options)

    def bind(self, aspect: bytes, account: bytes, *, version: int = 0, priority: int = 1) -> None:
        receipt = self.manage("bind", aspect, version, account, priority)
        assert receipt.status == 1, receipt.error

    def at(self, aspect: bytes, join_point: str, *ops: tuple[Any, ...]) -> None:
        """Store a program for a join point."""
        name = join_point.encode()
        receipt = self.operate(aspect, b"\x02" + bytes([len(name)]) + name + program(*ops))
        assert receipt.status == 1, receipt.error

    def operate(self, aspect: bytes, arguments: bytes, **options: Any) -> StoredReceipt:
        return self.manage("entrypoint", aspect, arguments, **options)

    def ask(self, aspect: bytes, *ops: tuple[Any, ...], who: Any = None) -> list[bytes]:
        """Run a program as a question to the Aspect's operation."""
        answer = self.call(SYSTEM_CONTRACT, system("entrypoint", aspect, b"\x01" + program(*ops)), who=who)
        (output,) = decode(["bytes"], answer)
        return results(output)

    def state(self, aspect: bytes, key: str | bytes) -> bytes:
        return self.ask(aspect, ("get", key))[0]

    def seen(self, aspect: bytes, index: int) -> list[bytes]:
        """What the program of the index-th join point call since the counter was reset handed back."""
        return results(self.state(aspect, b"o" + bytes([index])))

    def runs(self, aspect: bytes) -> int:
        """How many join point calls ran a program and were kept."""
        return int.from_bytes(self.state(aspect, "c"), "little")

    def x(self, address: bytes) -> int:
        return self.chain.world_at(self.chain.head.number).get_storage(address, 0)

    def balance(self, address: bytes) -> int:
        return self.chain.world_at(self.chain.head.number).get_balance(address)
