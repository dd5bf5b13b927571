"""The contracts' interfaces, and the events of pool and vault and the pool's calls as dataclasses: the one place where their fields are
named twice.

A field of a dataclass is called as in the contract, with underscores for capitals (`firstPage`: `first_page`), and that is all the
mapping there is; tests hold the dataclasses to the ABI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, Final, TypeVar

from linklearner import artifacts
from linklearner.chain.abi import Interface
from linklearner.chain.answers import Log
from linklearner.domain import events
from linklearner.domain.errors import DataLoss, InvalidInput
from linklearner.domain.events import Event, SettledRound, Settlement
from linklearner.domain.rounds import Terms

POOL: Final = Interface(artifacts.contract("TrainingPool").abi)
VAULT: Final = Interface(artifacts.contract("StakeVault").abi)
TOKEN: Final = Interface(artifacts.contract("LinkLearnerToken").abi)
CONTRACTS: Final = (POOL, VAULT, TOKEN)
"""Whose refusals are understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPages:
    """Calldata of `loadPages`. weights: little-endian int16."""

    task: int
    first_page: int
    weights: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Calldata of `submit`."""

    task: int
    digest: bytes
    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealUpdate:
    """Calldata of `revealUpdate`."""

    task: int
    digest: bytes
    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExamples:
    """Calldata of `openExamples`."""

    task: int
    round: int
    examples: bytes = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Calldata of `settle`."""

    task: int
    round: int
    group: int
    updates: tuple[Settlement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """Calldata of `pay`. base: little-endian int16."""

    task: int
    first: int
    base: bytes = field(repr=False)
    rounds: tuple[SettledRound, ...] = field(repr=False)


T = TypeVar("T")

EVENTS: Final[Mapping[str, type[Event]]] = {
    kind.__name__: kind
    for kind in (
        events.TaskOpened,
        events.PagesLoaded,
        events.PotFunded,
        events.PotGranted,
        events.UpdateAccepted,
        events.UpdateCommitted,
        events.ExamplesCommitted,
        events.PayNamed,
        events.BondPut,
        events.BondForfeited,
        events.BondClaimed,
        events.BondReturned,
        events.ExamplesOpened,
        events.UpdateJudged,
        events.GroupMerged,
        events.ModelUpdated,
        events.ContributionPaid,
        events.SettlerPaid,
        events.PaySetAside,
        events.RoundsPaid,
        events.UpdateCredited,
        events.PayReturned,
        events.RoundDropped,
        events.TaskClosing,
        events.TaskClosed,
        events.FeesShared,
        events.EarningsClaimed,
        events.StakeLocked,
        events.StakeUnlocked,
        events.StakeWithdrawn,
        events.StakeMatured,
        events.StakeFeesClaimed,
    )
}
"""What pool and vault tell of their tasks, by the contracts' names. Beside these there are AspectSet, those of ownership and those of
votes, which concern no task."""
CALLS: Final[Mapping[type, str]] = {
    LoadPages: "loadPages",
    Submit: "submit",
    RevealUpdate: "revealUpdate",
    OpenExamples: "openExamples",
    Settle: "settle",
    Pay: "pay",
}
COMPLETED: Final[Mapping[type[Event], tuple[tuple[type, ...], type[Event]]]] = {
    events.PagesLoaded: ((LoadPages,), events.WeightsLoaded),
    events.UpdateAccepted: ((Submit, RevealUpdate), events.UpdateSubmitted),
    events.ExamplesOpened: ((OpenExamples,), events.BatchOpened),
    events.GroupMerged: ((Settle,), events.GroupSettled),
    events.RoundsPaid: ((Pay,), events.RoundsHandedIn),
}
"""The events whose calldata says more, the calls of which one makes them, and both in one."""
_STRUCTS: Final[Mapping[str, Callable[..., object]]] = {
    "terms": Terms,
    "updates": Settlement,
    "rounds": SettledRound,
}


def decode_event(log: Log, by: Interface = POOL) -> Event | None:
    """An event of a task, made by a contract with the interface `by`: POOL or VAULT.

    None for one that concerns no task and for one that this version of the contract does not have. The block's time is not in a log.
    Raises DataLoss for a log that claims to be one of the contract's events and is not.
    """
    try:
        decoded = by.decode_log(log.topics, log.data)
    except InvalidInput as error:
        raise DataLoss(
            f"an event of transaction 0x{log.transaction_hash.hex()} cannot be read: {error.message}",
            facts={"block": log.block_number, "transaction": "0x" + log.transaction_hash.hex()},
        ) from error
    if decoded is None or decoded.name not in EVENTS:
        return None
    return _made(EVENTS[decoded.name], decoded.values, block=log.block_number, transaction=log.transaction_hash)


def is_known(log: Log, by: Interface = POOL) -> bool:
    """Whether this version of the contract has such an event."""
    return by.has_topic(log.topics)


def decode_call(kind: type[T], data: bytes) -> T:
    """Calldata of one function of the pool, a key of CALLS. Raises InvalidInput for other bytes."""
    decoded = POOL.decode_call(data)
    if decoded.name != CALLS[kind]:
        raise InvalidInput(f"it calls {decoded.name}, not {CALLS[kind]}")
    return _made(kind, decoded.values)


def decode_submission(data: bytes) -> Submit | RevealUpdate:
    """Calldata that brings an update. Raises InvalidInput for other bytes."""
    decoded = POOL.decode_call(data)
    if decoded.name == CALLS[Submit]:
        return _made(Submit, decoded.values)
    if decoded.name == CALLS[RevealUpdate]:
        return _made(RevealUpdate, decoded.values)
    raise InvalidInput(f"it calls {decoded.name}, which brings no update")


def completed(event: Event, data: bytes) -> Event:
    """An event of COMPLETED with what the calldata that made it holds. Raises DataLoss if that is no such call, or another one."""
    call_kinds, whole = COMPLETED[type(event)]
    try:
        decoded = POOL.decode_call(data)
        kind = next((one for one in call_kinds if CALLS[one] == decoded.name), None)
        if kind is None:
            raise InvalidInput(f"it calls {decoded.name}")
        call: Any = _made(kind, decoded.values)
    except InvalidInput as error:
        only = " or ".join(CALLS[one] for one in call_kinds)
        raise DataLoss(
            f"transaction 0x{event.transaction.hex()} made {type(event).__name__}, which only {only} does: {error.message}"
        ) from error
    values = {one.name: getattr(event, one.name) for one in fields(event)}
    for one in fields(call):
        value = getattr(call, one.name)
        if values.setdefault(one.name, value) != value:
            raise DataLoss(
                f"transaction 0x{event.transaction.hex()} made {type(event).__name__} with another {one.name} than it was called with"
            )
    return whole(**values)


def open_task(task: int, shape: bytes, model: str, terms: Terms) -> bytes:
    """Calldata of `openTask`."""
    return POOL.encode_call("openTask", task, shape, model, astuple(terms))


def load_pages(call: LoadPages) -> bytes:
    """Calldata."""
    return POOL.encode_call("loadPages", call.task, call.first_page, call.weights)


def submit(call: Submit) -> bytes:
    """Calldata."""
    return POOL.encode_call("submit", call.task, call.digest, call.header, list(call.groups))


def commit_update(task: int, round: int, commitment: bytes) -> bytes:
    """Calldata of `commitUpdate`."""
    return POOL.encode_call("commitUpdate", task, round, commitment)


def reveal_update(call: RevealUpdate) -> bytes:
    """Calldata."""
    return POOL.encode_call("revealUpdate", call.task, call.digest, call.header, list(call.groups), call.salt)


def settle(task: int, round: int, group: int, updates: Sequence[Settlement]) -> bytes:
    """Calldata of `settle`."""
    return POOL.encode_call("settle", task, round, group, [astuple(update) for update in updates])


def pay(task: int, first: int, base: bytes, rounds: Sequence[SettledRound]) -> bytes:
    """Calldata of `pay`."""
    return POOL.encode_call("pay", task, first, base, [astuple(one) for one in rounds])


def _made(kind: Callable[..., T], values: Mapping[str, Any], **more: object) -> T:
    named = {_snake(name): value for name, value in values.items()}
    for name, struct in _STRUCTS.items():
        if isinstance(named.get(name), dict):
            named[name] = _made(struct, named[name])
        elif name in named:
            named[name] = tuple(_made(struct, one) for one in named[name])
    return kind(**more, **named)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found.group().lower(), name)
