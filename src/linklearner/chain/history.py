"""A pool's history over plain JSON-RPC, as the events that `linklearner.domain.replay` takes: what anybody needs to check everything.

Pool and vault are one stream, in the order of the chain; where the vault is follows from the pool's address. Logs come in ranges of as
many blocks as the node answers at once, calldata and block headers in batches, all only up to the block that was the head at the start.
Nothing of the history is read from the node but logs, transactions and times: what they mean is computed here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import httpx

from linklearner.chain.abi import Decoded, Interface
from linklearner.chain.answers import (
    WORD_BITS,
    Header,
    Log,
    Malformed,
    Receipt,
    data,
    fields,
    header,
    logs,
    quantity,
    receipt,
)
from linklearner.chain.contracts import COMPLETED, POOL, TOKEN, VAULT, completed, decode_event, is_known
from linklearner.chain.endpoints import Endpoints, Lost, Persistence, Reply
from linklearner.chain.failures import Failure, Sent, reason_of, sent_in
from linklearner.chain.logs import block_ranges, in_parts
from linklearner.chain.profile import ARTELA, Profile
from linklearner.domain import strictjson
from linklearner.domain.addresses import token_of, vault_of
from linklearner.domain.errors import DataLoss, InvalidConfig, InvalidInput, NotFound, Unavailable
from linklearner.domain.events import Event
from linklearner.domain.notation import is_loopback_url
from linklearner.domain.strictjson import NotJson

BATCH: Final = 16
"""Events whose transactions and blocks are asked for in one request: sixteen of a megabyte are what a patient node answers at once."""
TIMEOUT_S: Final = 60.0
ANSWER_BYTES: Final = 128 << 20
"""Of one answer: a batch of transactions has 35 MB, ten thousand events 20."""
ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""
BLOCK_BITS: Final = 32
"""A number of the newest block beyond them is no chain's: whoever believes it asks about empty blocks without end."""

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with the block that is read and the last one."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a pool begins. genesis: wei of $LL that were there then."""

    block: int
    time_s: int
    genesis: int


class History:
    """The events of one pool and its vault on one chain. Use as `async with`.

    Raises Unavailable if the node cannot be reached or refuses, DataLoss if what it answers does not fit together,
    InvalidConfig if there is no JSON-RPC node at the URL, or URLs of different chains.
    """

    def __init__(self, rpc_url: str, pool: bytes, from_block: int, profile: Profile = ARTELA) -> None:
        """rpc_url: one or several of the same chain, separated by commas. Raises InvalidConfig for what is none."""
        self._endpoints = Endpoints(rpc_url, self._post, Persistence(attempt_s=TIMEOUT_S, total_s=2 * TIMEOUT_S))
        self._pool = pool
        self._token = token_of(pool)
        self._interfaces = {pool: POOL, vault_of(pool): VAULT}
        self._from_block = from_block
        self._profile = profile
        self._ids = itertools.count(1)
        self._newest = Header(-1, b"", 0)
        self.deployment: Deployment | None = None
        """Known once `events` has given the first one."""

    async def __aenter__(self) -> Self:
        # proxies as http_proxy and no_proxy say, but never to this very machine
        self._direct = self._proxied = httpx.AsyncClient(trust_env=False)
        if not all(is_loopback_url(url) for url in self._endpoints.urls):
            try:
                self._proxied = httpx.AsyncClient()
            # SOCKS without its package, a scheme or port that is none
            except (ImportError, ValueError, httpx.InvalidURL) as error:
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
        return self._read(quantity, await self._ask("eth_chainId"), "chain id", WORD_BITS)

    async def head(self) -> int:
        """The number of the newest block, which the node shows by that number.

        A number alone is not enough: nobody would see the end of asking for the events of four billion blocks that are not there. Raises
        Unavailable.
        """
        number = self._read(quantity, await self._ask("eth_blockNumber"), "block number", BLOCK_BITS)
        if await self._ask("eth_getBlockByNumber", hex(number), False) is None:
            raise Unavailable(
                f"{self._endpoints.shown} tells of block {number} as its newest and shows none of that number: ask again, or another node",
                facts={"head": number},
            )
        return number

    async def calldata(self, transaction: bytes) -> bytes:
        """What a transaction was called with. Raises NotFound for one that the node does not have."""
        answer = await self._ask("eth_getTransactionByHash", "0x" + transaction.hex())
        if answer is None:
            raise NotFound(
                f"the node knows no transaction 0x{transaction.hex()}: is it another chain, or without its history?"
            )
        return self._read(data, self._read(fields, answer, "transaction").get("input"), "calldata")

    async def numbers(
        self, contract: bytes, interface: Interface, block: int, *questions: tuple[Any, ...]
    ) -> list[int]:
        """What views of a contract answer at a block, one number each. questions: a function's name and its arguments.

        Raises NotFound where there is no contract.
        """
        answers = await self._batch(
            [
                (
                    "eth_call",
                    [{"to": "0x" + contract.hex(), "data": "0x" + interface.encode_call(*one).hex()}, hex(block)],
                )
                for one in questions
            ]
        )
        found = []
        for (name, *_), answer in zip(questions, answers, strict=True):
            returned = self._read(data, answer, f"answer of {name}")
            if not returned:
                raise NotFound(
                    f"there is no contract at 0x{contract.hex()}, where $LL of pool 0x{self._pool.hex()} should be: "
                    "the pool's address is wrong, or its contracts are of another version"
                )
            try:
                (value,) = interface.decode_result(name, returned).values()
            except InvalidInput as error:
                raise DataLoss(
                    f"0x{contract.hex()} answers {name} with {error.message} ({self._endpoints.shown})"
                ) from error
            found.append(int(value))
        return found

    async def events(
        self, progress: Progress = lambda block, last: None, last: int | None = None
    ) -> AsyncIterator[Event]:
        """Every event of pool and vault in the order of the chain with its time, those of COMPLETED with their calldata.

        last: block up to which; the head as it is now if None. Raises NotFound if they do not begin with the pool's deployment.
        """
        last = await self.head() if last is None else last
        for first, until in block_ranges(self._from_block, last, self._profile):
            progress(first, last)
            found = await in_parts(self._logs, first, until)
            known = [(log, event) for log in found if (event := self._event(log))]
            if found and self.deployment is None:
                self.deployment = await self._deployed(found[0])
            for part in _batched(known, BATCH):
                calldata, times = await self._details(part)
                for log, event in part:
                    progress(event.block, last)
                    whole = completed(event, calldata[log.transaction_hash]) if type(event) in COMPLETED else event
                    yield replace(whole, time_s=times[log.block_number])
        progress(last, last)

    async def receipts(self, transactions: Sequence[bytes]) -> dict[bytes, Receipt]:
        """Of transactions that are in blocks, by hash."""
        found = {}
        for part in _batched(transactions, BATCH):
            answers = await self._batch([("eth_getTransactionReceipt", ["0x" + one.hex()]) for one in part])
            for one, answer in zip(part, answers, strict=True):
                if answer is None:
                    raise DataLoss(
                        f"the node tells of events of transaction 0x{one.hex()} and has no receipt of it: ask one that keeps its history"
                    )
                found[one] = self._read(receipt, answer, one)
        return found

    async def failures(self, last: int, progress: Progress = lambda block, last: None) -> AsyncIterator[Failure]:
        """Transactions to the pool that failed, up to block `last`, in the order of the chain: what nobody has an event of.

        Every block is asked for. Why each failed is asked by calling it again on the state before its block, and on that after it if it
        succeeds there (an update of the same block may have come before it).
        """
        for first in range(self._from_block, last + 1, BATCH):
            progress(first, last)
            numbers = range(first, min(first + BATCH, last + 1))
            answers = await self._batch([("eth_getBlockByNumber", [hex(number), True]) for number in numbers])
            sent = [
                one
                for number, answer in zip(numbers, answers, strict=True)
                for one in self._read(sent_in, answer, number, self._pool)
            ]
            receipts = await self.receipts([one.transaction for one in sent])
            for one in sent:
                if not receipts[one.transaction].succeeded:
                    yield Failure(one, receipts[one.transaction].gas_used, await self._reason(one))
        progress(last, last)

    async def _reason(self, sent: Sent) -> str:
        call = {
            "from": "0x" + sent.sender.hex(),
            "to": "0x" + self._pool.hex(),
            "data": "0x" + sent.data.hex(),
            "gas": hex(sent.gas),
        }
        for block in (max(sent.block - 1, 0), sent.block):
            [answer] = await self._answers([("eth_call", [call, hex(block)])])
            if "error" in answer:
                return reason_of(answer["error"], tuple(self._interfaces.values()))
        return "Unknown"

    async def _deployed(self, first: Log) -> Deployment:
        """Of the pool whose first log this is: its constructor makes the owner, the vault and the token with the genesis supply."""
        owner = _decoded(POOL, first)
        if owner is None or owner.name != "OwnershipTransferred" or owner.values["previousOwner"] != bytes(20):
            raise NotFound(
                f"the events of pool 0x{self._pool.hex()} from block {self._from_block} on do not begin with its deployment: "
                "give the block in which it was deployed, or an earlier one"
            )
        wanted = {
            "address": "0x" + self._token.hex(),
            "fromBlock": hex(first.block_number),
            "toBlock": hex(first.block_number),
            "topics": ["0x" + TOKEN.topic("Transfer").hex(), "0x" + bytes(32).hex()],
        }
        minted = self._read(
            logs, await self._ask("eth_getLogs", wanted), (self._token,), first.block_number, first.block_number
        )
        genesis = _decoded(TOKEN, minted[0]) if minted else None
        if genesis is None or genesis.name != "Transfer" or minted[0].transaction_hash != first.transaction_hash:
            raise DataLoss(f"the deployment of pool 0x{self._pool.hex()} minted no genesis supply of $LL")
        number = first.block_number
        answer = await self._ask("eth_getBlockByNumber", hex(number), False)
        times = self._times({number: first.block_hash}, [answer])
        return Deployment(number, times[number], genesis.values["value"])

    async def _logs(self, first: int, last: int) -> list[Log]:
        # go-ethereum's filter, which all these nodes have, takes one address or a list
        contracts = ["0x" + one.hex() for one in self._interfaces]
        wanted = {"address": contracts, "fromBlock": hex(first), "toBlock": hex(last)}
        return self._read(logs, await self._ask("eth_getLogs", wanted), self._interfaces, first, last)

    def _event(self, log: Log) -> Event | None:
        """None for what changes no task: who owns the pool, its Aspect, votes."""
        interface = self._interfaces[log.address]
        if not is_known(log, interface):
            name = "pool" if interface is POOL else "stake vault"
            raise DataLoss(
                f"transaction 0x{log.transaction_hash.hex()} made an event that this version of the {name} does not know"
            )
        return decode_event(log, interface)

    async def _details(self, part: Sequence[tuple[Log, Event]]) -> tuple[dict[bytes, bytes], dict[int, int]]:
        """Calldata of the events of COMPLETED by transaction, and the times of all by block number; all asked for at once."""
        hashes = list(dict.fromkeys(log.transaction_hash for log, event in part if type(event) in COMPLETED))
        blocks = {log.block_number: log.block_hash for log, _ in part}
        answers = await self._batch(
            [
                *(("eth_getTransactionByHash", ["0x" + one.hex()]) for one in hashes),
                *(("eth_getBlockByNumber", [hex(number), False]) for number in blocks),
            ]
        )
        return self._calldata(hashes, answers[: len(hashes)]), self._times(blocks, answers[len(hashes) :])

    def _calldata(self, hashes: Sequence[bytes], answers: Sequence[Any]) -> dict[bytes, bytes]:
        """Of transactions, by hash."""
        calldata = {}
        for one, answer in zip(hashes, answers, strict=True):
            if answer is None:
                raise DataLoss(
                    f"the node tells of events of transaction 0x{one.hex()} and no longer has it: ask one that keeps its history"
                )
            calldata[one] = self._read(data, self._read(fields, answer, "transaction").get("input"), "calldata")
        return calldata

    def _times(self, blocks: Mapping[int, bytes], answers: Sequence[Any]) -> dict[int, int]:
        """Of blocks, Unix seconds by number. blocks: the hashes that their logs name, by number, ascending.

        From one call to the next they ascend, too: a block whose time is before an earlier one's is DataLoss.
        """
        times = {}
        for (number, block_hash), answer in zip(blocks.items(), answers, strict=True):
            if answer is None:
                raise DataLoss(
                    f"the node tells of events in block {number} and no longer has it: ask one that keeps its history"
                )
            found = self._read(header, answer, number, block_hash)
            if found.time_s < self._newest.time_s:
                raise DataLoss(
                    f"the node says that block {number} is of second {found.time_s}, and block {self._newest.number} before it "
                    f"of {self._newest.time_s}"
                )
            if found.number == self._newest.number and found != self._newest:
                raise DataLoss(f"the node tells of two blocks with the number {number}")
            self._newest = found
            times[number] = found.time_s
        return times

    def _read(self, parse: Callable[Concatenate[Any, P], T], answer: Any, *arguments: P.args, **named: P.kwargs) -> T:
        """What an answer means. Raises DataLoss if it means nothing."""
        try:
            return parse(answer, *arguments, **named)
        except Malformed as error:
            raise DataLoss(f"{error} ({self._endpoints.shown})") from error

    async def _ask(self, method: str, *parameters: Any) -> Any:
        [answer] = await self._batch([(method, list(parameters))])
        return answer

    async def _batch(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """One HTTP request for all questions; the answers in their order."""
        found = []
        for (method, _), answer in zip(questions, await self._answers(questions), strict=True):
            if "error" in answer:
                refusal = answer["error"]
                reason = refusal.get("message", refusal) if isinstance(refusal, Mapping) else refusal
                raise Unavailable(f"the node refuses {method}: {reason!s:.500}")
            found.append(answer["result"])
        return found

    async def _answers(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Mapping[str, Any]]:
        """The same, each with its `result` or its `error`."""
        if not questions:
            return []
        asked = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": parameters}
            for method, parameters in questions
        ]
        body = await self._endpoints.ask(json.dumps(asked).encode())
        try:
            found = strictjson.loads(body, max_bytes=ANSWER_BYTES, max_values=ANSWER_VALUES)
            answers = {one["id"]: one for one in found}
            ordered = [answers[question["id"]] for question in asked]
            if not all("error" in one or "result" in one for one in ordered):
                raise KeyError("result")
            return ordered
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


def _batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _decoded(interface: Interface, log: Log) -> Decoded | None:
    try:
        return interface.decode_log(log.topics, log.data)
    except InvalidInput as error:
        raise DataLoss(
            f"an event of transaction 0x{log.transaction_hash.hex()} cannot be read: {error.message}"
        ) from error
