"""A pool's history over plain JSON-RPC, as the events that `linklearner.domain.replay` takes: what anybody needs to check everything.

Logs come in ranges of at most 10,000 blocks (an Artela node answers no more at once) and calldata in batches, both only up to the block
that was the head at the start. Nothing is read from the node but logs and transactions: what they mean is computed here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx

from linklearner import artifacts
from linklearner.abi import Decoded, Interface
from linklearner.domain import replay, strictjson
from linklearner.domain.errors import DataLoss, InvalidConfig, InvalidInput, Unavailable
from linklearner.domain.notation import is_loopback_url
from linklearner.domain.rounds import Terms
from linklearner.domain.strictjson import NotJson
from linklearner.endpoints import Endpoints, Lost, Persistence, Reply

LOG_RANGE: Final = 10_000
"""Blocks in one eth_getLogs: the node's limit on their distance."""
BATCH: Final = 16
"""Transactions in one request: sixteen of a megabyte are what a patient node answers at once."""
TIMEOUT_S: Final = 60.0
ANSWER_BYTES: Final = 128 << 20
"""Of one answer: a batch of transactions has 35 MB, ten thousand events 20."""
ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""
MAX_BLOCK: Final = 2**32
"""Numbers of blocks from here on are no chain's: a node that tells one would have us ask about empty blocks without end."""
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
"""Of 256 bits."""
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)

POOL: Final = Interface(artifacts.contract("TrainingPool").abi)

Progress = Callable[[int, int], None]
"""Told the block that is read and the last one."""


class History:
    """One pool's events on one chain. Use as `async with`.

    Raises Unavailable if the node cannot be reached or refuses, DataLoss if what it answers does not fit together,
    InvalidConfig if there is no JSON-RPC node at the URL, or URLs of different chains.
    """

    def __init__(self, rpc_url: str, pool: bytes, from_block: int) -> None:
        """rpc_url: one or several of the same chain, separated by commas. Raises InvalidConfig for what is none."""
        self._endpoints = Endpoints(rpc_url, self._post, Persistence(attempt_s=TIMEOUT_S, total_s=2 * TIMEOUT_S))
        self._pool = pool
        self._from_block = from_block
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        # proxies as http_proxy and no_proxy say, but never to this very machine
        self._direct = self._proxied = httpx.AsyncClient(trust_env=False)
        if not all(is_loopback_url(url) for url in self._endpoints.urls):
            try:
                self._proxied = httpx.AsyncClient()
            except (
                ImportError,
                ValueError,
                httpx.InvalidURL,
            ) as error:  # SOCKS without its package, a scheme or port that is none
                await self._close()
                raise InvalidConfig(
                    f"a proxy that the environment names (http_proxy, https_proxy, all_proxy) cannot be used: {error!s:.200}"
                ) from error
        try:
            await self._endpoints.check()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await asyncio.gather(self._direct.aclose(), self._proxied.aclose())

    async def chain_id(self) -> int:
        return _number(await self._ask("eth_chainId"), "chain id")

    async def events(self, progress: Progress = lambda block, last: None) -> AsyncIterator[replay.Event]:
        """Every event of the pool in the order of the chain, up to the head as it is now."""
        last = _block_number(await self._ask("eth_blockNumber"))
        for first in range(self._from_block, last + 1, LOG_RANGE):
            until = min(first + LOG_RANGE - 1, last)
            progress(first, last)
            logs = await self._logs(first, until)
            for part in _batched(logs, BATCH):
                calls = await self._calls([_hash(entry) for entry in part if _needs_call(entry)])
                for entry in part:
                    progress(_block_number(entry["blockNumber"]), last)
                    event = _event(entry, calls)
                    if event is not None:
                        yield event
        progress(last, last)

    async def _logs(self, first: int, last: int) -> list[Any]:
        """All events of some blocks, in parts where a node has more of them than it tells at once (10,000 on Artela)."""
        wanted = {"address": "0x" + self._pool.hex(), "fromBlock": hex(first), "toBlock": hex(last)}
        try:
            logs: list[Any] = await self._ask("eth_getLogs", wanted)
        except Unavailable as error:
            if "returned more than" not in error.message or first == last:
                raise
            middle = (first + last) // 2
            return [*await self._logs(first, middle), *await self._logs(middle + 1, last)]
        return _checked_logs(logs)

    async def _calls(self, hashes: Sequence[bytes]) -> dict[bytes, Decoded]:
        """The decoded calldata of transactions, all asked for at once."""
        wanted = list(dict.fromkeys(hashes))
        answers = await self._batch([("eth_getTransactionByHash", ["0x" + one.hex()]) for one in wanted])
        calls = {}
        for one, answer in zip(wanted, answers, strict=True):
            if answer is None:
                raise DataLoss(
                    f"the node tells of events of transaction 0x{one.hex()} and no longer has it: ask one that keeps its history"
                )
            try:
                calls[one] = POOL.decode_call(bytes.fromhex(answer["input"].removeprefix("0x")))
            except (InvalidInput, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataLoss(
                    f"transaction 0x{one.hex()} made events of the pool and does not call it: {error}"
                ) from error
        return calls

    async def _ask(self, method: str, *parameters: Any) -> Any:
        [answer] = await self._batch([(method, list(parameters))])
        return answer

    async def _batch(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """One HTTP request for all questions; the answers in their order."""
        if not questions:
            return []
        asked = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": parameters}
            for method, parameters in questions
        ]
        body = await self._endpoints.ask(json.dumps(asked).encode())
        try:
            told = strictjson.loads(body, max_bytes=ANSWER_BYTES, max_values=ANSWER_VALUES)
            answers = {one["id"]: one for one in told}
            for question, (method, _) in zip(asked, questions, strict=True):
                if "error" in answers[question["id"]]:
                    refusal = answers[question["id"]]["error"]
                    raise Unavailable(f"the node refuses {method}: {refusal.get('message', refusal)!s:.500}")
            return [answers[question["id"]]["result"] for question in asked]
        except (NotJson, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"what answers at {self._endpoints.shown} does not speak JSON-RPC: {error}") from error

    async def _post(self, url: str, body: bytes, seconds: float) -> Reply:
        headers = {"Content-Type": "application/json"}
        client = self._direct if is_loopback_url(url) else self._proxied
        try:
            # httpx bounds each part of a request, not all of it
            async with (
                asyncio.timeout(seconds),
                client.stream("POST", url, content=body, headers=headers, timeout=seconds) as response,
            ):
                answer = bytearray()
                async for part in response.aiter_bytes():
                    answer += part
                    if len(answer) > ANSWER_BYTES:
                        raise Lost(f"an answer of more than {ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Lost(str(error) or type(error).__name__) from error
        return Reply(response.status_code, bytes(answer), response.headers.get("Retry-After", ""))


CALLED: Final = {"PagesLoaded": "loadPages", "UpdateAccepted": "submit", "GroupMerged": "settle"}
"""The events whose calldata the replay needs, and the function that makes them."""
_WITH_CALL: Final = {POOL.topic(name) for name in CALLED}


def _batched(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _checked_logs(logs: Any) -> list[Any]:
    """The answer to eth_getLogs, whose entries have what is read below. Raises DataLoss for any other."""
    for entry in logs if isinstance(logs, list) else (logs,):
        if not isinstance(entry, dict) or not isinstance(entry.get("topics"), list):
            raise DataLoss(f"the node's list of events holds {entry!r:.60}, which is none")
        for text in (entry.get("transactionHash"), entry.get("data"), *entry["topics"]):
            if not isinstance(text, str) or not _DATA.fullmatch(text):
                raise DataLoss(f"the node tells of an event with {text!r:.60} where bytes in hexadecimal should be")
        _block_number(entry.get("blockNumber"))
    return list(logs)


def _needs_call(entry: Mapping[str, Any]) -> bool:
    return bool(entry["topics"]) and bytes.fromhex(entry["topics"][0][2:]) in _WITH_CALL


def _hash(entry: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(entry["transactionHash"].removeprefix("0x"))


def _number(text: Any, what: str) -> int:
    if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
        raise DataLoss(f"the node's {what} is {text!r:.60}, not a hexadecimal number")
    return int(text, 16)


def _block_number(text: Any) -> int:
    number = _number(text, "block number")
    if number >= MAX_BLOCK:
        raise DataLoss(f"the node's block number is {text!r:.60}, which no chain has reached")
    return number


def _event(entry: Mapping[str, Any], calls: Mapping[bytes, Decoded]) -> replay.Event | None:
    """The replay's event of a log; None for those that change nothing (AspectSet)."""
    try:
        decoded = POOL.decode_log(
            [bytes.fromhex(topic.removeprefix("0x")) for topic in entry["topics"]],
            bytes.fromhex(entry["data"].removeprefix("0x")),
        )
    except (InvalidInput, ValueError) as error:
        raise DataLoss(f"an event of transaction {entry['transactionHash']} cannot be read: {error}") from error
    if decoded is None:
        raise DataLoss(
            f"transaction {entry['transactionHash']} made an event that this version of the pool does not know"
        )
    if decoded.name == "AspectSet":
        return None
    values = decoded.values
    where: dict[str, Any] = {
        "block": _block_number(entry["blockNumber"]),
        "transaction": _hash(entry),
        "task": values["task"],
    }
    call: dict[str, Any] = {}
    if decoded.name in CALLED:
        made_by = calls[where["transaction"]]
        if made_by.name != CALLED[decoded.name]:
            raise DataLoss(
                f"transaction 0x{where['transaction'].hex()} made {decoded.name}, which only {CALLED[decoded.name]} does, "
                f"and calls {made_by.name}"
            )
        call = made_by.values
    match decoded.name:
        case "TaskOpened":
            terms = values["terms"]
            return replay.TaskOpened(
                **where,
                model=values["model"],
                shape=values["shape"],
                terms=Terms(
                    rule=terms["rule"],
                    quorum=terms["quorum"],
                    max_updates=terms["maxUpdates"],
                    round_seconds=terms["roundSeconds"],
                    drop_seconds=terms["dropSeconds"],
                    min_stake=terms["minStake"],
                    settler_bps=terms["settlerBps"],
                    reward=terms["reward"],
                ),
            )
        case "PagesLoaded":
            return replay.PagesLoaded(**where, first_page=call["firstPage"], weights=call["weights"])
        case "StakeLocked" | "StakeUnlocked" as name:
            kind = replay.StakeLocked if name == "StakeLocked" else replay.StakeUnlocked
            return kind(**where, account=values["account"], units=values["units"], round=values["round"])
        case "StakeWithdrawn":
            return replay.StakeWithdrawn(**where, account=values["account"], units=values["units"])
        case "UpdateAccepted":
            return replay.UpdateSubmitted(
                **where,
                round=values["round"],
                contributor=values["contributor"],
                header=call["header"],
                groups=call["groups"],
                digest=values["digest"],
                weight=values["weight"],
                effective=values["effective"],
            )
        case "GroupMerged":
            return replay.GroupSettled(
                **where,
                round=values["round"],
                group=values["group"],
                updates=tuple(replay.Settlement(**update) for update in call["updates"]),
            )
        case "ModelUpdated":
            return replay.ModelUpdated(
                **where,
                version=values["version"],
                digest=values["digest"],
                round=values["round"],
                accepted=values["accepted"],
                saturated=values["saturated"],
            )
        case "ContributionPaid":
            return replay.ContributionPaid(
                **where, round=values["round"], contributor=values["contributor"], amount=values["amount"]
            )
        case "SettlerPaid":
            return replay.SettlerPaid(
                **where, round=values["round"], settler=values["settler"], amount=values["amount"]
            )
        case "RoundDropped":
            return replay.RoundDropped(**where, round=values["round"])
        case name:
            raise DataLoss(f"the pool has an event {name} that the replay has no rule for")
