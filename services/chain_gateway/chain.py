"""The chain as the gateway sees it: one JSON-RPC endpoint through web3.py, its answers as values, its refusals as domain errors.

Asks nothing that an Artela node lacks: no filters (removing one kills that node), no `evm_*`, no replaced or queued nonces, no
`effectiveGasPrice`, no more than its profile allows.

web3.py builds the requests and knows the methods; which URL hears them is for `linklearner.chain.endpoints`, and what the answers mean
for `linklearner.chain.answers`: web3 passes on whatever a node says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeVar

import rlp  # type: ignore[import-untyped]
from eth_hash.auto import keccak
from web3 import AsyncWeb3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception, Web3RPCError
from web3.types import BlockIdentifier, RPCEndpoint

from linklearner.chain import answers
from linklearner.chain.abi import Interface
from linklearner.chain.answers import (
    WORD_BITS,
    Log,
    Malformed,
    Receipt,
    address,
    data,
    fields,
    items,
    optional_address,
    quantity,
)
from linklearner.chain.endpoints import wait_for_chain, waited_for
from linklearner.chain.logs import in_parts
from linklearner.chain.profile import ARTELA, Profile
from linklearner.domain.errors import DataLoss, LinkLearnerError, NotFound, Refused, Unavailable
from linklearner.domain.gas import intrinsic_gas
from services.chain_gateway.heads import Head, Heads
from services.chain_gateway.provider import SEND, Provider
from services.chain_gateway.refusals import refusal

START_WAIT_S: Final = 60.0
"""How long a start waits for its chain, unless its settings say otherwise."""
_NOBODY = bytes.fromhex("000000000000000000000000000000000000dead")

T = TypeVar("T")


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
class Transaction:
    """A transaction in a block, as eth_getTransactionByHash gives it. length: bytes of the signed transaction."""

    sender: bytes
    call: Call
    nonce: int
    block_number: int
    length: int


class SendResult(Enum):
    """The node's answer to a raw transaction that it did not refuse."""

    ACCEPTED = "accepted"
    ALREADY_KNOWN = "already known"


class NonceRefused(LinkLearnerError):
    """The nonce is not the next one, says the node."""


class Chain:
    """One chain behind one or several URLs. Every method raises Unavailable if it cannot be reached or answers nonsense."""

    def __init__(self, w3: AsyncWeb3[Provider], interfaces: Sequence[Interface], profile: Profile) -> None:
        self._w3 = w3
        self._interfaces = tuple(interfaces)
        self.heads = Heads(self._newest)
        """Whoever waits for the next block waits here."""
        self._price: tuple[bytes, asyncio.Task[int] | None] = (b"", None)
        self.chain_id = 0
        self.profile = profile
        """With the envelope that was measured: what estimates of calls with data are too high by."""

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
        profile: Profile = ARTELA,
    ) -> AsyncIterator[Chain]:
        """urls: one or several of the same chain, separated by commas. interfaces: whose custom errors are decoded, in this order.

        timeout_s: for one question with all its repetitions. wait_s: how long to wait for a chain that does not answer yet.
        tell: who hears of that. profile: the node's limits; its envelope is measured, not believed.
        Raises Unavailable if nobody answers, InvalidConfig for what is no URL and for URLs of different chains.
        """
        w3 = AsyncWeb3(Provider(urls, timeout_s), middleware=[])
        try:
            chain = cls(w3, interfaces, profile)

            async def greet() -> None:
                await w3.provider.endpoints.check()
                chain.chain_id = await chain._quantity(w3.eth.chain_id, "chain id", WORD_BITS)
                chain.profile = replace(profile, envelope_gas=await chain._measured_envelope())

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
                surplus = ARTELA.envelope_gas
        return ARTELA.envelope_gas if surplus >= ARTELA.envelope_gas else 0

    async def head(self) -> Head:
        """The newest block, as `heads` knows it."""
        return await self.heads.look()

    async def _newest(self) -> Head:
        return await self._asked(self._w3.eth.get_block("latest"), _head)

    async def head_number(self) -> int:
        return (await self.heads.look()).number

    async def block_hash(self, number: int) -> bytes:
        """Raises NotFound for a block that is not there (yet)."""
        return await self._asked(
            self._w3.eth.get_block(number), lambda block: data(fields(block, "block").get("hash"), "block's hash", 32)
        )

    async def nonce(self, account: bytes, *, pending: bool = False) -> int:
        """The number of transactions of `account` in blocks; `pending`: and in the node's mempool."""
        at: BlockIdentifier = "pending" if pending else "latest"
        return await self._quantity(self._w3.eth.get_transaction_count(_address(account), at), "nonce")

    async def balance(self, account: bytes, block: int | None = None) -> int:
        """The chain's coin, wei."""
        at: BlockIdentifier = "latest" if block is None else block
        return await self._quantity(self._w3.eth.get_balance(_address(account), at), "balance", WORD_BITS)

    async def code(self, account: bytes) -> bytes:
        return await self._asked(self._w3.eth.get_code(_address(account)), lambda code: data(code, "code"))

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

    async def _price_now(self) -> int:
        return await self._quantity(self._w3.eth.gas_price, "gas price", WORD_BITS)

    async def expect_code(self, address: bytes) -> None:
        """Every further URL must have the same code at an address. Raises NotFound if there is none at the one in use."""
        if not await self.code(address):
            raise NotFound(f"there is no contract at 0x{address.hex()} on {self.shown_url}")
        self._w3.provider.endpoints.expect_code("0x" + address.hex())

    async def call(self, to: bytes, data: bytes, *, sender: bytes = _NOBODY, block: int | None = None) -> bytes:
        """eth_call at a block, the newest by default. Raises what `refusal` makes of a revert, NotFound for a block without state."""
        return await self.ask(sender, Call(to, data), block=block)

    async def ask(self, sender: bytes, call: Call, *, block: int | None = None, gas: int | None = None) -> bytes:
        """What `call` would give as a transaction of `sender`, at a block, the newest by default. Raises as `call` does."""
        question = _question(sender, call) | ({} if gas is None else {"gas": hex(gas)})
        at = "latest" if block is None else hex(block)
        return await self._asked(self._raw("eth_call", [question, at]), lambda answer: data(answer, "answer to a call"))

    async def estimate(self, sender: bytes, call: Call) -> int:
        """The node's raw estimate. Raises what it refuses with; the node gives no data here, so custom errors have no name."""
        return await self._quantity(self._raw("eth_estimateGas", [_question(sender, call)]), "estimate")

    async def gas_limit(self, sender: bytes, call: Call) -> int:
        """A limit for `call` that is just enough: half of it is charged even if unused.

        Raises Refused with the chain's own reason if the call would fail now, or with GasLimitTooHigh if no block holds it.
        """
        envelope = self.profile.envelope_gas if call.data else 0
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
        most = self.profile.transaction_gas
        if needed > most:
            raise Refused(
                f"it needs {needed} gas and a block holds {most}; make the groups or pages smaller",
                reason="GasLimitTooHigh",
                facts={"needed": needed, "limit": most},
            )
        if not call.data:
            return needed
        # What lands in between may turn a slot that we change into one that we create, 22,100 gas. Below double, half of it is never
        # charged for nothing.
        return min(needed + min(needed // 10 + 25_000, needed * 9 // 10), most)

    async def _searched(self, sender: bytes, call: Call) -> int:
        """What `estimate` would answer, to a thirty-second, by asking with more and less gas."""
        envelope = self.profile.envelope_gas if call.data else 0
        fails, works = call.intrinsic_gas() + envelope - 1, self.profile.transaction_gas + envelope
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

    async def send(self, raw: bytes) -> SendResult:
        """Hands in a signed transaction.

        Raises NonceRefused, Refused with reason InsufficientFunds, GasLimitTooHigh, FeeCap, …, or Unavailable, after which it may or
        may not have been taken.
        """
        most = self.profile.transaction_bytes
        if len(raw) > most:
            raise Refused(
                f"the signed transaction has {len(raw)} bytes and the chain takes {most}; send fewer pages",
                reason="TransactionTooLarge",
                facts={"bytes": len(raw), "limit": most},
            )
        answer = await self._response(SEND, ["0x" + raw.hex()])
        error = answer.get("error")
        if error is None:
            return SendResult.ACCEPTED
        message = _message(error)
        if "already in mempool" in message or "already exists in cache" in message or "already known" in message:
            return SendResult.ALREADY_KNOWN
        if "invalid nonce" in message or "nonce too low" in message or "nonce too high" in message:
            raise NonceRefused(message)
        raise refusal(message, _data(error), self._interfaces)

    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """None while there is none."""
        try:
            found = await self._asked(
                self._w3.eth.get_transaction_receipt(_hash32(transaction_hash)),
                lambda answer: answers.receipt(answer, transaction_hash),
            )
        except NotFound:
            return None
        self.heads.reached(found.block_number)
        return found

    async def transaction(self, transaction_hash: bytes) -> Transaction:
        """Raises NotFound for a transaction that is in no block."""
        found = await self._asked(self._w3.eth.get_transaction(_hash32(transaction_hash)), _transaction)
        if found is None:
            raise NotFound(f"transaction 0x{transaction_hash.hex()} is in no block yet")
        return found

    async def transaction_at(self, account: bytes, nonce: int, first: int, last: int) -> bytes | None:
        """The hash of the transaction of `account` with this nonce, if a block of first…last is seen to hold it; None proves nothing.

        Asks about once for each doubling of the range. Blocks whose state is gone are taken for too early.
        """
        while first < last:
            middle = (first + last) // 2
            try:
                count = self._w3.eth.get_transaction_count(_address(account), middle)
                passed = await self._quantity(count, "nonce") > nonce
            except (NotFound, Refused):
                passed = False
            first, last = (first, middle) if passed else (middle + 1, last)
        try:
            block = await self._asked(self._w3.eth.get_block(last, full_transactions=True), _senders)
        except (NotFound, Refused):
            return None
        return block.get((account, nonce))

    async def raw_transaction(self, transaction_hash: bytes) -> bytes:
        """The signed bytes, made again from what the node answers. Raises NotFound, DataLoss if they do not give the hash."""
        raw = await self._asked(self._w3.eth.get_transaction(_hash32(transaction_hash)), _signed_bytes)
        if keccak(raw) != transaction_hash:
            raise DataLoss(f"what the node says of transaction 0x{transaction_hash.hex()} does not give its hash")
        return raw

    async def logs(self, contract: bytes, first: int, last: int) -> list[Log]:
        """All events of a contract in blocks first…last, as many as the profile allows, in the order of the chain."""
        if last - first >= self.profile.log_blocks:
            raise ValueError(f"at most {self.profile.log_blocks} blocks at once")

        async def ask(first: int, last: int) -> list[Log]:
            return await self._asked(
                self._w3.eth.get_logs({"address": _address(contract), "fromBlock": first, "toBlock": last}),
                lambda answer: answers.logs(answer, contract, first, last),
            )

        return await in_parts(ask, first, last)

    async def why_failed(self, receipt: Receipt, sender: bytes, call: Call) -> LinkLearnerError:
        """Why a transaction in a block has status 0: asked again at the block before it, then at its own, with its own gas limit.

        Others in the same block may have come in between, so the answer is the likeliest one, not a proof; Refused with reason
        `Failed` if it would succeed at both.
        """
        gas_limit = call.gas_limit or self.profile.transaction_gas
        gas = gas_limit + (self.profile.envelope_gas if call.data else 0)
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

    async def _raw(self, method: str, params: list[Any]) -> Any:
        answer = await self._response(method, params)
        if "error" in answer:
            error = answer["error"]
            raise refusal(_message(error), _data(error), self._interfaces)
        return answer["result"]

    async def _response(self, method: str, params: list[Any]) -> Mapping[str, Any]:
        # Not through w3.eth: its formatters replace the node's message, and choke on panic codes that they do not know.
        return await self._asked(self._w3.provider.make_request(RPCEndpoint(method), params), _response)

    async def _quantity(self, answer: Awaitable[Any], what: str, bits: int = answers.COUNT_BITS) -> int:
        return await self._asked(answer, lambda value: quantity(value, what, bits))

    async def _asked(self, answer: Awaitable[Any], read: Callable[[Any], T]) -> T:
        """What an answer means, and every way in which there is none as an error of ours: all that a node says comes through here."""
        try:
            return read(await answer)
        except (TransactionNotFound, BlockNotFound) as error:
            raise NotFound(str(error)) from error
        except Web3RPCError as error:
            response: Any = error.rpc_response
            stated = response.get("error") if isinstance(response, Mapping) else None
            raise refusal(_message(stated or str(error)), b"", self._interfaces) from error
        except (Malformed, Web3Exception, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            # web3 reads some of the fields itself, and raises whatever Python does with those that are not what it takes them for
            raise Unavailable(f"{self.shown_url} does not answer as a JSON-RPC node does: {error!s:.200}") from error


def _address(account: bytes) -> Any:
    if len(account) != 20:
        raise ValueError(f"an address has 20 bytes, not {len(account)}")
    return AsyncWeb3.to_checksum_address(account)


def _hash32(value: bytes) -> Any:
    return "0x" + value.hex()


def _question(sender: bytes, call: Call) -> dict[str, str]:
    question = {"from": "0x" + sender.hex(), "data": "0x" + call.data.hex()}
    if call.to is not None:
        question["to"] = "0x" + call.to.hex()
    if call.value:
        question["value"] = hex(call.value)
    return question


def _response(answer: Any) -> Mapping[str, Any]:
    found = fields(answer, "answer")
    if "result" not in found and not found.get("error"):
        raise Malformed("there is neither a result nor an error")
    return found


def _head(answer: Any) -> Head:
    block = fields(answer, "block")
    base_fee = block.get("baseFeePerGas")
    return Head(
        quantity(block.get("number"), "block number"),
        quantity(block.get("timestamp"), "block time"),
        0 if base_fee is None else quantity(base_fee, "base fee", WORD_BITS),
        data(block.get("hash"), "block's hash", 32),
        not items(block.get("transactions", ()), "block's transactions"),
    )


def _senders(answer: Any) -> dict[tuple[bytes, int], bytes]:
    """Of a block with whole transactions: the hash of each by sender and nonce."""
    transactions = [
        fields(one, "transaction") for one in items(fields(answer, "block").get("transactions"), "block's transactions")
    ]
    return {
        (address(one.get("from"), "sender"), quantity(one.get("nonce"), "nonce")): data(
            one.get("hash"), "transaction's hash", 32
        )
        for one in transactions
    }


def _transaction(answer: Any) -> Transaction | None:
    """None for one that is in no block."""
    found = fields(answer, "transaction")
    if found.get("blockNumber") is None:
        return None
    return Transaction(
        sender=address(found.get("from"), "sender"),
        call=Call(
            optional_address(found.get("to"), "receiver"),
            data(found.get("input"), "calldata"),
            quantity(found.get("value"), "value", WORD_BITS),
        ),
        nonce=quantity(found.get("nonce"), "nonce"),
        block_number=quantity(found["blockNumber"], "transaction's block number"),
        length=len(_signed_bytes(found)),
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


def _signed_bytes(answer: Any) -> bytes:
    """The signed transaction that the fields of eth_getTransactionByHash describe; nodes rarely give the raw one."""
    found = fields(answer, "transaction")

    def number(name: str) -> int:
        value = found.get(name)  # r and s are numbers: their leading zeros do not travel
        return quantity(
            int.from_bytes(value, "big") if isinstance(value, bytes) else value, f"transaction's {name}", WORD_BITS
        )

    to = optional_address(found.get("to"), "receiver") or b""
    signature = [number("v"), number("r"), number("s")]
    body = [number("gas"), to, number("value"), data(found.get("input"), "calldata")]
    kind = quantity(found.get("type") or 0, "transaction's type", 7)
    if kind == 0:
        return bytes(rlp.encode([number("nonce"), number("gasPrice"), *body, *signature]))
    access = []
    for one in items(found.get("accessList") or [], "access list"):
        entry = fields(one, "access list's entry")
        keys = [data(key, "storage key", 32) for key in items(entry.get("storageKeys"), "storage keys")]
        access.append([address(entry.get("address"), "access list's address"), keys])
    price = [number("gasPrice")] if kind == 1 else [number("maxPriorityFeePerGas"), number("maxFeePerGas")]
    parts = [number("chainId"), number("nonce"), *price, *body, access, *signature]
    return bytes([kind]) + bytes(rlp.encode(parts))
