"""Two machines for one program: the devchain's EVM configuration, and revm as PyPI's pyrevm ships it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyrevm
from eth_hash.auto import keccak

from devchain.chain.evm import BlockContext, Evm, contract_address
from devchain.chain.state import EMPTY_CODE_HASH, World
from devchain.chain.transactions import intrinsic_gas
from tests.devchain.plain_evm import EmptyStore, NoHooks
from tests.differential.programs import BYSTANDER, CONTRACTS, NOBODY, SENDER, Program

PRICE: Final = 7
BLOCK: Final = BlockContext(
    number=1000,
    timestamp=1_700_000_000,
    # EIP-3651 (in revm's Shanghai, not on the node) warms the coinbase; the sender is warm on both
    coinbase=SENDER,
    gas_limit=20_000_000,
    base_fee=0,  # pyrevm clears it
    chain_id=11820,
    ancestor_hash=lambda number: keccak(str(number).encode()),  # what revm's empty database answers
)
RICH: Final = 10**24


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything about a run that a client could notice."""

    status: str
    """success, revert or halt."""
    gas_used: int
    output: bytes
    """Of a creation the hash of the code: all that pyrevm returns."""
    logs: tuple[tuple[bytes, tuple[bytes, ...], bytes], ...]
    accounts: dict[bytes, tuple[int, int, bytes]]
    """balance, nonce (not the sender's), code hash."""
    storage: dict[tuple[bytes, int], int]

    def differences(self, other: Seen) -> dict[str, tuple[object, object]]:
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in self.__slots__}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class NotEvenBegun(Exception):
    """The gas limit is below the intrinsic gas."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look afterwards: what our run touched. The other machine is asked about the same places."""

    addresses: tuple[bytes, ...]
    slots: tuple[tuple[bytes, int], ...]
    destroyed: tuple[bytes, ...]


def on_devchain(program: Program, block: BlockContext = BLOCK) -> tuple[Seen, Places]:
    """Raises NotEvenBegun; NodePanic where an Artela node would crash."""
    world = World(EmptyStore())
    world.set_balance(SENDER, RICH)
    world.set_balance(BYSTANDER, 1)
    for address, code, balance in zip(CONTRACTS, program.codes, program.balances, strict=True):
        world.set_code(address, code)
        world.set_balance(address, balance)
    for slot, value in program.storage.items():
        world.set_storage(CONTRACTS[0], slot, value)
    world.take_writes()
    world.begin_transaction()
    # a block increments the nonce before it executes; pyrevm's `deploy` does so itself, its `message_call` does not
    if program.to is None:
        world.increment_nonce(SENDER)
    before = world.snapshot()
    intrinsic = intrinsic_gas(program.data, creates=program.to is None, access_list=())
    if program.gas < intrinsic:
        raise NotEvenBegun
    world.mark_address_warm(SENDER)
    evm = Evm(world, block, NoHooks(), origin=SENDER, gas_price=PRICE)
    gas = program.gas - intrinsic
    if program.to is None:
        done = evm.create(sender=SENDER, nonce=0, value=program.value, code=program.data, gas=gas)
    else:
        world.mark_address_warm(program.to)
        done = evm.call(sender=SENDER, to=program.to, value=program.value, data=program.data, gas=gas)
    used = program.gas - done.gas_left
    refund = min(done.refund, used // 5) if done.error is None else 0
    status = "success" if done.error is None else "revert" if done.error == "execution reverted" else "halt"
    created = program.to is None and status == "success"
    if status != "success":
        world.rollback_transaction(before)
    written = set(world._account_base) | {SENDER, BYSTANDER, NOBODY, *CONTRACTS}
    slots = {(address, slot) for address, _, slot in world._slot_base} | {(a, s) for a in CONTRACTS for s in range(4)}
    destroyed = {address for address in written if world.is_destroyed(address)}
    world.end_transaction()
    places = Places(tuple(sorted(written)), tuple(sorted(slots)), tuple(sorted(destroyed)))
    seen = Seen(
        status=status,
        gas_used=used - refund,
        output=b"" if status == "halt" else keccak(done.output) if created else done.output,
        logs=tuple((log.address, log.topics, log.data) for log in done.logs) if status == "success" else (),
        accounts={
            address: (
                world.get_balance(address),
                0 if address == SENDER else world.get_nonce(address),
                world.get_code_hash(address),
            )
            for address in places.addresses
        },
        storage={(address, slot): world.get_storage(address, slot) for address, slot in places.slots},
    )
    return seen, places


def on_revm(program: Program, spec: str, places: Places, block: BlockContext = BLOCK) -> Seen:
    """spec: revm's name of a fork, `Merge` or `Cancun` (it takes an unknown name for its newest fork)."""
    block_env = pyrevm.BlockEnv(
        number=block.number,
        coinbase=_hex(block.coinbase),
        timestamp=block.timestamp,
        prevrandao=bytes(32),
        gas_limit=block.gas_limit,
        excess_blob_gas=0,
    )
    machine = pyrevm.EVM(
        env=pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=block.chain_id), block=block_env),
        gas_limit=block.gas_limit,
        spec_id=spec,
    )
    # `set_balance` would make an account warm
    machine.insert_account_info(_hex(SENDER), pyrevm.AccountInfo(balance=RICH))
    machine.insert_account_info(_hex(BYSTANDER), pyrevm.AccountInfo(balance=1))
    for address, code, balance in zip(CONTRACTS, program.codes, program.balances, strict=True):
        machine.insert_account_info(_hex(address), pyrevm.AccountInfo(balance=balance, code=code))
    for slot, value in program.storage.items():
        machine.insert_account_storage(_hex(CONTRACTS[0]), slot, value)
    output = b""
    try:
        if program.to is None:
            machine.deploy(
                deployer=_hex(SENDER), code=program.data, value=program.value, gas=program.gas, gas_price=PRICE
            )
        else:
            output = machine.message_call(
                caller=_hex(SENDER),
                to=_hex(program.to),
                calldata=program.data,
                value=program.value,
                gas=program.gas,
                gas_price=PRICE,
            )
    except RuntimeError as error:
        text = str(error)
        if text.startswith("Revert"):
            output = bytes.fromhex(text.rpartition("output: 0x")[2].removesuffix(" }"))
        elif not text.startswith("Halt"):
            raise
    result = machine.result
    status = "success" if result.is_success else "halt" if result.is_halt else "revert"
    if program.to is None and status == "success":
        output = _code_hash(machine.basic(_hex(contract_address(SENDER, 0))))
    gone = set(places.destroyed) if status == "success" else set()
    accounts = {}
    for address in places.addresses:
        info = machine.basic(_hex(address))
        # an account that destroyed itself is marked, and cleared only when revm commits; only its balance is gone already
        nonce, code = (0, EMPTY_CODE_HASH) if address in gone else (info.nonce, _code_hash(info))
        accounts[address] = (machine.get_balance(_hex(address)), 0 if address == SENDER else nonce, code)
    return Seen(
        status=status,
        gas_used=result.gas_used,
        output=output,
        logs=tuple(
            (_bytes(log.address), tuple(_bytes(topic) for topic in log.topics), bytes(log.data[1]))
            for log in result.logs
        ),
        accounts=accounts,
        storage={
            (address, slot): 0 if address in gone else machine.storage(_hex(address), slot)
            for address, slot in places.slots
        },
    )


def _code_hash(info: pyrevm.AccountInfo) -> bytes:
    code_hash = bytes(info.code_hash)
    return code_hash if any(code_hash) else EMPTY_CODE_HASH


def _hex(address: bytes) -> str:
    return "0x" + address.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
