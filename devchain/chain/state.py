"""The world: accounts, storage, code and Aspect data, with two journals over a versioned store.

Two journals, because the node has two: what the EVM does (balances, nonces, code, storage, warm sets, transient storage of
EIP-1153) is undone when a call frame fails; what Aspects and the system contract write goes straight into the transaction's
own context and is undone only when the whole transaction fails.

There is no trie. The node answers Cosmos proofs, so a state root says nothing to a client; block headers carry a chained digest
of the writes instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from eth_hash.auto import keccak

AccessList = tuple[tuple[bytes, tuple[bytes, ...]], ...]

EMPTY_CODE_HASH: Final = keccak(b"")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as of now. A generation numbers the account's storage: destroying an account only counts it up."""

    nonce: int = 0
    balance: int = 0
    code_hash: bytes = EMPTY_CODE_HASH
    exists: bool = False
    generation: int = 0

    @property
    def is_empty(self) -> bool:
        """Empty in the sense of EIP-161."""
        return self.nonce == 0 and self.balance == 0 and self.code_hash == EMPTY_CODE_HASH


NOTHING: Final = Account()


class StateReader(Protocol):
    """Committed state as of one block."""

    def account(self, address: bytes) -> Account: ...
    def slot(self, address: bytes, generation: int, slot: int) -> int: ...
    def code(self, code_hash: bytes) -> bytes: ...
    def value(self, key: bytes) -> bytes:
        """A value of the Aspect store, empty if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Writes:
    """What one block changed."""

    accounts: dict[bytes, Account]
    slots: dict[tuple[bytes, int, int], int]
    """(address, generation, slot) → value."""
    codes: dict[bytes, bytes]
    values: dict[bytes, bytes]


Snapshot = int
_MISSING: Final = object()
_CACHE_LIMIT = 400_000
"""Entries of a cache above which it is emptied between blocks: about 100 MiB of small objects."""


class World:
    """The state that transactions run on. Not thread-safe: one owner."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._accounts: dict[bytes, Account] = {}
        self._slots: dict[tuple[bytes, int, int], int] = {}
        self._codes: dict[bytes, bytes] = {}
        self._values: dict[bytes, bytes] = {}
        self._journal: list[tuple[dict[Any, Any], Any, Any]] = []
        self._value_journal: list[tuple[bytes, bytes]] = []
        # per transaction
        self._original: dict[tuple[bytes, int, int], int] = {}
        self._warm_addresses: dict[bytes, bool] = {}
        self._warm_slots: dict[tuple[bytes, int], bool] = {}
        self._transient: dict[tuple[bytes, int], int] = {}
        self._created: dict[bytes, bool] = {}
        self._destroyed: dict[bytes, bool] = {}
        # per block: what stood in the store before
        self._account_base: dict[bytes, Account] = {}
        self._slot_base: dict[tuple[bytes, int, int], int] = {}
        self._value_base: dict[bytes, bytes] = {}
        self._new_codes: dict[bytes, bytes] = {}

    # -- accounts

    def get_account(self, address: bytes) -> Account:
        account = self._accounts.get(address)
        if account is None:
            account = self._accounts[address] = self._reader.account(address)
        return account

    def _put_account(self, address: bytes, account: Account) -> None:
        before = self.get_account(address)
        self._account_base.setdefault(address, before)
        self._journal.append((self._accounts, address, before))
        self._accounts[address] = account

    def get_balance(self, address: bytes) -> int:
        return self.get_account(address).balance

    def set_balance(self, address: bytes, balance: int) -> None:
        account = self.get_account(address)
        if account.balance != balance or not account.exists:
            self._put_account(address, replace(account, balance=balance, exists=True))

    def delta_balance(self, address: bytes, delta: int) -> None:
        self.set_balance(address, self.get_account(address).balance + delta)

    def get_nonce(self, address: bytes) -> int:
        return self.get_account(address).nonce

    def set_nonce(self, address: bytes, nonce: int) -> None:
        account = self.get_account(address)
        self._put_account(address, replace(account, nonce=nonce, exists=True))

    def increment_nonce(self, address: bytes) -> None:
        self.set_nonce(address, self.get_account(address).nonce + 1)

    def account_exists(self, address: bytes) -> bool:
        return self.get_account(address).exists

    def account_is_empty(self, address: bytes) -> bool:
        return self.get_account(address).is_empty

    def has_code_or_nonce(self, address: bytes) -> bool:
        account = self.get_account(address)
        return account.nonce != 0 or account.code_hash != EMPTY_CODE_HASH

    def get_code_hash(self, address: bytes) -> bytes:
        return self.get_account(address).code_hash

    def get_code(self, address: bytes) -> bytes:
        code_hash = self.get_account(address).code_hash
        if code_hash == EMPTY_CODE_HASH:
            return b""
        return self.code_of_hash(code_hash)

    def code_of_hash(self, code_hash: bytes) -> bytes:
        code = self._codes.get(code_hash)
        if code is None:
            code = self._codes[code_hash] = self._reader.code(code_hash)
        return code

    def set_code(self, address: bytes, code: bytes) -> None:
        code_hash = keccak(code)
        # content-addressed, so it needs no undoing: a code without an account costs its bytes only
        if code_hash not in self._codes:
            self._codes[code_hash] = self._new_codes[code_hash] = code
        self._put_account(address, replace(self.get_account(address), code_hash=code_hash, exists=True))

    def create_account(self, address: bytes) -> None:
        """A fresh account that keeps the balance, with empty storage (as go-ethereum's CreateAccount)."""
        account = self.get_account(address)
        generation = account.generation + 1 if account.exists else account.generation
        self._put_account(address, Account(balance=account.balance, exists=True, generation=generation))

    def mark_created(self, address: bytes) -> None:
        """By an instruction or a transaction that creates contracts; EIP-6780 asks."""
        self._set(self._created, address, True)

    def is_created(self, address: bytes) -> bool:
        """Whether the contract is of this transaction."""
        return self._created.get(address, False)

    def mark_destroyed(self, address: bytes) -> None:
        self._set(self._destroyed, address, True)

    def is_destroyed(self, address: bytes) -> bool:
        """Whether SELFDESTRUCT ran there in this transaction."""
        return self._destroyed.get(address, False)

    # -- storage

    def get_storage(self, address: bytes, slot: int, from_journal: bool = True) -> int:
        key = (address, self.get_account(address).generation, slot)
        if not from_journal and key in self._original:
            return self._original[key]
        value = self._slots.get(key)
        if value is None:
            value = self._slots[key] = self._reader.slot(*key)
        return value

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        key = (address, self.get_account(address).generation, slot)
        before = self._slots.get(key)
        if before is None:
            before = self._slots[key] = self._reader.slot(*key)
        self._original.setdefault(key, before)
        self._slot_base.setdefault(key, before)
        self._journal.append((self._slots, key, before))
        self._slots[key] = value

    def get_transient_storage(self, address: bytes, slot: int) -> int:
        return self._transient.get((address, slot), 0)

    def set_transient_storage(self, address: bytes, slot: int, value: int) -> None:
        self._set(self._transient, (address, slot), value)

    # -- warm sets (EIP-2929)

    def is_address_warm(self, address: bytes) -> bool:
        return address in self._warm_addresses

    def mark_address_warm(self, address: bytes) -> None:
        if address not in self._warm_addresses:
            self._set(self._warm_addresses, address, True)

    def is_storage_warm(self, address: bytes, slot: int) -> bool:
        return (address, slot) in self._warm_slots

    def mark_storage_warm(self, address: bytes, slot: int) -> None:
        if (address, slot) not in self._warm_slots:
            self._set(self._warm_slots, (address, slot), True)

    def warm(self) -> AccessList:
        """The addresses and slots that are warm now, in order."""
        slots: dict[bytes, list[bytes]] = {address: [] for address in self._warm_addresses}
        for address, slot in self._warm_slots:
            slots.setdefault(address, []).append(slot.to_bytes(32, "big"))
        return tuple((address, tuple(sorted(slots[address]))) for address in sorted(slots))

    # -- Aspect data: its own journal

    def get_value(self, key: bytes) -> bytes:
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._reader.value(key)
        return value

    def set_value(self, key: bytes, value: bytes) -> None:
        """Empty deletes."""
        before = self.get_value(key)
        self._value_base.setdefault(key, before)
        self._value_journal.append((key, before))
        self._values[key] = value

    # -- journals

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._journal.append((table, key, table.get(key, _MISSING)))
        table[key] = value

    def snapshot(self) -> Snapshot:
        return len(self._journal)

    def revert(self, snapshot: Snapshot) -> None:
        """Undo what the EVM did since; Aspect data stays."""
        journal = self._journal
        while len(journal) > snapshot:
            table, key, before = journal.pop()
            if before is _MISSING:
                del table[key]
            else:
                table[key] = before

    def commit(self, snapshot: Snapshot) -> None:
        """Keep what the EVM did since (until an outer frame decides otherwise)."""

    def begin_transaction(self) -> None:
        """Forget everything that lives no longer than a transaction."""
        self._journal.clear()
        self._value_journal.clear()
        self._original.clear()
        self._warm_addresses.clear()
        self._warm_slots.clear()
        self._transient.clear()
        self._created.clear()
        self._destroyed.clear()

    def rollback_transaction(self, snapshot: Snapshot = 0) -> None:
        """Undo everything since `snapshot`, all Aspect data of the transaction included."""
        self.revert(snapshot)
        while self._value_journal:
            key, before = self._value_journal.pop()
            self._values[key] = before

    def end_transaction(self) -> None:
        """Delete the accounts that destroyed themselves."""
        for address in self._destroyed:
            account = self.get_account(address)
            self._put_account(address, Account(generation=account.generation + 1))
        self.begin_transaction()

    def take_writes(self) -> Writes:
        """What changed since the last time, for the store. Clears the record and trims the caches."""
        writes = Writes(
            accounts={a: self._accounts[a] for a, before in self._account_base.items() if self._accounts[a] != before},
            slots={k: self._slots[k] for k, before in self._slot_base.items() if self._slots[k] != before},
            codes=dict(self._new_codes),
            values={k: self._values[k] for k, before in self._value_base.items() if self._values[k] != before},
        )
        self._account_base.clear()
        self._slot_base.clear()
        self._value_base.clear()
        self._new_codes.clear()
        return writes

    def know_codes(self, other: World) -> None:
        """Take over the codes that another world has read: they are the same at every block."""
        self._codes.update(other._codes)

    def forget_new_codes(self) -> None:
        """Codes that a question made belong to nobody."""
        for code_hash in self._new_codes:
            del self._codes[code_hash]
        self._new_codes.clear()

    def move_reader(self, reader: StateReader) -> None:
        """Read what is not cached from a later block."""
        self._reader = reader

    def trim(self) -> None:
        """Between blocks, after the store has the writes: keep memory bounded."""
        for cache in (self._accounts, self._slots, self._codes, self._values):
            if len(cache) > _CACHE_LIMIT:
                cache.clear()
