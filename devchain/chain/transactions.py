"""Signed transactions of types 0, 1 and 2: decode, recover the sender, and what they cost before they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import coincurve
from eth_hash.auto import keccak

from devchain.chain import rlp
from devchain.config import ForkRules

AccessList = tuple[tuple[bytes, tuple[bytes, ...]], ...]

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class TransactionRefused(Exception):
    """The chain does not take this transaction; the message says why, in the node's words."""


class WrongChain(TransactionRefused):
    """Signed for another chain."""

    def __init__(self, signed_for: int, chain_id: int) -> None:
        self.brief = f"invalid chain id for signer: have {signed_for} want {chain_id}"
        """The newest node's words; the message is the older one's."""
        mismatch = "tx intended signer does not match the given signer"
        super().__init__(
            f"couldn't retrieve sender address from the ethereum transaction: {self.brief}: {mismatch}: {mismatch}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A signed transaction. Amounts in wei, addresses 20 bytes."""

    type: int
    chain_id: int | None
    """None: a legacy transaction without replay protection."""
    nonce: int
    gas: int
    fee_cap: int
    """Most that is paid per gas; the gas price of types 0 and 1."""
    tip_cap: int
    """Most that is paid above the base fee; the gas price of types 0 and 1."""
    to: bytes | None
    """None creates a contract."""
    value: int
    data: bytes
    access_list: AccessList
    v: int
    r: int
    s: int
    raw: bytes
    """Canonical encoding, signature included."""
    unsigned_raw: bytes
    """What was hashed for signing."""
    hash: bytes
    unsigned_hash: bytes
    sender: bytes

    @property
    def cost(self) -> int:
        """The most that the sender can lose: gas at the fee cap, and the value."""
        return self.gas * self.fee_cap + self.value

    def price(self, base_fee: int) -> int:
        """What is paid per gas in a block with this base fee."""
        return min(self.fee_cap, base_fee + self.tip_cap)


def decode(raw: bytes, chain_id: int) -> SignedTransaction:
    """Decode and check a signed transaction for this chain. Raises TransactionRefused."""
    try:
        return _decode(raw, chain_id)
    except rlp.RlpError as error:
        raise TransactionRefused(str(error)) from None


def _decode(raw: bytes, chain_id: int) -> SignedTransaction:
    if not raw:
        raise TransactionRefused("typed transaction too short")
    if raw[0] > 0x7F:
        return _legacy(raw, chain_id)
    if len(raw) == 1:
        raise TransactionRefused("typed transaction too short")
    if raw[0] not in (1, 2):
        raise TransactionRefused("transaction type not supported")
    return _typed(raw, chain_id)


def _legacy(raw: bytes, chain_id: int) -> SignedTransaction:
    fields = _fields(raw, 9, "types.LegacyTx")
    nonce, price, gas, to, value, data, v, r, s = fields
    number_v = _uint(v, 32)
    _refuse_unsigned(number_v, r, s)
    body = [nonce, price, gas, to, value, data]
    if number_v in (27, 28):
        signed_for, parity = None, number_v - 27
    else:
        if number_v < 35:
            raise TransactionRefused("invalid transaction v, r, s values")
        signed_for, parity = (number_v - 35) // 2, (number_v - 35) % 2
        body += [rlp.integer(signed_for), b"", b""]
    _check_chain(signed_for, chain_id)
    fields = [nonce, price, price, gas, to, value, data, v, r, s]
    return _signed(raw, rlp.encode(body), 0, signed_for, fields, None, parity)


def _typed(raw: bytes, chain_id: int) -> SignedTransaction:
    kind = raw[0]
    if kind == 1:
        fields = _fields(raw[1:], 11, "types.AccessListTx")
        signed_for, nonce, tip, gas, to, value, data, accesses, v, r, s = fields
        cap = tip
    else:
        fields = _fields(raw[1:], 12, "types.DynamicFeeTx")
        signed_for, nonce, tip, cap, gas, to, value, data, accesses, v, r, s = fields
    _refuse_unsigned(_uint(v, 32), r, s)
    _check_chain(_uint(signed_for, 32), chain_id)
    unsigned = raw[:1] + rlp.encode(fields[:-3])
    same = [nonce, tip, cap, gas, to, value, data, v, r, s]
    return _signed(raw, unsigned, kind, _uint(signed_for, 32), same, accesses, _uint(v, 32))


def _signed(
    raw: bytes,
    unsigned: bytes,
    kind: int,
    chain_id: int | None,
    fields: Sequence[rlp.Item],
    accesses: rlp.Item | None,
    parity: int,
) -> SignedTransaction:
    """fields: nonce, tip, cap, gas, to, value, data, v, r, s; they and accesses as they were encoded. parity: of the signature's point."""
    nonce, tip, cap, gas, to, value, data, v, r, s = fields
    unsigned_hash = keccak(unsigned)
    return SignedTransaction(
        type=kind,
        chain_id=chain_id,
        nonce=_uint(nonce, 8),
        gas=_uint(gas, 8),
        fee_cap=_uint(cap, 32),
        tip_cap=_uint(tip, 32),
        to=_address(to),
        value=_uint(value, 32),
        data=_bytes(data),
        access_list=() if accesses is None else _access_list(accesses),
        v=_uint(v, 32),
        r=_uint(r, 32),
        s=_uint(s, 32),
        raw=raw,
        unsigned_raw=unsigned,
        hash=keccak(raw),
        unsigned_hash=unsigned_hash,
        sender=_recover(unsigned_hash, parity, _uint(r, 32), _uint(s, 32)),
    )


def _refuse_unsigned(v: int, r: rlp.Item, s: rlp.Item) -> None:
    if v == 0 and not r and not s:
        raise TransactionRefused(
            "not supported: without a signature a transaction asks a verifier Aspect for its sender"
        )


def _check_chain(signed_for: int | None, chain_id: int) -> None:
    if signed_for is not None and signed_for != chain_id:
        raise WrongChain(signed_for, chain_id)


def _recover(digest: bytes, parity: int, r: int, s: int) -> bytes:
    # EIP-2: the upper half of s is refused, as every node since Homestead does
    if parity not in (0, 1) or not 0 < r < SECP256K1_N or not 0 < s <= SECP256K1_N // 2:
        raise TransactionRefused("invalid transaction v, r, s values")
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception as error:  # coincurve raises nothing narrower where no point fits
        raise TransactionRefused("invalid transaction v, r, s values") from error
    return keccak(key.format(compressed=False)[1:])[12:]


def _fields(payload: bytes, count: int, name: str) -> list[rlp.Item]:
    item = rlp.decode(payload)
    if isinstance(item, bytes):
        raise rlp.RlpError(f"rlp: expected input list for {name}")
    if len(item) < count:
        raise rlp.RlpError(f"rlp: too few elements for {name}")
    if len(item) > count:
        raise rlp.RlpError(f"rlp: input list has too many elements for {name}")
    return list(item)


def _bytes(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes):
        raise rlp.RlpError("rlp: expected input string or byte")
    return item


def _uint(item: rlp.Item, width: int) -> int:
    raw = _bytes(item)
    if raw[:1] == b"\0":
        raise rlp.RlpError("rlp: non-canonical integer (leading zero bytes)")
    if len(raw) > width:
        raise rlp.RlpError("rlp: input string too long")
    return int.from_bytes(raw, "big")


def _address(item: rlp.Item) -> bytes | None:
    raw = _bytes(item)
    if not raw:
        return None
    if len(raw) != 20:
        raise rlp.RlpError("rlp: input string too short for common.Address")
    return raw


def _access_list(item: rlp.Item) -> AccessList:
    if isinstance(item, bytes):
        raise rlp.RlpError("rlp: expected input list for types.AccessList")
    entries = []
    for entry in item:
        if isinstance(entry, bytes) or len(entry) != 2 or isinstance(entry[1], bytes):
            raise rlp.RlpError("rlp: expected input list for types.AccessTuple")
        address, keys = _bytes(entry[0]), [_bytes(key) for key in cast("list[rlp.Item]", entry[1])]
        if len(address) != 20 or any(len(key) != 32 for key in keys):
            raise rlp.RlpError("rlp: input string too short for common.Hash")
        entries.append((address, tuple(keys)))
    return tuple(entries)


def intrinsic_gas(data: bytes, *, creates: bool, access_list: AccessList, rules: ForkRules = ForkRules.ARTELA) -> int:
    """Gas before the first instruction: Homestead, Istanbul and Berlin rules; EIP-3860's words of init code only where it is on."""
    zeros = data.count(0)
    gas = 53_000 if creates else 21_000
    gas += 4 * zeros + 16 * (len(data) - zeros)
    if creates and rules is ForkRules.CANCUN:
        gas += 2 * ((len(data) + 31) // 32)
    return gas + 2400 * len(access_list) + 1900 * sum(len(keys) for _, keys in access_list)
