"""The world and the store against plain dictionaries."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import rlp as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.chain import blocks, rlp
from devchain.chain.state import EMPTY_CODE_HASH, World
from devchain.chain.store import ChainStore, encode_writes, state_digest

ADDRESSES = [bytes([n]) * 20 for n in (1, 2, 3)]
address = st.sampled_from(ADDRESSES)
slot = st.integers(0, 3)
value = st.integers(0, 3)
key = st.sampled_from([b"x", b"y"])


@dataclass
class Model:
    """What the world promises, without journals: whole copies."""

    balances: dict[bytes, int] = field(default_factory=dict)
    storage: dict[tuple[bytes, int], int] = field(default_factory=dict)
    values: dict[bytes, bytes] = field(default_factory=dict)
    destroyed: set[bytes] = field(default_factory=set)

    def evm(self) -> tuple[Any, ...]:
        return copy.deepcopy((self.balances, self.storage, self.destroyed))

    def back(self, evm: tuple[Any, ...]) -> None:
        self.balances, self.storage, self.destroyed = copy.deepcopy(evm)


step = st.one_of(
    st.tuples(st.just("balance"), address, st.integers(0, 9)),
    st.tuples(st.just("slot"), address, slot, value),
    st.tuples(st.just("value"), key, st.binary(max_size=2)),
    st.tuples(st.just("destroy"), address),
    st.tuples(st.just("create"), address),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("revert"), st.integers(0, 3)),
)
transaction = st.tuples(st.lists(step, max_size=12), st.booleans())


@settings(max_examples=300, deadline=None)
@given(chain=st.lists(st.lists(transaction, max_size=3), max_size=4))
def test_every_block_reads_as_if_each_frame_and_transaction_had_copied_the_world(
    chain: list[list[tuple[list[Any], bool]]],
) -> None:
    store, model, history = ChainStore(None, 1), Model(), []
    world, digest = World(store.at(0)), blocks.ZERO_HASH
    for number, transactions in enumerate(chain):
        for steps, fails in transactions:
            before, before_values = model.evm(), dict(model.values)
            world.begin_transaction()
            run(world, model, steps)
            if fails:
                world.rollback_transaction()
                world.begin_transaction()
                model.back(before)
                model.values = before_values
            else:
                world.end_transaction()
                for gone in model.destroyed:
                    model.balances.pop(gone, None)
                    model.storage = {k: v for k, v in model.storage.items() if k[0] != gone}
                model.destroyed = set()
        writes = world.take_writes()
        changes = encode_writes(writes)
        digest = state_digest(digest, changes)
        append(store, number, changes, digest)
        world.move_reader(store.at(number))
        history.append(copy.deepcopy(model))
        agree(world, model)
    for number, past in enumerate(history):
        agree(World(store.at(number)), past)
    if history:
        agree(World(store.at(len(history) - 1)), model)


def append(store: ChainStore, number: int, changes: list[tuple[bytes, bytes]], digest: bytes) -> None:
    header = blocks.Header(
        number=number, hash=digest, parent_hash=digest, timestamp=0, miner=bytes(20), base_fee=7, gas_limit=1, gas_used=0,
        gas_wanted=0, state_digest=digest, transactions_root=digest, bloom=blocks.EMPTY_BLOOM, size=0,
    )  # fmt: skip
    store.append(blocks.Block(header, ()), changes, {})


def run(world: World, model: Model, steps: list[Any]) -> None:
    snapshots: list[tuple[int, tuple[Any, ...]]] = []
    for name, *arguments in steps:
        if name == "balance":
            world.set_balance(*arguments)
            model.balances[arguments[0]] = arguments[1]
        elif name == "slot":
            world.set_storage(*arguments)
            model.storage[arguments[0], arguments[1]] = arguments[2]
        elif name == "value":
            world.set_value(*arguments)
            model.values[arguments[0]] = arguments[1]
        elif name == "destroy":
            world.mark_destroyed(*arguments)
            model.destroyed.add(arguments[0])
        elif name == "create":
            # a new account keeps the balance and starts with empty storage
            existed = world.account_exists(arguments[0])
            world.create_account(*arguments)
            if existed:
                model.storage = {k: v for k, v in model.storage.items() if k[0] != arguments[0]}
        elif name == "snapshot":
            snapshots.append((world.snapshot(), model.evm()))
        elif arguments[0] < len(snapshots):
            taken, evm = snapshots[arguments[0]]
            del snapshots[arguments[0] :]
            world.revert(taken)
            model.back(evm)


def agree(world: World, model: Model) -> None:
    for who in ADDRESSES:
        assert world.get_balance(who) == model.balances.get(who, 0)
        for place in range(4):
            assert world.get_storage(who, place) == model.storage.get((who, place), 0)
    for name in (b"x", b"y"):
        assert world.get_value(name) == model.values.get(name, b"")


def test_the_original_value_of_a_slot_is_the_one_before_the_transaction() -> None:
    world = World(ChainStore(None, 1).at(0))
    world.begin_transaction()
    world.set_storage(ADDRESSES[0], 1, 5)
    world.end_transaction()
    world.set_storage(ADDRESSES[0], 1, 6)
    world.set_storage(ADDRESSES[0], 1, 7)
    assert world.get_storage(ADDRESSES[0], 1, from_journal=False) == 5
    assert world.get_storage(ADDRESSES[0], 1) == 7


def test_code_is_kept_once_and_an_account_without_code_has_the_empty_hash() -> None:
    world = World(ChainStore(None, 1).at(0))
    world.set_code(ADDRESSES[0], b"\x5b")
    world.set_code(ADDRESSES[1], b"\x5b")
    assert world.take_writes().codes == {world.get_code_hash(ADDRESSES[0]): b"\x5b"}
    assert (world.get_code(ADDRESSES[2]), world.get_code_hash(ADDRESSES[2])) == (b"", EMPTY_CODE_HASH)


items = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@given(item=items)
def test_rlp_is_what_everybody_else_writes(item: Any) -> None:
    raw = rlp.encode(item)
    assert raw == reference.encode(item)
    assert plain(rlp.decode(raw)) == item


def plain(item: Any) -> Any:
    return item if isinstance(item, bytes) else [plain(part) for part in item]


@given(raw=st.binary(max_size=80))
def test_rlp_takes_only_the_one_canonical_encoding(raw: bytes) -> None:
    try:
        item = rlp.decode(raw)
    except rlp.RlpError:
        with pytest.raises(reference.DecodingError):
            reference.decode(raw)
    else:
        assert rlp.encode(item) == raw
