"""What a node says when it says no, in the words of the domain.

Three layers may refuse, and the most specific one is heard first: the Aspect ("Name: sentence", as a revert string), a contract (a custom
error with facts, or a plain revert string), the node itself (its own text; `docs/artela.md` §6 lists them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from linklearner.chain.abi import Interface, error_string
from linklearner.domain.errors import LinkLearnerError, NotFound, Refused, Unavailable

_NAMED = re.compile(r"([A-Z][A-Za-z0-9]+): (.+)", re.DOTALL)
_BACKTRACE = re.compile(r"\s*(Stack backtrace:|error while executing at wasm backtrace:).*", re.DOTALL)
_RPC_PREFIX = re.compile(r"rpc error: code = \w+ desc = ")

ADVICE: Mapping[str, str] = {
    "AlreadySubmitted": "one update per account and round is taken: wait for the next version",
    "BadTerms": "the pool takes no task with these terms: the field given is out of its range, or, of maxUpdates, a block would not "
    "hold the settlement of a full round",
    "BelowMinimumStake": "too little of the account's stake counts in the open round: lock more $LL for this task, it counts in rounds "
    "that open one to two times stakeSeconds later",
    "BeyondEmission": "the schedule has not released that much yet, or the cap is reached: grant at most what is left",
    "ExamplesNotOpened": "the examples that judge the round have to be opened first: whoever opened the task has them",
    "ExamplesOpen": "the round's examples are opened already",
    "ERC20InsufficientBalance": "the account has too little $LL",
    "InsufficientStake": "that much stake is not locked; ask for less",
    "NotCreator": "only the account that opened the task may do that",
    "NoExamples": "the task has no examples: by rule evidence its creator commits to some before its weights are loaded",
    "NoUpdates": "the round has no accepted update yet",
    "NotDirect": "send the transaction from an externally owned account straight to the pool",
    "NotYetDroppable": "wait until the time given (Unix seconds), or, of a round without updates, for stake that becomes ripe",
    "OwnableUnauthorizedAccount": "only the pool's owner may do that",
    "NoVerdict": "the Aspect did not judge this call: is it bound to the pool?",
    "PhaseOver": "the round's examples may be on their way since the time given (Unix seconds): wait for the next version",
    "RoundFull": "the round takes no more updates: wait for the next version",
    "RoundNotOver": "wait for the time given (Unix seconds), or for updates with more stake",
    "RoundSettling": "the round is being settled: wait for the next version",
    "RunningHashMismatch": "hand in every accepted update of the round, unchanged and in order",
    "StakeLimit": "a task holds no more stake than the limit: lock less",
    "StakeStillLocked": "withdraw at the time given (Unix seconds) or later, and after the round given, if one is: the account has an "
    "update in it",
    "TaskAlreadyLoaded": "the task has all its weights",
    "TaskClosed": "the task is closed: it takes no stake any more",
    "TaskIsClosing": "the task's creator has closed it: no round opens after the open one, and its pot takes no more",
    "TaskNotReady": "the task's first weights are still being loaded: try again shortly",
    "UnknownTask": "this pool has no such task",
    "WrongExamples": "these are not the batch of examples that comes next in the set that the task's creator committed to",
    "WrongDigest": "the digest does not belong to these bytes",
    "WrongGroup": "settle the groups in order",
    "WrongRound": "that round is not the open one",
    "WrongTaskId": "somebody else opened a task at the same time: repeat the request",
    "ZeroAmount": "name an amount",
    "ZeroUnits": "name at least one unit",
}

# What the node itself refuses with, by a part of its message: the reason we give it, and what to do. In this order.
_NODE: Sequence[tuple[str, str, str]] = (
    ("insufficient funds", "InsufficientFunds", "send the account some of the chain's coin, it pays the gas"),
    ("insufficient balance for transfer", "InsufficientFunds", "send the account more of the chain's coin"),
    ("exceeds block gas limit", "GasLimitTooHigh", "no block holds that much gas; make the groups or pages smaller"),
    ("gas required exceeds allowance", "GasLimitTooHigh", "it fails, or needs more gas than a block holds"),
    ("intrinsic gas", "GasLimitTooLow", "give the transaction more gas"),
    ("out of gas", "OutOfGas", "it needs more gas than it was given"),
    ("tx too large", "TransactionTooLarge", "a transaction holds at most 1 MiB"),
    ("exceeds the configured cap", "FeeCap", "the node takes no fee above its cap; wait for a lower price"),
    ("less than block base fee", "FeeTooLow", "the price rose meanwhile; repeat the request"),
    ("invalid chain id", "WrongChain", "the key signed for another chain"),
)
# State that the node no longer has, or not yet.
_GONE = ("height must be", "failed to load state at height", "version does not exist", "block not found", "missing trie node",
         "must be less than or equal to the current blockchain height", "pruned")  # fmt: skip


def refusal(message: str, data: bytes, interfaces: Sequence[Interface]) -> LinkLearnerError:
    """The domain error for what a call, an estimate or a sending was refused with.

    message, data: of the JSON-RPC error. Refused with reason and facts; NotFound where the state of an old block is gone.
    """
    for interface in interfaces:
        decoded = interface.decode_error(data)
        if decoded is not None:
            facts = {name: _shown(value) for name, value in decoded.values.items()}
            return _refused(decoded.name, ADVICE.get(decoded.name, ""), facts)
    text = error_string(data)
    if text is None and "execution reverted: " in message:
        text = message.partition("execution reverted: ")[2]
    if text is not None:
        named = _NAMED.fullmatch(text)
        if named is not None:
            return Refused(text, reason=named[1])
        return Refused(f"the contract refused: {text}", reason="Reverted")
    if "execution reverted" in message:
        return Refused("the chain refused without giving a reason", reason="Reverted", facts=_raw(data))
    if any(part in message for part in _GONE):
        return NotFound(f"the node has no state for that block: {_plain(message)}", reason="StateGone")
    for part, reason, advice in _NODE:
        if part in message:
            return Refused(f"{advice} ({_plain(message)})", reason=reason)
    if "mempool is full" in message or "txpool is full" in message:
        return Unavailable("the node's mempool is full; retry later")
    return Refused(f"the node refused: {_plain(message)}", reason="NodeRefused")


def _refused(name: str, advice: str, facts: Mapping[str, str]) -> Refused:
    shown = ", ".join(f"{key} {value}" for key, value in facts.items())
    text = " ".join(part for part in (advice, f"({shown})" if shown else "") if part)
    return Refused(f"{name}: {text}" if text else name, reason=name, facts=facts)


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _raw(data: bytes) -> dict[str, str]:
    return {"data": "0x" + data[:68].hex()} if data else {}


def _plain(message: str) -> str:
    return _BACKTRACE.sub("", _RPC_PREFIX.sub("", message)).strip()[:300]
