"""`python -m devchain.conformance [FILE…]`: replays recordings of a real Artela node and counts what is equal.

A recording (tests/data/conformance/README.md) holds raw transactions with the block that each landed in, and questions with the
block that they were asked at. The devchain gets the sender's balance and each block's number, time, producer, parent hash and
base fee, then everything in order. Compared is whatever the node answered: return data, error code and message (text after the
word "backtrace" aside: addresses in the node's binary), status, gas, logs, contract address, nonces.

Two things are not: in the steps named `rpc: …`, which show shapes, the three digests that a Cosmos node takes of its own
structures (`stateRoot`, `transactionsRoot` and the `size` of its protobuf block) are compared by their form only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from devchain.accounts import DevelopmentAccount
from devchain.chain import rlp
from devchain.chain.chain import BlockPreset, EmbeddedChain
from devchain.config import ChainConfig, NodeKind
from devchain.rpc.codec import RpcError
from devchain.rpc.methods import Methods
from devchain.server import ChainThread

ROOT: Final = Path(__file__).resolve().parents[1]
RECORDINGS: Final = ROOT / "tests" / "data" / "conformance"
KNOWN_FILE: Final = RECORDINGS / "known_differences.json"
"""Steps that differ for good: {step: reason}."""

_OPERATOR: Final = bytes.fromhex("f46ef9348f204979758df3dc742aaa810f7863fd")
"""What opcode COINBASE gave on the node of the committed recordings: its validator's account."""

_COSMOS_DIGESTS: Final = frozenset({"stateRoot", "transactionsRoot", "size"})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """One step: what the node answered and what the devchain did."""

    step: str
    node: Any
    devchain: Any

    @property
    def equal(self) -> bool:
        return bool(self.node == self.devchain)

    @property
    def section(self) -> str:
        """The group of steps that it belongs to: what stands before the first colon or digit of its name."""
        return re.split(r"[:\d(\[]", self.step, maxsplit=1)[0].strip() or "seeds"


def load(path: Path) -> Json:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        recording: Json = json.load(file)
    return recording


def replay(recording: Json) -> Iterator[Compared]:
    """Play a recording on a fresh devchain, step by step."""
    return _Replay(recording).run()


def gas_multiplier(steps: list[Json]) -> Fraction:
    """The fee parameter that a recording was taken with: 1/2, unless some transaction was charged less than half its limit."""
    for step in steps:
        receipt = step.get("receipt")
        if receipt is not None and 2 * int(receipt["gasUsed"], 16) < _gas_limit(step["tx"]) - 1:
            return Fraction(0)
    return Fraction(1, 2)


def _gas_limit(raw: str) -> int:
    body = bytes.fromhex(raw[2:])
    typed = body[0] if body[0] < 0x80 else 0
    fields = rlp.decode(body[1:] if typed else body)
    gas = fields[{0: 2, 1: 3, 2: 4}[typed]]
    assert isinstance(gas, bytes)
    return int.from_bytes(gas, "big")


def _node_accounts(steps: list[Json]) -> tuple[bytes, ...]:
    """The accounts in the recorded node's keyring, its operator among them, where the recording asks for them."""
    for step in steps:
        if step.get("method") == "eth_accounts" and "result" in step.get("answer", {}):
            return tuple(bytes.fromhex(address[2:]) for address in step["answer"]["result"])
    return ()


class _Replay:
    def __init__(self, recording: Json) -> None:
        self._steps: list[Json] = recording["steps"]
        start = recording["start"]
        first = next(step["block"] for step in self._steps if "block" in step)
        sender = bytes.fromhex(start["sender"][2:])
        accounts = _node_accounts(self._steps) or (sender, _OPERATOR)
        config = ChainConfig(
            chain_id=recording["chain_id"],
            strict=True,
            min_gas_multiplier=gas_multiplier(self._steps),
            miner=bytes.fromhex(first["miner"][2:]),
            operator=next((address for address in accounts if address != sender), _OPERATOR),
            alloc={sender: int(start["balance"])},
            nonces={sender: int(start["nonce"])},
            node=NodeKind(start.get("node", NodeKind.COMETBFT)),
        )
        self._chain = EmbeddedChain(config, None, lambda: int(first["timestamp"], 16) - 1)
        self._methods = Methods(
            self._chain,
            # nothing is signed here: a recording brings its transactions with it
            accounts=tuple(DevelopmentAccount(address, b"") for address in accounts),
            client=start["client"],
            instant=False,
        )

    def run(self) -> Iterator[Compared]:
        position = 0
        while position < len(self._steps):
            step = self._steps[position]
            if "refused" in step:
                yield Compared(step["step"], _answer(step["refused"]), self._refusal(step))
                position += 1
            elif "tx" in step and step["receipt"] is None:
                yield self._panic(step)
                position += 1
            elif "tx" in step:
                together = [step]
                while position + len(together) < len(self._steps):
                    following = self._steps[position + len(together)]
                    if following.get("receipt") is None or following["block"]["number"] != step["block"]["number"]:
                        break
                    together.append(following)
                yield from self._block(together)
                position += len(together)
            else:
                yield self._question(step)
                position += 1

    def _refusal(self, step: Json) -> Any:
        return self._ask("eth_sendRawTransaction", [step["tx"]])

    def _panic(self, step: Json) -> Compared:
        sent = self._ask("eth_sendRawTransaction", [step["tx"]])
        self._chain.mine()
        receipt = self._ask("eth_getTransactionReceipt", [sent.get("result")])
        nonce = self._ask("eth_getTransactionCount", [step["from"], "latest"])
        node = {"receipt": None, "nonce": hex(step["nonce_after"])}
        return Compared(step["step"], node, {"receipt": receipt.get("result"), "nonce": nonce.get("result")})

    def _block(self, steps: list[Json]) -> Iterator[Compared]:
        sent = [self._ask("eth_sendRawTransaction", [step["tx"]]) for step in steps]
        self._chain.mine(_preset(steps[0]["block"]))
        for step, answer in zip(steps, sent, strict=True):
            node = {"receipt": step["receipt"], "logs": step["logs"]}
            if "result" not in answer:
                yield Compared(step["step"], node, answer)
                continue
            receipt = self._ask("eth_getTransactionReceipt", [answer["result"]])["result"]
            if receipt is None:
                yield Compared(step["step"], node, "no receipt")
                continue
            logs = [{key: log[key] for key in ("address", "topics", "data", "logIndex")} for log in receipt["logs"]]
            mine = {"receipt": {key: receipt.get(key) for key in step["receipt"]}, "logs": logs}
            yield Compared(step["step"], node, mine)

    def _question(self, step: Json) -> Compared:
        self._catch_up(step)
        params = step["params"] if "params" in step else [step["call"], step["block"]["number"]]
        node, devchain = _answer(step["answer"]), self._ask(step["method"], params)
        if step["step"].startswith("rpc: "):
            node, devchain = _without_run(node), _without_run(devchain)
        return Compared(step["step"], node, devchain)

    def _catch_up(self, step: Json) -> None:
        """Empty blocks up to the one that the question was asked at."""
        block = step.get("block")
        if block is not None and int(block["number"], 16) > self._chain.head.number:
            self._chain.mine(_preset(block))

    def _ask(self, method: str, params: list[Any]) -> Json:
        try:
            return {"result": self._methods(method, params)}
        except RpcError as error:
            return _answer({"error": error.as_json()})


def _preset(block: Json) -> BlockPreset:
    return BlockPreset(
        number=int(block["number"], 16),
        timestamp=int(block["timestamp"], 16),
        parent_hash=bytes.fromhex(block["parentHash"][2:]),
        hash=bytes.fromhex(block["hash"][2:]),
        base_fee=int(block["baseFeePerGas"], 16),
        miner=bytes.fromhex(block["miner"][2:]),
    )


def _answer(answer: Json) -> Json:
    """An answer without what is not worth matching."""
    error = answer.get("error")
    if error is None:
        return answer
    return {"error": {**error, "message": error["message"].split("backtrace")[0]}}


def _without_run(answer: Json) -> Json:
    """An answer whose digests of Cosmos structures are reduced to what they look like."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    return {"result": {key: _form(value) if key in _COSMOS_DIGESTS else value for key, value in result.items()}}


def _form(value: Any) -> Any:
    """`0x` and hex digits: how many for a hash, whether canonical for a number."""
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]{64}", value):
        return "32 bytes"
    return "quantity" if isinstance(value, str) and re.fullmatch(r"0x(0|[1-9a-f][0-9a-f]*)", value) else value


def known_differences() -> dict[str, str]:
    """Step name → why it differs for good."""
    known: dict[str, str] = json.loads(KNOWN_FILE.read_text())
    return known


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="devchain.conformance", description=__doc__)
    parser.add_argument("recordings", nargs="*", type=Path, help="files; without any, those of the tests")
    parser.add_argument("--show", action="store_true", help="print both answers of every step that differs")
    options = parser.parse_args(argv)
    known = known_differences()
    thread = ChainThread()
    steps = equal = 0
    unexpected = 0
    try:
        for path in options.recordings or sorted(RECORDINGS.glob("*.json.gz")):
            results = thread.run_blocking(lambda recording: list(replay(recording)), load(path))
            print(f"\n{path.name}")
            print_table(results)
            for result in results:
                if not result.equal:
                    unexpected += result.step not in known
                    print(f"  differs: {result.step}: {known.get(result.step, 'NOT EXPECTED')}")
                    if options.show:
                        print(f"    node:     {json.dumps(result.node)}\n    devchain: {json.dumps(result.devchain)}")
            steps += len(results)
            equal += sum(result.equal for result in results)
    finally:
        thread.stop()
    print(f"\n{equal} of {steps} steps equal")
    return 1 if unexpected else 0


def print_table(results: list[Compared]) -> None:
    sections: dict[str, list[Compared]] = {}
    for result in results:
        sections.setdefault(result.section, []).append(result)
    width = max(len(name) for name in sections)
    print(f"  {'section':{width}}  steps  equal  different")
    for name, group in sections.items():
        good = sum(result.equal for result in group)
        print(f"  {name:{width}}  {len(group):5}  {good:5}  {len(group) - good:9}")


if __name__ == "__main__":
    sys.exit(main())
