"""Two devchains in one process share nothing that could change."""

from __future__ import annotations

import gc
import json
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from fractions import Fraction
from pathlib import Path

from eth_abi.abi import encode

from bench.contracts import contract
from bench.pool import PRE_CONTRACT_CALL, SYSTEM, PoolChain, account, address_of, selector
from devchain import Devchain
from devchain.aspect.engine import Prepared
from devchain.aspect.runtime import AspectRuntime
from devchain.chain.chain import EmbeddedChain
from devchain.chain.mempool import Mempool
from devchain.chain.state import World
from devchain.chain.store import ChainStore
from devchain.config import DEVELOPMENT_CHAIN_ID, ChainConfig

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "aspect"
FINNEY = 10**15


def busy_chain(chain_id: int = 11820) -> PoolChain:
    """A chain with a fixed clock, so that the same deeds give the same digest."""
    alloc = {address_of(account(index)): 10**24 for index in range(3)}
    return PoolChain(
        EmbeddedChain(ChainConfig(chain_id=chain_id, alloc=alloc, min_gas_multiplier=Fraction(0)), None, lambda: 1.8e9)
    )


def deeds(world: PoolChain, amounts: range) -> Iterator[None]:
    """One transaction a step: contracts, an Aspect that is bound and keeps state, transient storage."""
    owner, friend = account(0), account(1)
    coin = world.create(
        owner, bytes.fromhex(contract("Coin").constructor(owner.address, 10**24).data_in_transaction[2:])
    )
    yield
    # reverts if EVM transient slot 0 is set, then sets it: every transaction must find it empty
    for _ in range(2):
        world.create(owner, bytes.fromhex("5f5c600b57" + "60015f5d" + "0000" + "5b5f5ffd"))
        yield
    vault_code = bytes.fromhex(json.loads((EXAMPLE / "vault.json").read_text())["bytecode"][2:])
    vault = world.create(owner, vault_code)
    yield
    properties = [
        ("owner", address_of(owner)), ("limit", (10 * FINNEY).to_bytes(8, "big")), ("window", (1000).to_bytes(8, "big")),
    ]  # fmt: skip
    deploy = selector("deploy(bytes,bytes,(string,bytes)[],address,bytes,uint256)") + encode(
        ["bytes", "bytes", "(string,bytes)[]", "address", "bytes", "uint256"],
        [(EXAMPLE / "breaker.wasm").read_bytes(), b"", properties, owner.address, b"", PRE_CONTRACT_CALL],
    )
    world.aspect = world.send(owner, SYSTEM, deploy).contract_address or b""
    world.bind(owner, vault)
    yield
    world.send(owner, vault, selector("deposit()"), value=100 * FINNEY)
    for amount in amounts:
        world.try_send(owner, vault, selector("withdraw(uint256)") + encode(["uint256"], [amount * FINNEY]))
        yield
        data = contract("Coin").encode_abi("transfer", [friend.address, amount])
        world.send(owner, coin, bytes.fromhex(data[2:]))
        yield


def alone(amounts: range) -> bytes:
    world = busy_chain()
    for _ in deeds(world, amounts):
        pass
    digest = world.chain.head.state_digest
    world.chain.close()
    return digest


def test_each_comes_to_the_state_that_it_reaches_alone() -> None:
    """Step by step in turns, the same senders, nonces, contract addresses and Aspect ids on both, other amounts."""
    first, second = range(1, 6), range(3, 9)
    left, right = busy_chain(), busy_chain()
    steps = [deeds(left, first), deeds(right, second)]
    while steps:
        for step in list(steps):
            if next(step, "over") == "over":
                steps.remove(step)
    assert left.aspect == right.aspect
    assert (left.chain.head.state_digest, right.chain.head.state_digest) == (alone(first), alone(second))
    assert left.chain.head.state_digest != right.chain.head.state_digest
    left.chain.close()
    right.chain.close()


def test_each_comes_to_its_state_also_while_the_other_runs_at_the_same_time() -> None:
    amounts = (range(1, 6), range(3, 9), range(2, 5))
    digests: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda at=at: digests.update({at: alone(amounts[at])})) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [digests[at] for at in range(3)] == [alone(one) for one in amounts]


def test_no_object_that_can_change_belongs_to_both() -> None:
    """Everything that is reachable from one chain's instance and from the other's is code, a type or a constant."""
    left, right = busy_chain(), busy_chain()
    for world in (left, right):
        for _ in deeds(world, range(1, 3)):
            pass
    here, there = reachable(left.chain), reachable(right.chain)
    assert [repr(entry)[:120] for at, entry in here.items() if at in there] == []
    # it did look
    assert {World, ChainStore, Mempool, AspectRuntime, Prepared} <= {type(entry) for entry in here.values()}
    left.chain.close()
    right.chain.close()


CODE = (type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, Enum)


def reachable(root: object) -> dict[int, object]:
    """The mutable containers and instances below `root` by id. Types, modules and globals of functions are not entered."""
    found: dict[int, object] = {}
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        entry = waiting.pop()
        if id(entry) in seen or isinstance(entry, CODE):
            continue
        seen.add(id(entry))
        if isinstance(entry, types.FunctionType):
            waiting += [cell.cell_contents for cell in entry.__closure__ or ()] + list(entry.__defaults__ or ())
            continue
        frozen = getattr(getattr(type(entry), "__dataclass_params__", None), "frozen", False)
        instance = hasattr(entry, "__dict__") or hasattr(type(entry), "__slots__")
        if isinstance(entry, dict | list | set | bytearray) or (instance and not frozen):
            found[id(entry)] = entry
        waiting += gc.get_referents(entry)
    return found


@contextmanager
def two() -> Iterator[tuple[Devchain, Devchain]]:
    with Devchain.running() as left, Devchain.running(chain_id=5) as right:
        yield left, right


def test_ports_accounts_and_chain_ids_are_each_its_own() -> None:
    with two() as (left, right):
        assert left.url != right.url
        assert not {a.address for a in left.accounts} & {a.address for a in right.accounts}
        assert (left.chain.config.chain_id, right.chain.config.chain_id) == (DEVELOPMENT_CHAIN_ID, 5)
