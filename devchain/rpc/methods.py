"""The methods. Each takes the parsed `params` list and answers a JSON value; all run on the thread that owns the chain."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Final

from eth_hash.auto import keccak

from devchain.accounts import DevelopmentAccount
from devchain.chain.blocks import Header, StoredReceipt
from devchain.chain.chain import EmbeddedChain, Snapshot
from devchain.chain.evm import revert_reason
from devchain.chain.questions import CallFailed, CallRequest
from devchain.chain.transactions import AccessList, TransactionRefused
from devchain.config import NodeKind
from devchain.rpc import accesslist, bounds, codec, headers, trace, txpool, unlocked
from devchain.rpc.blocks import header_json, receipt_json, transaction_json
from devchain.rpc.codec import RpcError, data, quantity
from devchain.rpc.filters import Filters
from devchain.rpc.logs import logs_json, parse_log_filter
from devchain.rpc.signing import sign

Params = list[Any]
Method = Callable[[Params], Any]

CLIENT_VERSION: Final = "LinkLearner-devchain/artela"
LOG_RANGE_LIMIT: Final = 10_000
LOG_LIMIT: Final = 10_000
_BLOCKS_AT_ONCE: Final = 10_000
_END_OF_TIME: Final = 2**40
"""No block is stamped later, in seconds since 1970."""


APART: Final = frozenset(
    ("eth_call", "eth_estimateGas", "eth_createAccessList", "debug_traceTransaction", "debug_traceCall")
)
"""Questions: answered from committed state on any thread, apart from the one that makes blocks. No other method may run there."""


class Methods:
    """The method table of one chain."""

    def __init__(
        self,
        chain: EmbeddedChain,
        *,
        accounts: tuple[DevelopmentAccount, ...],
        instant: bool,
        client: str = CLIENT_VERSION,
    ) -> None:
        self._chain = chain
        self._keys = {account.address: account.key for account in accounts}
        self._instant = instant
        self._snapshots: dict[int, Snapshot] = {}
        """By number, oldest first; numbers are never used again."""
        self._snapshots_made = 0
        self._filters = Filters(chain, time.monotonic)
        chain.on_arrival(lambda transaction: self._filters.transaction_arrived(transaction.hash))
        self._table: dict[str, Method] = {
            "eth_chainId": lambda _: quantity(chain.config.chain_id),
            "net_version": lambda _: str(chain.config.chain_id),
            "net_listening": lambda _: True,
            "net_peerCount": lambda _: "0x0",
            "web3_clientVersion": lambda _: client,
            "web3_sha3": lambda p: data(keccak(codec.parse_data(codec.argument(p, 0), 0))),
            "eth_syncing": lambda _: False,
            "eth_mining": lambda _: False,
            "eth_hashrate": lambda _: "0x0",
            "eth_coinbase": lambda _: data(chain.config.miner),
            "eth_protocolVersion": lambda _: "0x41",
            "eth_accounts": lambda _: [data(address) for address in self._keys],
            "eth_gasPrice": lambda _: quantity(chain.next_base_fee()),
            "eth_maxPriorityFeePerGas": lambda _: "0x0",
            "eth_blockNumber": lambda _: quantity(chain.head.number),
            "eth_getBalance": self._get_balance,
            "eth_getTransactionCount": self._get_transaction_count,
            "eth_getCode": self._get_code,
            "eth_getStorageAt": self._get_storage_at,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate_gas,
            "eth_sendRawTransaction": self._send_raw_transaction,
            "eth_getBlockByNumber": self._get_block_by_number,
            "eth_getBlockByHash": self._get_block_by_hash,
            "eth_getBlockTransactionCountByNumber": self._count_by_number,
            "eth_getBlockTransactionCountByHash": self._count_by_hash,
            "eth_getTransactionByHash": self._get_transaction,
            "eth_getTransactionByBlockNumberAndIndex": self._transaction_in_block_number,
            "eth_getTransactionByBlockHashAndIndex": self._transaction_in_block_hash,
            "eth_getTransactionReceipt": self._get_receipt,
            "eth_getUncleCountByBlockNumber": lambda _: "0x0",
            "eth_getUncleCountByBlockHash": lambda _: "0x0",
            "eth_getUncleByBlockNumberAndIndex": lambda _: None,
            "eth_getUncleByBlockHashAndIndex": lambda _: None,
            "eth_sendTransaction": self._send_transaction,
            "eth_getLogs": self._get_logs,
            "eth_feeHistory": self._fee_history,
            "linklearner_gasParts": self._gas_parts,
            **headers.table(chain, self._number),
            **accesslist.table(chain, self._question, self._number),
            **unlocked.table(chain, self._keys, self._question, self._estimate, self._submit),
        }
        if not chain.config.strict:
            self._table |= {
                "eth_getBlockReceipts": self._block_receipts,
                **self._filters.table(),
                **txpool.table(chain),
                **trace.table(chain, self._question, self._number),
                "evm_mine": self._evm_mine,
                "evm_increaseTime": self._evm_increase_time,
                "evm_setNextBlockTimestamp": self._evm_set_next_timestamp,
                "evm_snapshot": self._evm_snapshot,
                "evm_revert": self._evm_revert,
            }

    def __call__(self, method: str, params: Params) -> Any:
        """Raises RpcError."""
        handler = self._table.get(method)
        if handler is None:
            raise RpcError(codec.METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")
        return handler(params)

    # -- blocks by tag

    def _tagged(self, params: Params, position: int) -> int:
        """The block that a parameter names; the head where it is left out, which the node does not allow."""
        if len(params) > position:
            return self._number(params[position], position, of_state=True)
        if self._chain.config.strict:
            raise RpcError(codec.INVALID_PARAMS, f"missing value for required argument {position}")
        return self._chain.head.number

    def _number(self, tag: Any, position: int, *, of_state: bool = False) -> int:
        """The block that a tag means. Raises RpcError for one that is not there; the newest node words that by what is asked."""
        number = self._parse_tag(tag, position)
        head = self._chain.head.number
        if number > head and self._chain.config.node is NodeKind.ROLLKIT:
            future = "cannot query with height in the future; please provide a valid height: invalid height"
            missing = f"failed to load block hash for height {number}: datastore: key not found"
            raise RpcError(codec.SERVER_ERROR, future if of_state else missing)
        if number > head:
            raise RpcError(
                codec.SERVER_ERROR,
                f"query block failed, block number {number}, height {number} must be less than or equal to the current "
                f"blockchain height {head}",
            )
        return number

    def _parse_tag(self, tag: Any, position: int) -> int:
        head = self._chain.head.number
        if tag is None or tag in codec.NEWEST:
            return head
        if tag == "earliest":
            return 0
        if isinstance(tag, dict):
            if "blockHash" in tag:
                if "blockNumber" in tag:
                    text = "cannot specify both BlockHash and BlockNumber, choose one or the other"
                    raise codec.invalid(position, text)
                header = self._chain.store.header_by_hash(codec.parse_hash(tag["blockHash"], position))
                if header is None:
                    raise RpcError(codec.SERVER_ERROR, "block not found")
                return header.number
            return self._parse_tag(tag.get("blockNumber"), position)
        if isinstance(tag, str) and len(tag) == 66:
            return self._parse_tag({"blockHash": tag}, position)
        return codec.parse_block_number(tag, position)

    def _header(self, tag: Any, position: int) -> Header:
        header = self._chain.store.header(self._number(tag, position))
        if header is None:
            raise RpcError(codec.SERVER_ERROR, "block not found")
        return header

    # -- state

    def _get_balance(self, params: Params) -> str:
        address = codec.parse_address(codec.argument(params, 0), 0)
        return quantity(self._chain.world_at(self._tagged(params, 1)).get_balance(address))

    def _get_transaction_count(self, params: Params) -> str:
        address = codec.parse_address(codec.argument(params, 0), 0)
        if _optional(params, 1) == "pending":
            return quantity(self._chain.pending_nonce(address))
        return quantity(self._chain.world_at(self._tagged(params, 1)).get_nonce(address))

    def _get_code(self, params: Params) -> str:
        address = codec.parse_address(codec.argument(params, 0), 0)
        return data(self._chain.world_at(self._tagged(params, 1)).get_code(address))

    def _get_storage_at(self, params: Params) -> str:
        address = codec.parse_address(codec.argument(params, 0), 0)
        slot = codec.parse_slot(codec.argument(params, 1), 1)
        world = self._chain.world_at(self._tagged(params, 2))
        return data(world.get_storage(address, slot).to_bytes(32, "big"))

    # -- questions

    def _question(self, params: Params) -> CallRequest:
        asked = codec.argument(params, 0)
        if not isinstance(asked, dict):
            raise codec.invalid(0, "json: cannot unmarshal into Go value of type types.TransactionArgs")
        payload = asked.get("data") if asked.get("input") is None else asked["input"]
        if not self._chain.config.strict:  # a strict chain answers for the `input` alone, as the node does
            _refuse_two_payloads(asked, codec.INVALID_PARAMS)
        return CallRequest(
            sender=bytes(20) if asked.get("from") is None else codec.parse_address(asked["from"], 0),
            to=None if asked.get("to") is None else codec.parse_address(asked["to"], 0),
            value=_number_of(asked, "value") or 0,
            data=b"" if payload is None else codec.parse_data(payload, 0),
            gas=_number_of(asked, "gas", 64),
            gas_price=_number_of(asked, "gasPrice"),
            fee_cap=_number_of(asked, "maxFeePerGas"),
            tip_cap=_number_of(asked, "maxPriorityFeePerGas"),
            nonce=_number_of(asked, "nonce", 64),
            chain_id=_number_of(asked, "chainId"),
            access_list=None if asked.get("accessList") is None else _access_list(asked["accessList"]),
        )

    def _refuse_overrides(self, params: Params) -> None:
        # the node takes and ignores them; whoever sends them wants something else
        if not self._chain.config.strict and any(params[2:]):
            raise codec.invalid(2, "state and block overrides are not supported (an Artela node ignores them)")

    def _call(self, params: Params) -> str:
        question = self._question(params)
        number = self._tagged(params, 1)
        self._refuse_overrides(params)
        if _two_prices(question):
            raise RpcError(codec.SERVER_ERROR, f"rpc error: code = InvalidArgument desc = {_TWO_PRICES}")
        try:
            return data(self._chain.call(question, number))
        except CallFailed as failure:
            if failure.reverted:
                raise RpcError(codec.REVERTED, _revert_message(failure), data(failure.output)) from None
            raise RpcError(codec.SERVER_ERROR, f"rpc error: code = Internal desc = {failure}") from None

    def _estimate_gas(self, params: Params) -> str:
        question = self._question(params)
        number = self._number(_optional(params, 1), 1)
        self._refuse_overrides(params)
        if _two_prices(question):
            raise RpcError(codec.SERVER_ERROR, f"rpc error: code = Internal desc = {_TWO_PRICES}")
        return quantity(self._estimate(question, number))

    def _estimate(self, question: CallRequest, number: int) -> int:
        try:
            return self._chain.estimate(question, number)
        except CallFailed as failure:
            text = _revert_message(failure) if failure.reverted else str(failure)
            if failure.reverted and not self._chain.config.strict:
                # wallets decode custom errors from here; the node gives no data
                raise RpcError(codec.REVERTED, text, data(failure.output)) from None
            raise RpcError(codec.SERVER_ERROR, f"rpc error: code = Unknown desc = {text}") from None

    # -- transactions

    def _send_raw_transaction(self, params: Params) -> str:
        return self._submit(codec.parse_data(codec.argument(params, 0), 0))

    def _send_transaction(self, params: Params) -> str:
        """Signs with a development account. What is left out is filled in as the node does."""
        question = self._question(params)
        _refuse_two_payloads(params[0], codec.SERVER_ERROR)
        key = self._keys.get(question.sender)
        if key is None:
            raise RpcError(
                codec.SERVER_ERROR, "unknown account: only development accounts (eth_accounts) are signed for"
            )
        if _two_prices(question):
            raise RpcError(codec.SERVER_ERROR, _TWO_PRICES)
        if question.to is None and not question.data:
            raise RpcError(codec.SERVER_ERROR, "contract creation without any data provided")
        own = self._chain.config.chain_id
        if question.chain_id not in (None, own):
            text = f"chainId does not match node's (have={question.chain_id}, want={own})"
            raise RpcError(codec.SERVER_ERROR, text)
        nonce = self._chain.pending_nonce(question.sender) if question.nonce is None else question.nonce
        gas = self._estimate(question, self._chain.head.number) if question.gas is None else question.gas
        return self._submit(sign(question, key, nonce=nonce, gas=gas, base_fee=self._chain.head.base_fee, chain_id=own))

    def _submit(self, raw: bytes) -> str:
        try:
            transaction = self._chain.submit(raw)
        except TransactionRefused as refused:
            raise RpcError(codec.SERVER_ERROR, str(refused)) from None
        if self._instant:
            self._chain.mine_waiting()
        return data(transaction.hash)

    def _get_transaction(self, params: Params) -> dict[str, Any] | None:
        transaction_hash = codec.parse_hash(codec.argument(params, 0), 0)
        found = self._chain.store.receipt(transaction_hash)
        if found is not None:
            header = self._chain.store.header(found[0])
            return transaction_json(found[1].transaction, header, found[1])
        waiting = self._chain.pool.get(transaction_hash)
        return None if waiting is None else transaction_json(waiting, None, None)

    def _transaction_in_block_number(self, params: Params) -> dict[str, Any] | None:
        return self._transaction_at(
            self._number(codec.argument(params, 0), 0), codec.parse_quantity(codec.argument(params, 1), 1, 64)
        )

    def _transaction_in_block_hash(self, params: Params) -> dict[str, Any] | None:
        header = self._chain.store.header_by_hash(codec.parse_hash(codec.argument(params, 0), 0))
        return (
            None
            if header is None
            else self._transaction_at(header.number, codec.parse_quantity(codec.argument(params, 1), 1, 64))
        )

    def _transaction_at(self, number: int, index: int) -> dict[str, Any] | None:
        receipts = self._chain.store.receipts(number)
        if index >= len(receipts):
            return None
        return transaction_json(receipts[index].transaction, self._chain.store.header(number), receipts[index])

    def _get_receipt(self, params: Params) -> dict[str, Any] | None:
        found = self._chain.store.receipt(codec.parse_hash(codec.argument(params, 0), 0))
        if found is None:
            return None
        header = self._chain.store.header(found[0])
        assert header is not None
        return self._receipt_json(found[1], header)

    def _block_receipts(self, params: Params) -> list[dict[str, Any]]:
        header = self._header(codec.argument(params, 0), 0)
        return [self._receipt_json(receipt, header) for receipt in self._chain.store.receipts(header.number)]

    def _receipt_json(self, receipt: StoredReceipt, header: Header) -> dict[str, Any]:
        return receipt_json(receipt, header, always_price=not self._chain.config.strict)

    def _gas_parts(self, params: Params) -> list[dict[str, Any]] | None:
        """Where a transaction's gas went; the parts sum to `gasUsed`. Not a node's method."""
        found = self._chain.store.receipt(codec.parse_hash(codec.argument(params, 0), 0))
        if found is None:
            return None
        answer = []
        for part in found[1].parts:
            row: dict[str, Any] = {"part": part.part, "gas": part.gas}
            if part.aspect is not None:
                row["aspect"] = data(part.aspect)
            if part.join_point is not None:
                row["joinPoint"] = part.join_point
            if part.index is not None:
                row["index"] = part.index
            answer.append(row)
        return answer

    # -- blocks

    def _get_block_by_number(self, params: Params) -> dict[str, Any] | None:
        number = self._number(codec.argument(params, 0), 0)
        full = self._full(params)
        header = self._chain.store.header(number)
        if header is None:
            return None
        answer = self._block_json(header, full=full)
        if params[0] == "pending":
            # the newest block, but posing as one that is not sealed yet
            answer |= {"hash": None, "nonce": None, "miner": None}
        return answer

    def _get_block_by_hash(self, params: Params) -> dict[str, Any] | None:
        header = self._chain.store.header_by_hash(codec.parse_hash(codec.argument(params, 0), 0))
        full = self._full(params)
        return None if header is None else self._block_json(header, full=full)

    def _full(self, params: Params) -> bool:
        if len(params) < 2 and not self._chain.config.strict:
            return False
        return codec.parse_bool(codec.argument(params, 1), 1)

    def _count_by_number(self, params: Params) -> str:
        return quantity(self._chain.store.transaction_count(self._number(codec.argument(params, 0), 0)))

    def _count_by_hash(self, params: Params) -> str | None:
        header = self._chain.store.header_by_hash(codec.parse_hash(codec.argument(params, 0), 0))
        return None if header is None else quantity(self._chain.store.transaction_count(header.number))

    def _block_json(self, header: Header, *, full: bool) -> dict[str, Any]:
        store = self._chain.store
        transactions: list[Any]
        if full:
            transactions = [transaction_json(r.transaction, header, r) for r in store.receipts(header.number)]
        else:
            transactions = [data(transaction_hash) for transaction_hash in store.transaction_hashes(header.number)]
        return header_json(header) | {"size": quantity(header.size), "transactions": transactions, "uncles": []}

    # -- logs and fees

    def _get_logs(self, params: Params) -> list[dict[str, Any]]:
        wanted = parse_log_filter(codec.argument(params, 0), strict=self._chain.config.strict)
        first, last = wanted.range(self._chain)
        found = self._chain.store.logs(first, last, wanted.addresses, wanted.topics)
        if not self._chain.config.strict:
            return logs_json(found)
        if max(last, 1) - max(first, 1) > LOG_RANGE_LIMIT:
            raise RpcError(codec.SERVER_ERROR, f"maximum [from, to] blocks distance: {LOG_RANGE_LIMIT}")
        if last > self._chain.head.number:
            return []  # the node stumbles over the first block that is not there and forgets what it found before
        entries = list(itertools.islice(found, LOG_LIMIT + 1))
        if len(entries) > LOG_LIMIT:
            raise RpcError(codec.SERVER_ERROR, f"query returned more than {LOG_LIMIT} results")
        return logs_json(entries)

    def _fee_history(self, params: Params) -> dict[str, Any]:
        count = codec.parse_number(codec.argument(params, 0), 0)
        last = self._number(codec.argument(params, 1), 1)
        percentiles = _optional(params, 2) or []
        if not isinstance(percentiles, list) or any(
            not isinstance(p, int | float) or isinstance(p, bool) or not 0 <= p <= 100 for p in percentiles
        ):
            raise codec.invalid(2, "percentiles are numbers from 0 to 100")
        if len(percentiles) > bounds.PERCENTILES:
            raise codec.invalid(2, f"at most {bounds.PERCENTILES} percentiles")
        if any(a > b for a, b in itertools.pairwise(percentiles)):
            raise codec.invalid(2, "percentiles must rise")
        count = max(1, min(count, 1024, last + 1))
        first = last - count + 1
        headers = [header for n in range(first, last + 1) if (header := self._chain.store.header(n)) is not None]
        following = self._chain.store.header(last + 1)
        answer: dict[str, Any] = {"oldestBlock": quantity(first)}
        if percentiles:
            answer["reward"] = [self._rewards(header, percentiles) for header in headers]
        next_fee = self._chain.next_base_fee() if following is None else following.base_fee
        answer["baseFeePerGas"] = [quantity(header.base_fee) for header in headers] + [quantity(next_fee)]
        answer["gasUsedRatio"] = [header.gas_used / header.gas_limit for header in headers]
        return answer

    def _rewards(self, header: Header, percentiles: list[float]) -> list[str]:
        tips = sorted((r.price - header.base_fee, r.gas_used) for r in self._chain.store.receipts(header.number))
        if not tips:
            return ["0x0" for _ in percentiles]
        answer, position, passed = [], 0, tips[0][1]
        for percentile in percentiles:
            threshold = int(header.gas_used * percentile / 100)
            while passed < threshold and position < len(tips) - 1:
                position += 1
                passed += tips[position][1]
            answer.append(quantity(tips[position][0]))
        return answer

    # -- tools for tests, not a node's

    def _evm_mine(self, params: Params) -> str:
        first = _optional(params, 0)
        count = 1
        if isinstance(first, dict):
            count = codec.parse_number(first.get("blocks", 1), 0)
            if count > _BLOCKS_AT_ONCE:
                raise codec.invalid(0, f"at most {_BLOCKS_AT_ONCE} blocks at once")
            first = first.get("timestamp")
        if first is not None:
            self._chain.set_next_timestamp(self._timestamp(first))
        for _ in range(count):
            self._chain.mine()
        return "0x0"

    def _evm_increase_time(self, params: Params) -> str:
        seconds = codec.parse_number(codec.argument(params, 0), 0)
        if self._chain.head.timestamp + seconds >= _END_OF_TIME:
            raise codec.invalid(0, f"timestamps end at {_END_OF_TIME}")
        return quantity(self._chain.increase_time(seconds))

    def _evm_set_next_timestamp(self, params: Params) -> None:
        self._chain.set_next_timestamp(self._timestamp(codec.argument(params, 0)))

    def _timestamp(self, value: Any) -> int:
        timestamp = codec.parse_number(value, 0)
        head = self._chain.head.timestamp
        if not head <= timestamp < _END_OF_TIME:
            raise codec.invalid(0, f"timestamp {timestamp} is not between the head's, {head}, and {_END_OF_TIME}")
        return timestamp

    def _evm_snapshot(self, params: Params) -> str:
        snapshot = self._chain.snapshot()
        kept = snapshot.bytes + sum(older.bytes for older in self._snapshots.values())
        if len(self._snapshots) >= bounds.SNAPSHOTS or kept > bounds.SNAPSHOT_BYTES:
            text = f"too many snapshots: at most {bounds.SNAPSHOTS}, with {bounds.SNAPSHOT_BYTES} bytes of waiting transactions"
            raise RpcError(codec.SERVER_ERROR, text)
        self._snapshots_made += 1
        self._snapshots[self._snapshots_made] = snapshot
        return quantity(self._snapshots_made)

    def _evm_revert(self, params: Params) -> bool:
        """Back to a snapshot, which is used up by that, as are all that were made after it."""
        which = codec.parse_number(codec.argument(params, 0), 0)
        if which not in self._snapshots:
            return False
        self._chain.revert(self._snapshots[which])
        self._filters.rewound()
        self._snapshots = {number: kept for number, kept in self._snapshots.items() if number < which}
        return True


def _optional(params: Params, position: int) -> Any:
    return params[position] if len(params) > position else None


_TWO_PAYLOADS: Final = 'both "data" and "input" are set and not equal. Please use "input" to pass transaction call data'
_TWO_PRICES: Final = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"


def _refuse_two_payloads(asked: dict[str, Any], code: int) -> None:
    given = [codec.parse_data(asked[name], 0) for name in ("data", "input") if asked.get(name) is not None]
    if len(given) == 2 and given[0] != given[1]:
        raise RpcError(code, _TWO_PAYLOADS)


def _two_prices(question: CallRequest) -> bool:
    return question.gas_price is not None and not (question.fee_cap is None and question.tip_cap is None)


def _number_of(asked: dict[str, Any], key: str, bits: int = 256) -> int | None:
    return None if asked.get(key) is None else codec.parse_quantity(asked[key], 0, bits)


def _access_list(given: Any) -> AccessList:
    if not isinstance(given, list):
        raise codec.invalid(0, "json: cannot unmarshal into Go value of type types.AccessList")
    entries = []
    for entry in given:
        keys = entry.get("storageKeys") or [] if isinstance(entry, dict) else None
        if not isinstance(keys, list) or "address" not in entry:
            raise codec.invalid(0, "missing required field 'address' for AccessTuple")
        entries.append((codec.parse_address(entry["address"], 0), tuple(codec.parse_hash(key, 0) for key in keys)))
    return tuple(entries)


def _revert_message(failure: CallFailed) -> str:
    reason = revert_reason(failure.output)
    return "execution reverted" if reason is None else f"execution reverted: {reason}"
