"""Where Aspects are kept: code, versions, properties, bindings, state. Keys, records and gas of the node's store, version 1.

Reading and writing cost by the bytes of key and value, `((n + 32) >> 5) · 10` and `· 1000`; deleting is free. So every record
has exactly the node's length, and the exact gas of management follows from the sequence of reads and writes alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from devchain import strictjson
from devchain.chain.state import World

_LOAD_GAS: Final = 10
_STORE_GAS: Final = 1000
_PROTOCOL_INFO: Final = b"\xff\x01"
_META: Final = b"\xdd\x00\x01\x00\x01"
_BINDING: Final = b"\xdd\x00\x01\x00\x02"
_CODE: Final = b"\xdd\x00\x01\x00\x03"
_PROPERTIES: Final = b"\xdd\x00\x01\x00\x04"
_STATE: Final = b"\xdd\x00\x01\x00\xff"
_ACCOUNT_BINDING: Final = b"\xee\x00\x01\x00\x01"

_FILTER_BYTES: Final = 2048
"""Encoded size of the node's cuckoo filter over an Aspect's bound accounts, however many it holds."""
_SLOT_BINDINGS: Final = 120
"""Bindings per slot of an Aspect's list."""
_FILTER_SLOTS: Final = 15
"""Slots per filter: 2,047 entries at a load of 90 %, over 120."""
_BINDING_BYTES: Final = 32
_MAX_BINDINGS: Final = _FILTER_SLOTS * 255 * _SLOT_BINDINGS

MAX_ASPECTS_PER_ACCOUNT: Final = 255
MAX_PROPERTIES: Final = 255


class StoreRefused(Exception):
    """The store says no; the message is the node's."""


class StoreCrash(Exception):
    """The node's own code runs over a slice here."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An Aspect at an account (or the reverse, in the Aspect's own list)."""

    address: bytes
    version: int
    priority: int
    join_points: int

    def encode(self) -> bytes:
        return (
            self.address
            + self.version.to_bytes(8, "big")
            + self.priority.to_bytes(1, "big", signed=True)
            + (self.join_points & 0xFFFF).to_bytes(2, "big")
            + b"\0"
        )

    @classmethod
    def decode(cls, raw: bytes) -> Binding:
        return cls(
            raw[:20],
            int.from_bytes(raw[20:28], "big"),
            int.from_bytes(raw[28:29], "big", signed=True),
            int.from_bytes(raw[29:31], "big"),
        )


@dataclass(frozen=True, slots=True)
class VersionMeta:
    join_points: int
    code_hash: bytes


class Meter:
    """Gas of a management operation. With `limit` None nothing is charged."""

    def __init__(self, gas: int | None) -> None:
        self._gas = gas

    @property
    def gas(self) -> int:
        return self._gas or 0

    @gas.setter
    def gas(self, gas: int) -> None:
        self._gas = gas

    def require(self, size: int, price: int) -> int:
        """What `size` bytes cost. Raises StoreRefused when that runs it dry, and leaves nothing."""
        cost = ((size + 32) >> 5) * price
        if self._gas is not None and self._gas < cost:
            self._gas = 0
            raise StoreRefused("out of gas")
        return cost

    def charge(self, size: int, price: int) -> None:
        """Pay for `size` bytes. Raises StoreRefused."""
        cost = self.require(size, price)
        if self._gas is not None:
            self._gas -= cost


class _Table:
    def __init__(self, world: World, meter: Meter) -> None:
        self._world = world
        self.meter = meter

    def _load(self, key: bytes) -> bytes:
        value = self._world.get_value(key)
        self.meter.charge(len(key) + len(value), _LOAD_GAS)
        return value

    def _store(self, key: bytes, value: bytes) -> None:
        if value:
            self.meter.charge(len(key) + len(value), _STORE_GAS)
        self._world.set_value(key, value)

    def _probe_old_store(self, lookups: int) -> None:
        """What is not in this store is looked for in the store of version 0, where nothing ever is; that costs."""
        for _ in range(lookups):
            self.meter.charge(21, _LOAD_GAS)


class AspectRecord(_Table):
    """One Aspect's versions, properties and bound accounts."""

    def __init__(self, world: World, aspect_id: bytes, meter: Meter) -> None:
        """Opens the record, deployed or not. Raises StoreRefused if the meter cannot pay for the look."""
        super().__init__(world, meter)
        self._id = aspect_id
        self._info_key = _PROTOCOL_INFO + aspect_id
        info = world.get_value(self._info_key)
        self.latest = int.from_bytes(info[6:14], "big")
        """The newest version; 0 if not deployed."""
        self._pay_master = info[14:34]
        self._proof = info[42:]
        if len(info) <= 2:
            self._probe_old_store(1)

    def create(self) -> None:
        self._pay_master, self._proof = bytes(20), b""
        self._store(self._info_key, self._info())

    def _info(self) -> bytes:
        return (
            b"\x00\x01" * 3
            + self.latest.to_bytes(8, "big")
            + self._pay_master
            + len(self._proof).to_bytes(8, "big")
            + self._proof
        )

    def bump_version(self) -> int:
        self._load(self._info_key)
        self.latest += 1
        self._store(self._info_key, self._info())
        return self.latest

    def set_meta(self, pay_master: bytes, proof: bytes) -> None:
        self._pay_master, self._proof = pay_master, proof
        self._load(self._info_key)
        self._store(self._info_key, self._info())

    def code(self, version: int) -> bytes:
        return self._load(self._versioned(_CODE, version))

    def set_code(self, version: int, code: bytes) -> None:
        self._store(self._versioned(_CODE, version), code)

    def version_meta(self, version: int) -> VersionMeta:
        raw = self._load(self._versioned(_META, version))
        if len(raw) < 40:
            raise StoreRefused("invalid version meta")
        return VersionMeta(int.from_bytes(raw[:8], "big"), raw[8:40])

    def set_version_meta(self, version: int, meta: VersionMeta) -> None:
        self._store(self._versioned(_META, version), meta.join_points.to_bytes(8, "big") + meta.code_hash)

    def properties(self, version: int) -> dict[bytes, bytes]:
        return _properties_from_json(self._load(self._versioned(_PROPERTIES, version)))

    def set_properties(self, version: int, properties: list[tuple[memoryview, memoryview]]) -> None:
        """The properties of a version: those given, and what the version before had besides."""
        inherited = self.properties(version - 1) if version > 1 else {}
        if len(properties) > MAX_PROPERTIES:
            raise StoreRefused("aspect property limit exceeds")
        # what is written is longer than what is given, so nobody need build what nobody can pay
        self.meter.require(sum(len(key) + len(value) for key, value in properties), _STORE_GAS)
        merged = [(bytes(key), bytes(value)) for key, value in properties]
        given = {key for key, _ in merged}
        merged += [(key, value) for key, value in inherited.items() if key not in given]
        if len(merged) > MAX_PROPERTIES:
            raise StoreRefused("aspect property limit exceeds")
        merged.sort(key=lambda pair: pair[0])
        self._store(self._versioned(_PROPERTIES, version), _properties_to_json(merged))

    def _versioned(self, prefix: bytes, version: int) -> bytes:
        return prefix + version.to_bytes(8, "big") + self._id

    # -- bound accounts: slots of 120 behind a length in the first, and a filter per 15 slots

    def _slot_key(self, slot: int) -> bytes:
        return _BINDING + self._id + b"\x02" + slot.to_bytes(8, "big")

    def _filter_key(self, number: int) -> bytes:
        return _BINDING + self._id + b"\x01" + bytes([number])

    def _store_filter(self, number: int, *, empty: bool = False) -> None:
        # the filter only saves the node reads that would find nothing; its content says nothing that the slots do not
        self._store(self._filter_key(number), b"" if empty else b"\x01" * _FILTER_BYTES)

    def bound_accounts(self) -> list[Binding]:
        """Raises StoreCrash where nothing was ever bound: the node slices an empty record."""
        first = self._load(self._slot_key(0))
        if len(first) < 8:
            raise StoreCrash("no slot")
        count = int.from_bytes(first[:8], "big")
        found: list[Binding] = []
        body, slot = first[8:], 0
        while len(found) < count:
            found += [Binding.decode(body[at : at + _BINDING_BYTES]) for at in range(0, len(body), _BINDING_BYTES)]
            if len(found) < count:
                slot += 1
                body = self._load(self._slot_key(slot))
        return found[:count]

    def add_binding(self, binding: Binding) -> None:
        first = self._load(self._slot_key(0))
        count = int.from_bytes(first[:8], "big")
        if count >= _MAX_BINDINGS:
            raise StoreRefused("binding limit exceeded")
        if count == 0:
            self._store_filter(0)
            self._store(self._slot_key(0), (1).to_bytes(8, "big") + binding.encode())
            return
        last = count // _SLOT_BINDINGS
        self._find(binding.address, first, last, refuse=True)
        full = count % _SLOT_BINDINGS == 0
        self._store_filter(last // _FILTER_SLOTS)
        if full:
            self._store(self._slot_key(last), binding.encode())
        elif last == 0:
            first += binding.encode()
        else:
            self._store(self._slot_key(last), self._load(self._slot_key(last)) + binding.encode())
        self._store(self._slot_key(0), (count + 1).to_bytes(8, "big") + first[8:])

    def remove_binding(self, account: bytes) -> None:
        """Nothing happens if it is not bound."""
        first = self._load(self._slot_key(0))
        count = int.from_bytes(first[:8], "big")
        if count == 0:
            return
        last = (count - 1) // _SLOT_BINDINGS
        found = self._find(account, first, last, refuse=False)
        if found is None:
            return
        slot, body, at = found
        if slot == last:
            body = body[:at] + body[at + _BINDING_BYTES :]
            if slot:
                self._store(self._slot_key(slot), body)
            else:
                first = first[:8] + body
            # in later slots the node deletes from the filter under a key that it never inserted, so those never run empty
            self._store_filter(slot // _FILTER_SLOTS, empty=slot == 0 and not body)
        else:
            tail = self._load(self._slot_key(last))
            body = body[:at] + tail[-_BINDING_BYTES:] + body[at + _BINDING_BYTES :]
            self._store(self._slot_key(last), tail[:-_BINDING_BYTES])
            if slot:
                self._store(self._slot_key(slot), body)
            else:
                first = first[:8] + body
            self._store_filter(last // _FILTER_SLOTS, empty=len(tail) == _BINDING_BYTES and last % _FILTER_SLOTS == 0)
            if slot // _FILTER_SLOTS != last // _FILTER_SLOTS:
                self._store_filter(slot // _FILTER_SLOTS)
        self._store(self._slot_key(0), (count - 1).to_bytes(8, "big") + first[8:])

    def _find(self, account: bytes, first: bytes, last: int, *, refuse: bool) -> tuple[int, bytes, int] | None:
        """Where an account stands: (slot, its bindings, offset). The node asks a filter first and reads only the slot that it names."""
        for number in range(last // _FILTER_SLOTS + 1):
            if not self._load(self._filter_key(number)):
                break
            for slot in range(number * _FILTER_SLOTS, min((number + 1) * _FILTER_SLOTS, last + 1)):
                body = first[8:] if slot == 0 else self._world.get_value(self._slot_key(slot))
                for at in range(0, len(body), _BINDING_BYTES):
                    if body[at : at + 20] == account:
                        if slot:
                            self._load(self._slot_key(slot))
                        if refuse:
                            raise StoreRefused("aspect already bound")
                        return slot, body, at
        return None


class AccountRecord(_Table):
    """The Aspects bound to one account."""

    def __init__(self, world: World, account: bytes, meter: Meter) -> None:
        super().__init__(world, meter)
        self._info_key = _PROTOCOL_INFO + account
        self._key = _ACCOUNT_BINDING + account
        if not world.get_value(self._info_key):
            self._probe_old_store(2)

    def begin(self) -> None:
        """Mark the account as one that has Aspects, if it is not yet."""
        if self._load(self._info_key)[:2] != b"\x00\x01":
            self._store(self._info_key, b"\x00\x01")

    def bindings(self) -> list[Binding]:
        """In the order in which they were bound."""
        raw = self._load(self._key)
        return [Binding.decode(raw[at : at + _BINDING_BYTES]) for at in range(0, len(raw), _BINDING_BYTES)]

    def add(self, binding: Binding, *, is_contract: bool) -> None:
        present = self.bindings()
        verifies = bool(binding.join_points & 1)
        if not is_contract and not verifies:
            raise StoreRefused("binding non-verifier aspect with EOA")
        if len(present) >= MAX_ASPECTS_PER_ACCOUNT:
            raise StoreRefused("binding limit exceeded")
        for other in present:
            if other.address == binding.address:
                raise StoreRefused("aspect already bound")
            if verifies and is_contract and other.join_points & 1:
                raise StoreRefused("binding limit exceeded")
        self._store(self._key, b"".join(b.encode() for b in (*present, binding)))

    def remove(self, aspect_id: bytes) -> None:
        kept, found = [], False
        for binding in self.bindings():
            if binding.address == aspect_id and not found:
                found = True
            else:
                kept.append(binding)
        if found:
            self._store(self._key, b"".join(b.encode() for b in kept))


def state_key(aspect_id: bytes, key: bytes) -> bytes:
    """Where a value of an Aspect's own state lies."""
    return _STATE + aspect_id + key


def _properties_to_json(properties: list[tuple[bytes, bytes]]) -> bytes:
    """As Go's encoding/json writes []struct{Key string; Value []byte}: its length is what is paid for."""
    if not properties:
        return b"null"
    parts = [f'{{"Key":{_go_string(key)},"Value":"{base64.b64encode(value).decode()}"}}' for key, value in properties]
    return ("[" + ",".join(parts) + "]").encode()


def _go_string(raw: bytes) -> str:
    out = []
    for character in raw.decode("utf-8", "surrogateescape"):
        point = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif character in _SHORT:
            out.append(_SHORT[character])
        elif point < 0x20 or character in "<>&" or point in (0x2028, 0x2029):
            out.append(f"\\u{point:04x}")
        elif 0xDC80 <= point <= 0xDCFF:
            out.append("\\ufffd")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


_PROPERTIES_BYTES: Final = 64 * 1024 * 1024
"""No block's gas pays for that many."""


def _properties_from_json(raw: bytes) -> dict[bytes, bytes]:
    entries = (
        strictjson.loads(raw, max_bytes=_PROPERTIES_BYTES, max_values=_PROPERTIES_BYTES, max_depth=3) if raw else None
    )
    return {entry["Key"].encode(): base64.b64decode(entry["Value"]) for entry in entries or []}
