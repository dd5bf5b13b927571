"""`linklearner update inspect`: what left, from a file, a transaction or the trainer itself; each wrong argument in one sentence."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linklearner.chain import contracts
from linklearner.chain.contracts import Submit
from linklearner.cli import app
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import INT8
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.training import PrivacySpent, TrainerStatus
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1.trainer_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server

UPDATE = quantise_delta(np.random.default_rng(1).normal(0, 0.02, DIGITS.weight_count), SHAPE, 1, 1).update
ENCODED = UPDATE.encode(SHAPE)
TRANSACTION = "0x" + "ab" * 32

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    async with FakeGateway(seed=1).served() as address:
        yield address


@pytest.fixture
def node() -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSON-RPC node that knows transactions, `input` by hash."""
    known: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            calls = asked if isinstance(asked, list) else [asked]
            answers = [
                {"jsonrpc": "2.0", "id": call["id"], "result": self.answer(call["method"], call["params"])}
                for call in calls
            ]
            body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def answer(self, method: str, params: list[Any]) -> Any:
            if method == "eth_getTransactionByHash":
                return {"hash": params[0], "input": known[params[0]]} if params[0] in known else None
            return "0x2e2c" if method == "eth_chainId" else {"hash": "0x" + "00" * 32}

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", known
    server.shutdown()
    thread.join()
    server.server_close()


async def said(*arguments: str) -> tuple[int, str]:
    """Exit status and everything printed."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["update", "inspect", *arguments])
    return done.exit_code, done.output


def document(output: str) -> Any:
    """What is printed for programs, behind what the gateway of this very process logs."""
    return json.loads(output[output.index("{\n") :])


async def test_a_file_is_shown_byte_by_byte(gateway: str, tmp_path: Path) -> None:
    path = tmp_path / "update.bin"
    path.write_bytes(ENCODED)
    code, output = await said(str(path), "--gateway", gateway)
    assert code == 0, output
    for words in ("626 bytes", "0x" + UPDATE.digest(SHAPE).hex(), "bitmap", "page 1", "two-bits", "Not in these bytes"):
        assert words in output
    assert "2,410 of 2,410 travel, 2.00 bits each" in output
    code, output = await said(str(path), "--gateway", gateway, "--format", "json")
    found = document(output)
    assert code == 0
    assert bytes.fromhex("".join(part["hex"] for part in found["parts"])) == ENCODED
    assert [part["offset"] for part in found["parts"]][:4] == [0, 1, 2, 10]
    assert sum(found["values"].values()) == 2410 and set(found["values"]) == {"-3", "-1", "1", "3"}
    assert found["bytes"] == len(ENCODED) and found["privacy"] is None and found["pages"] == [0, 1]


async def test_many_values_are_shown_in_runs(gateway: str, tmp_path: Path) -> None:
    path = tmp_path / "update.bin"
    path.write_bytes(
        quantise_delta(np.random.default_rng(1).normal(0, 0.02, DIGITS.weight_count), SHAPE, 1, 1, INT8).update.encode(
            SHAPE
        )
    )
    code, output = await said(str(path), "--gateway", gateway)
    assert code == 0 and "0 to 15" in output and "-16 to -1" in output and "-128 to 127" in output


@pytest.mark.parametrize("spent", [None, PrivacySpent("sgd", 1.5, 1e-5, 8.0, 3.0, 1.0, rounds_left=7)])
async def test_a_trainer_is_asked_for_its_last_update_and_its_privacy(
    gateway: str, tmp_path: Path, spent: PrivacySpent | None
) -> None:
    class Trainer(TrainerServiceServicer):
        async def GetLastUpdate(self, request: object, context: object) -> pb.GetLastUpdateResponse:  # noqa: N802
            return pb.GetLastUpdateResponse(update=ENCODED)

        async def GetTrainer(self, request: object, context: object) -> pb.GetTrainerResponse:  # noqa: N802
            return convert.trainer_message(TrainerStatus(b"\x01" * 20, 1, 80, 20, (), False, privacy=spent))

    service = "linklearner.v1.TrainerService"
    async with RpcServer(
        "127.0.0.1:0", lambda server: add_TrainerServiceServicer_to_server(Trainer(), server), (service,)
    ) as server:
        saved = tmp_path / "kept.bin"
        where = ("--gateway", gateway, "--trainer", server.address)
        code, output = await said("last", *where, "--save", str(saved))
        assert code == 0, output
        assert saved.read_bytes() == ENCODED
        assert ("epsilon 1.50 of 8 at delta 1e-05" in output) == (spent is not None)
        _, printed = await said("last", *where, "--format", "json")
        assert (document(printed)["privacy"] or {}).get("rounds_left") == (7 if spent else None)


async def test_a_transaction_is_found_on_the_chain(gateway: str, node: tuple[str, dict[str, Any]]) -> None:
    url, known = node
    call = Submit(task=1, digest=UPDATE.digest(SHAPE), header=UPDATE.header(SHAPE), groups=UPDATE.groups(SHAPE))
    known[TRANSACTION] = "0x" + contracts.submit(call).hex()
    code, output = await said(TRANSACTION, "--gateway", gateway, "--rpc", url, "--format", "json")
    assert code == 0, output
    assert document(output)["digest"] == "0x" + UPDATE.digest(SHAPE).hex()
    code, output = await said("0x" + "cd" * 32, "--gateway", gateway, "--rpc", url)
    assert code == 1 and "knows no transaction" in output
    known[TRANSACTION] = "0x" + contracts.settle(1, 1, 0, []).hex()
    code, output = await said(TRANSACTION, "--gateway", gateway, "--rpc", url)
    assert code == 2 and "submits no update: it calls settle, not submit" in output


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "an update begins with 18 bytes"),
        (ENCODED[:-1], "has 626 bytes, not 625"),
        (b"\x02" + ENCODED[1:], "update format 2 is unknown"),
        (ENCODED[:1] + b"\x07" + ENCODED[2:], "encoding 7 is unknown"),
        (ENCODED[:9] + b"\x09" + ENCODED[10:], "task 9"),
    ],
)
async def test_bytes_that_are_no_update_of_a_task_are_refused(
    gateway: str, tmp_path: Path, data: bytes, why: str
) -> None:
    path = tmp_path / "update.bin"
    path.write_bytes(data)
    code, output = await said(str(path), "--gateway", gateway)
    assert code in (1, 2) and why in output and "Traceback" not in output


async def test_what_is_neither_file_nor_transaction_nor_last_is_told_so(gateway: str) -> None:
    code, output = await said("nothing.bin", "--gateway", gateway)
    assert code == 2 and "neither a file, nor a transaction" in output
