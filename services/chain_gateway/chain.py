"""The chain as the gateway sees it: one JSON-RPC endpoint through web3.py, its answers as values, its refusals as domain errors.

Asks nothing that an Artela node lacks: no filters (removing one kills that node), no `evm_*`, no replaced or queued nonces, no
`effectiveGasPrice`, no log range above 10,000 blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import aiohttp
import rlp  # type: ignore[import-untyped]
import structlog
from eth_hash.auto import keccak
from eth_typing import URI
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import BadResponseFormat, BlockNotFound, TransactionNotFound, Web3RPCError
from web3.types import RPCEndpoint, RPCResponse

from linklearner.abi import Interface
from linklearner.domain import strictjson
from linklearner.domain.errors import DataLoss, LinkLearnerError, NotFound, Refused, Unavailable
from linklearner.domain.gas import BLOCK_GAS as BLOCK_GAS
from linklearner.domain.gas import intrinsic_gas
from linklearner.domain.notation import is_loopback_url
from linklearner.domain.strictjson import NotJson
from linklearner.endpoints import Endpoints, Lost, Persistence, Reply, wait_for_chain, waited_for
from services.chain_gateway.heads import Head, Heads
from services.chain_gateway.refusals import refusal

RAW_LIMIT: Final = 1_048_576
"""Bytes of a signed transaction."""
FEE_CAP: Final = 10**18
"""Wei that gas * price must stay below: above it the node's RPC refuses."""
LOG_RANGE: Final = 10_000
"""Blocks that one eth_getLogs may span."""
START_WAIT_S: Final = 60.0
"""How long a start waits for its chain, unless its settings say otherwise."""
ENVELOPE_GAS: Final = 150_000
"""What an Artela node adds to the intrinsic gas of every question with data: it takes the data for a validation envelope."""

SEND: Final = "eth_sendRawTransaction"
ANSWER_BYTES: Final = 64 << 20
"""Of one answer of the node: ten thousand events have 20 MB."""
ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""

_NOBODY = bytes.fromhex("000000000000000000000000000000000000dead")

T = TypeVar("T")
P = ParamSpec("P")

_MISREAD: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What web3's formatters and our own readers raise, between them, for an answer of another shape than was asked for."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does. to: 20 bytes, None creates a contract.

    gas_limit: sent as it is, without asking first; None asks. known_gas: a limit that is enough by computation, so that the chain is asked
    only whether it would refuse; None has the node estimate.
    """

    to: bytes | None
    data: bytes = field(default=b"", repr=False)
    value: int = 0
    gas_limit: int | None = None
    known_gas: int | None = None

    def intrinsic_gas(self) -> int:
        """What it costs before anything runs. No charge for the words of creation code, as on the node."""
        return intrinsic_gas(self.data) + (32_000 if self.to is None else 0)


@dataclass(frozen=True, slots=True)
class Log:
    """An event as the chain keeps it."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    index: int
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block. contract: 20 bytes if it created one (for an Aspect: its id)."""

    transaction_hash: bytes
    block_number: int
    succeeded: bool
    gas_used: int
    contract: bytes | None
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction in a block, as eth_getTransactionByHash tells it. length: bytes of the signed transaction."""

    sender: bytes
    call: Call
    nonce: int
    block_number: int
    length: int


class Taken(Enum):
    """The node's answer to a raw transaction that it did not refuse."""

    NEW = "new"
    KNOWN = "known"


class NonceRefused(LinkLearnerError):
    """The nonce is not the next one. expected: what the node would take, if it says so."""

    def __init__(self, message: str, expected: int | None) -> None:
        super().__init__(message)
        self.expected = expected


class _Provider(AsyncHTTPProvider):
    """web3's, with a session of our own and our request id as an HTTP header.

    web3's session cache sits behind a thread lock that a cancelled call can leave locked for ever (its `async_lock`), and opens a
    connection for every request. Its silent retries go, too: questions are repeated by `Endpoints`, sending by the outbox alone.
    """

    def __init__(self, urls: str, timeout_s: float) -> None:
        persistence = Persistence(total_s=timeout_s, attempt_s=min(timeout_s, Persistence.attempt_s))
        self.endpoints = Endpoints(urls, self._post, persistence)
        super().__init__(URI(self.endpoints.shown), exception_retry_configuration=None)
        # proxies as http_proxy and no_proxy say, but never to this very machine
        self._direct = aiohttp.ClientSession()
        self._proxied = aiohttp.ClientSession(trust_env=True)

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        if method == SEND:
            return await self.endpoints.hand_in(request_data)
        return await self.endpoints.ask(request_data)

    async def _post(self, url: str, body: bytes, seconds: float) -> Reply:
        headers = {"Content-Type": "application/json"}
        request = structlog.contextvars.get_contextvars().get("request")
        if request is not None:
            headers["X-Request-Id"] = str(request)
        timeout = aiohttp.ClientTimeout(total=seconds)
        session = self._direct if is_loopback_url(url) else self._proxied
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
                answer = bytearray()
                async for part in response.content.iter_any():
                    answer += part
                    if len(answer) > ANSWER_BYTES:
                        raise Lost(f"an answer of more than {ANSWER_BYTES} bytes")
                return Reply(response.status, bytes(answer), response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Lost(type(error).__name__) from error
        except ValueError as error:  # the environment's proxy is no URL
            raise Lost(f"its URL or the proxy's is none: {error!s:.100}") from error

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """web3's parser goes as deep as a node nests its answer."""
        try:
            answer: RPCResponse = strictjson.loads(raw_response, max_bytes=ANSWER_BYTES, max_values=ANSWER_VALUES)
        except NotJson as error:
            raise BadResponseFormat(f"an answer that is no JSON: {error.message}") from error
        return answer

    async def disconnect(self) -> None:
        await asyncio.gather(self._direct.close(), self._proxied.close())

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        response = await super().make_request(method, params)
        if not isinstance(response, dict):  # web3 itself trips over it
            raise BadResponseFormat(f"the answer to {method} is no JSON object")
        return response


def _sensible(
    ask: Callable[Concatenate[Chain, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Chain, P], Coroutine[Any, Any, T]]:
    """The boundary around what a node tells: an answer of another shape than was asked for is Unavailable, whatever reading it raises."""

    @functools.wraps(ask)
    async def asked(self: Chain, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            return await ask(self, *args, **options)
        except _MISREAD as error:
            raise Unavailable(
                f"{self.shown_url} does not answer as a JSON-RPC node does: {type(error).__name__} {error!s:.200}"
            ) from error

    return asked


class Chain:
    """One chain behind one or several URLs. Every method raises Unavailable if it cannot be reached or answers nonsense."""

    def __init__(self, w3: AsyncWeb3[_Provider], interfaces: Sequence[Interface], chain_id: int, envelope: int) -> None:
        self._w3 = w3
        self._interfaces = tuple(interfaces)
        self.heads = Heads(self._newest)
        """Whoever waits for the next block waits here."""
        self._price: tuple[bytes, asyncio.Task[int] | None] = (b"", None)
        self.chain_id = chain_id
        self.envelope = envelope
        """Gas that estimates of calls with data are too high by: 150,000 on Artela, else 0."""

    @property
    def shown_url(self) -> str:
        """Of the endpoint in use, without what may be a secret: user, password, path, query."""
        return self._w3.provider.endpoints.shown

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        urls: str,
        interfaces: Sequence[Interface] = (),
        *,
        timeout_s: float = 30.0,
        wait_s: float = 0.0,
        tell: Callable[[str], object] = waited_for,
    ) -> AsyncIterator[Chain]:
        """urls: one or several of the same chain, separated by commas. interfaces: whose custom errors are decoded, in this order.

        timeout_s: for one question with all its repetitions. wait_s: how long to wait for a chain that does not answer yet.
        tell: who hears of that.
        Raises Unavailable if nobody answers, InvalidConfig for what is no URL and for URLs of different chains.
        """
        w3 = AsyncWeb3(_Provider(urls, timeout_s), middleware=[])
        try:
            chain = cls(w3, interfaces, 0, 0)

            async def greet() -> None:
                await w3.provider.endpoints.check()
                chain.chain_id = await chain._asked(w3.eth.chain_id)
                chain.envelope = await chain._measured_envelope()

            await wait_for_chain(greet, wait_s, tell=tell)
            yield chain
        finally:
            await w3.provider.disconnect()

    async def _measured_envelope(self) -> int:
        """A byte of data for an account without code costs 21,004 gas everywhere; what a node asks beyond that is Artela's envelope.

        Client names and chain ids say less ("//linux-amd64/go1.26.8" is one).
        """
        probe = Call(_NOBODY, b"\0")
        try:
            surplus = await self.estimate(_NOBODY, probe) - probe.intrinsic_gas()
        except Refused:
            surplus = 0
            try:
                await self.ask(_NOBODY, probe, gas=2 * probe.intrinsic_gas())
            except Refused:
                surplus = ENVELOPE_GAS
        return ENVELOPE_GAS if surplus >= ENVELOPE_GAS else 0

    async def head(self) -> Head:
        """The newest block, as `heads` knows it."""
        return await self.heads.look()

    @_sensible
    async def _newest(self) -> Head:
        block = await self._asked(self._w3.eth.get_block("latest"))
        return Head(
            _whole(block["number"], 63),
            _whole(block["timestamp"], 63),
            _whole(block.get("baseFeePerGas") or 0),
            bytes(block["hash"]),
            not block.get("transactions"),
        )

    async def head_number(self) -> int:
        return (await self.heads.look()).number

    @_sensible
    async def block_hash(self, number: int) -> bytes:
        """Raises NotFound for a block that is not there (yet)."""
        return bytes((await self._asked(self._w3.eth.get_block(number)))["hash"])

    @_sensible
    async def nonce(self, account: bytes, *, pending: bool = False) -> int:
        """The number of transactions of `account` in blocks; `pending`: and in the node's mempool."""
        return int(
            await self._asked(self._w3.eth.get_transaction_count(_address(account), "pending" if pending else "latest"))
        )

    @_sensible
    async def balance(self, account: bytes, block: int | None = None) -> int:
        """The chain's coin, wei."""
        return int(await self._asked(self._w3.eth.get_balance(_address(account), "latest" if block is None else block)))

    @_sensible
    async def code(self, account: bytes) -> bytes:
        return bytes(await self._asked(self._w3.eth.get_code(_address(account))))

    async def price(self) -> int:
        """Wei per gas that the node asks for now; asked once a block where blocks come by themselves."""
        head = self.heads.newest
        if not self.heads.interval_s or head is None:
            return await self._price_now()
        block, asked = self._price
        if asked is None or block != head.hash or (asked.done() and (asked.cancelled() or asked.exception())):
            asked = asyncio.create_task(self._price_now())
            self._price = head.hash, asked
        return await asyncio.shield(asked)

    @_sensible
    async def _price_now(self) -> int:
        return int(await self._asked(self._w3.eth.gas_price))

    async def expect_code(self, address: bytes) -> None:
        """Every further URL must have the same code at an address. Raises NotFound if there is none at the one in use."""
        if not await self.code(address):
            raise NotFound(f"there is no contract at 0x{address.hex()} on {self.shown_url}")
        self._w3.provider.endpoints.expect_code("0x" + address.hex())

    async def call(self, to: bytes, data: bytes, *, sender: bytes = _NOBODY, block: int | None = None) -> bytes:
        """eth_call at a block, the newest by default. Raises what `refusal` makes of a revert, NotFound for a block without state."""
        return await self.ask(sender, Call(to, data), block=block)

    @_sensible
    async def ask(self, sender: bytes, call: Call, *, block: int | None = None, gas: int | None = None) -> bytes:
        """What `call` would give as a transaction of `sender`, at a block, the newest by default. Raises as `call` does."""
        question = _question(sender, call) | ({} if gas is None else {"gas": hex(gas)})
        answer = await self._raw("eth_call", [question, "latest" if block is None else hex(block)])
        return bytes.fromhex(answer.removeprefix("0x"))

    async def estimate(self, sender: bytes, call: Call) -> int:
        """The node's raw estimate. Raises what it refuses with; the node gives no data here, so custom errors have no name."""
        answer = await self._raw("eth_estimateGas", [_question(sender, call)])
        try:
            return int(answer[:66], 16)
        except ValueError as error:
            raise Unavailable(f"{self.shown_url} estimates {answer!r:.40}, which is no gas") from error

    async def gas_limit(self, sender: bytes, call: Call) -> int:
        """A limit for `call` that is just enough: half of it is charged even if unused.

        Raises Refused with the chain's own reason if the call would fail now, or with GasLimitTooHigh if no block holds it.
        """
        envelope = self.envelope if call.data else 0
        if call.known_gas is not None:
            try:
                await self.ask(sender, call, gas=call.known_gas + envelope)
            except Refused as refused:
                if refused.reason != "OutOfGas":
                    raise
                # not the contract that the computation is about (or coin for a contract): the node shall say
            else:
                return call.known_gas
        try:
            estimate = await self.estimate(sender, call)
        except Refused:
            await self.ask(sender, call)  # raises the reason, which the estimate does not give …
            estimate = await self._searched(sender, call)  # … unless it was the estimating that failed
        needed = max(estimate - envelope, call.intrinsic_gas())
        if needed > BLOCK_GAS:
            raise Refused(
                f"it needs {needed} gas and a block holds {BLOCK_GAS}; make the groups or pages smaller",
                reason="GasLimitTooHigh",
                facts={"needed": needed, "limit": BLOCK_GAS},
            )
        if not call.data:
            return needed
        # What lands in between may turn a slot that we change into one that we create, 22,100 gas. Below double, half of it is never
        # charged for nothing.
        return min(needed + min(needed // 10 + 25_000, needed * 9 // 10), BLOCK_GAS)

    async def _searched(self, sender: bytes, call: Call) -> int:
        """What `estimate` would tell, to a thirty-second, by asking with more and less gas."""
        envelope = self.envelope if call.data else 0
        fails, works = call.intrinsic_gas() + envelope - 1, BLOCK_GAS + envelope
        await self.ask(sender, call, gas=works)  # raises OutOfGas if no block holds it
        while works - fails > works // 32:
            middle = (fails + works) // 2
            try:
                await self.ask(sender, call, gas=middle)
            except Refused:
                fails = middle
            else:
                works = middle
        return works

    async def send(self, raw: bytes) -> Taken:
        """Hands in a signed transaction.

        Raises NonceRefused, Refused with reason InsufficientFunds, GasLimitTooHigh, FeeCap, …, or Unavailable, after which it may or
        may not have been taken.
        """
        if len(raw) > RAW_LIMIT:
            raise Refused(
                f"the signed transaction has {len(raw)} bytes and the chain takes {RAW_LIMIT}; send fewer pages",
                reason="TransactionTooLarge",
                facts={"bytes": len(raw), "limit": RAW_LIMIT},
            )
        answer = await self._response(SEND, ["0x" + raw.hex()])
        error = answer.get("error")
        if error is None:
            return Taken.NEW
        message = _message(error)
        if "already in mempool" in message or "already exists in cache" in message or "already known" in message:
            return Taken.KNOWN
        if "invalid nonce" in message or "nonce too low" in message or "nonce too high" in message:
            raise NonceRefused(message, _expected(message))
        raise refusal(message, _data(error), self._interfaces)

    @_sensible
    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """None while there is none."""
        try:
            found: Any = await self._asked(self._w3.eth.get_transaction_receipt(_hash32(transaction_hash)))
        except NotFound:
            return None
        block = _whole(found["blockNumber"], 63)
        receipt = Receipt(
            transaction_hash=bytes(found["transactionHash"]),
            block_number=block,
            succeeded=_whole(found["status"]) == 1,
            gas_used=_whole(found["gasUsed"]),
            contract=None if found.get("contractAddress") is None else _bytes20(found["contractAddress"]),
            logs=tuple(map(_log, found["logs"])),
        )
        self.heads.reached(block)
        return receipt

    @_sensible
    async def landed(self, transaction_hash: bytes) -> Landed:
        """Raises NotFound for a transaction that is in no block."""
        found: Any = await self._asked(self._w3.eth.get_transaction(_hash32(transaction_hash)))
        if found.get("blockNumber") is None:
            raise NotFound(f"transaction 0x{transaction_hash.hex()} is in no block yet")
        to = None if found.get("to") is None else _bytes20(found["to"])
        return Landed(
            sender=_bytes20(found["from"]),
            call=Call(to, bytes(found["input"]), int(found["value"])),
            nonce=_whole(found["nonce"], 64),
            block_number=_whole(found["blockNumber"], 63),
            length=len(_raw_of(found)),
        )

    @_sensible
    async def transaction_at(self, account: bytes, nonce: int, first: int, last: int) -> bytes | None:
        """The hash of the transaction of `account` with this nonce, if a block of first…last is seen to hold it; None proves nothing.

        Asks about once for each doubling of the range. Blocks whose state is gone are taken for too early.
        """
        while first < last:
            middle = (first + last) // 2
            try:
                passed = await self._asked(self._w3.eth.get_transaction_count(_address(account), middle)) > nonce
            except (NotFound, Refused):
                passed = False
            first, last = (first, middle) if passed else (middle + 1, last)
        try:
            block: Any = await self._asked(self._w3.eth.get_block(last, full_transactions=True))
        except (NotFound, Refused):
            return None
        for found in block["transactions"]:
            if _bytes20(found["from"]) == account and found["nonce"] == nonce:
                return bytes(found["hash"])
        return None

    @_sensible
    async def raw_transaction(self, transaction_hash: bytes) -> bytes:
        """The signed bytes, made again from what the node tells. Raises NotFound, DataLoss if they do not give the hash."""
        found: Any = await self._asked(self._w3.eth.get_transaction(_hash32(transaction_hash)))
        raw = _raw_of(found)
        if keccak(raw) != transaction_hash:
            raise DataLoss(f"what the node tells of transaction 0x{transaction_hash.hex()} does not give its hash")
        return raw

    async def logs(self, address: bytes, first: int, last: int) -> list[Log]:
        """All events of a contract in blocks first…last, at most 10,000 blocks, in the order of the chain."""
        if last - first >= LOG_RANGE:
            raise ValueError(f"at most {LOG_RANGE} blocks at once")
        try:
            found = await self._asked(
                self._w3.eth.get_logs({"address": _address(address), "fromBlock": first, "toBlock": last})
            )
        except Refused as refused:
            if "returned more than" not in refused.message or first == last:
                raise
            middle = (first + last) // 2  # a node tells of 10,000 events at once
            return [*await self.logs(address, first, middle), *await self.logs(address, middle + 1, last)]
        return await self._in_order(found)

    @_sensible
    async def _in_order(self, found: Any) -> list[Log]:
        return sorted((_log(entry) for entry in found), key=lambda entry: (entry.block_number, entry.index))

    async def why_failed(self, receipt: Receipt, sender: bytes, call: Call) -> LinkLearnerError:
        """Why a transaction in a block has status 0: asked again at the block before it, then at its own, with its own gas limit.

        Others in the same block may have come in between, so the answer is the likeliest one, not a proof; Refused with reason
        `Failed` if it would succeed at both.
        """
        gas_limit = call.gas_limit or BLOCK_GAS
        gas = gas_limit + (self.envelope if call.data else 0)
        for block in (receipt.block_number - 1, receipt.block_number):
            try:
                await self.ask(sender, call, block=block, gas=gas)
            except Unavailable:
                raise
            except LinkLearnerError as reason:
                if not isinstance(reason, NotFound):  # the state of that block is gone
                    return reason
        reason_name = "OutOfGas" if receipt.gas_used >= gas_limit else "Failed"
        return Refused("the transaction failed, and asked again it gives no reason", reason=reason_name)

    async def _raw(self, method: str, params: list[Any]) -> str:
        answer = await self._response(method, params)
        if "error" in answer:
            error = answer["error"]
            raise refusal(_message(error), _data(error), self._interfaces)
        return str(answer["result"])

    async def _response(self, method: str, params: list[Any]) -> dict[str, Any]:
        # Not through w3.eth: its formatters replace the node's message, and choke on panic codes that they do not know.
        answer: Any = await self._asked(self._w3.provider.make_request(RPCEndpoint(method), params))
        if not isinstance(answer, dict) or ("result" not in answer and not answer.get("error")):
            raise Unavailable(f"{self.shown_url} does not answer as a JSON-RPC node does", facts={"method": method})
        return answer

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            value = await answer
            if isinstance(value, int) and not 0 <= value < 2**256:
                raise ValueError("a quantity of more than 256 bits")
            return value
        except (TransactionNotFound, BlockNotFound) as error:
            raise NotFound(str(error)) from error
        except Web3RPCError as error:
            response: Any = error.rpc_response or {}
            raise refusal(_message(response.get("error") or str(error)), b"", self._interfaces) from error
        except (BadResponseFormat, *_MISREAD) as error:
            raise Unavailable(f"{self.shown_url} does not answer as a JSON-RPC node does: {error!s:.200}") from error


def _address(account: bytes) -> Any:
    if len(account) != 20:
        raise ValueError(f"an address has 20 bytes, not {len(account)}")
    return AsyncWeb3.to_checksum_address(account)


def _whole(value: Any, bits: int = 256) -> int:
    """A quantity as web3 gives it. Raises ValueError for everything else."""
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError(f"{value!r:.40} is no quantity of {bits} bits")
    return value


def _bytes20(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


def _hash32(value: bytes) -> Any:
    return "0x" + value.hex()


def _question(sender: bytes, call: Call) -> dict[str, str]:
    question = {"from": "0x" + sender.hex(), "data": "0x" + call.data.hex()}
    if call.to is not None:
        question["to"] = "0x" + call.to.hex()
    if call.value:
        question["value"] = hex(call.value)
    return question


def _log(entry: Any) -> Log:
    return Log(
        address=_bytes20(entry["address"]),
        topics=tuple(bytes(topic) for topic in entry["topics"]),
        data=bytes(entry["data"]),
        block_number=_whole(entry["blockNumber"], 63),
        index=_whole(entry["logIndex"], 63),
        transaction_hash=bytes(entry["transactionHash"]),
    )


def _message(error: Any) -> str:
    """At most 2,000 characters: what a node says goes into logs, the outbox's file and errors."""
    return (str(error.get("message", error)) if isinstance(error, dict) else str(error))[:2000]


def _data(error: Any) -> bytes:
    """The revert data of an error, wherever a node puts it; empty if there is none."""
    found = error.get("data") if isinstance(error, dict) else None
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, str):
        return b""
    try:
        return bytes.fromhex(found.removeprefix("0x"))
    except ValueError:
        return b""


def _expected(message: str) -> int | None:
    digits = message.partition("expected ")[2].partition(":")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def _raw_of(found: Any) -> bytes:
    """The signed transaction that the fields of eth_getTransactionByHash describe; nodes rarely give the raw one."""
    to = b"" if found.get("to") is None else _bytes20(found["to"])
    # r and s are numbers: their leading zeros do not travel
    signature = [found["v"], *(int.from_bytes(bytes(found[part]), "big") for part in ("r", "s"))]
    body = [found["gas"], to, found["value"], bytes(found["input"])]
    kind = int(found.get("type") or 0)
    if kind == 0:
        return bytes(rlp.encode([found["nonce"], found["gasPrice"], *body, *signature]))
    access = [
        [_bytes20(entry["address"]), [bytes.fromhex(_hex(key)) for key in entry["storageKeys"]]]
        for entry in found.get("accessList") or []
    ]
    price = [found["gasPrice"]] if kind == 1 else [found["maxPriorityFeePerGas"], found["maxFeePerGas"]]
    fields = [found["chainId"], found["nonce"], *price, *body, access, *signature]
    return bytes([kind]) + bytes(rlp.encode(fields))


def _hex(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes) else str(value).removeprefix("0x")
