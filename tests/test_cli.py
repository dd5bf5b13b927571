"""Wrong input to the command line: one sentence that says what to do, the right exit status, nothing changed."""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from linklearner.cli.calls import credential_for
from linklearner.domain.errors import InvalidConfig
from linklearner.rpc.access import OPERATOR, Credential, Role
from linklearner.rpc.server import RpcServer
from linklearner.suite import FILE, Suite
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import chain_gateway_pb2 as gateway_pb2
from linklearner.v1.trainer_pb2 import TrainRoundResponse
from linklearner.v1.trainer_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server
from tests.commands import said

pytestmark = pytest.mark.usefixtures("home")

NOBODY = "127.0.0.1:1"
ADDRESS = "0x" + "11" * 20


@pytest.mark.parametrize(
    "command", [("balance",), ("task", "show"), ("train",), ("verify",), ("stake", "show"), ("down",)]
)
def test_without_a_suite_a_command_says_how_to_start_one(command: tuple[str, ...]) -> None:
    code, output = said(*command)
    assert code == 2
    assert "run `linklearner up`" in output


def test_a_gateway_that_does_not_answer_is_told_so() -> None:
    code, output = said("balance", "--gateway", NOBODY, "--task", "1")
    assert code == 1
    assert "nobody answers" in output


def test_a_chain_that_cannot_be_reached_is_told_so() -> None:
    code, output = said("verify", "--rpc", f"http://{NOBODY}", "--pool", ADDRESS)
    assert code == 1
    assert "cannot be reached" in output
    assert "is the URL right?" in output


def test_what_is_no_node_is_told_so() -> None:
    code, output = said("verify", "--rpc", "ftp://example.invalid", "--pool", ADDRESS)
    assert code == 2
    assert "must be an http:// or https:// URL" in output


@pytest.mark.parametrize("text", ["0x12", "hello", ADDRESS + "00"])
def test_what_is_no_address_is_told_so(text: str) -> None:
    code, output = said("balance", "--gateway", NOBODY, "--task", "1", "--account", text)
    assert code == 2
    assert "40 hex digits" in output


def test_errors_are_json_for_programs() -> None:
    code, output = said("balance", "--format", "json")
    assert code == 2
    assert json.loads(output)["error"] == "InvalidConfig"


def test_a_wrong_password_opens_no_key_and_shows_none(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(Account.encrypt(Account.create().key, "right", kdf="pbkdf2", iterations=1)))
    (tmp_path / "password").write_text("opensesame\n")
    (tmp_path / "x.csv").write_text("1,2\n")
    code, output = said(
        "infer", str(tmp_path / "x.csv"), "--key-file", str(key), "--password-file", str(tmp_path / "password"),
        "--model-server", NOBODY,
    )  # fmt: skip
    assert code == 2
    assert "the password does not open" in output
    assert "opensesame" not in output


@pytest.mark.parametrize(("content", "complaint"), [("1,two\n", "not a table of numbers"), (None, "cannot read")])
def test_inputs_that_are_no_numbers_are_told_so(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_text(content)
    code, output = said("infer", str(path), "--model-server", NOBODY)
    assert code == 2
    assert complaint in output


@pytest.mark.parametrize("case", ["20-empty.npy", "20-npz-called-npy.npy", "20-encrypted.npz", "21-nan-row.csv"])
def test_inputs_that_cannot_be_read_are_one_sentence(case: str) -> None:
    code, output = said("infer", str(Path(__file__).parent / "data" / "cases" / case), "--model-server", NOBODY)
    assert code == 2
    assert "cannot read" in output and "Traceback" not in output
    code, output = said("infer", str(Path(__file__).parent / "data" / "cases" / case), "--format", "json")
    assert code == 2 and json.loads(output)["error"] in ("InvalidInput", "NotFinite")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e39"])
def test_a_row_without_a_number_is_named_before_anything_is_sent(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"1,2\n3,{text}\n")
    code, output = said("infer", str(path), "--model-server", NOBODY, "--format", "json")
    assert code == 2
    assert f"cannot read {path}: row 1, counted from 0" in json.loads(output)["message"]


def test_infer_tells_the_range_of_its_inputs() -> None:
    code, output = said("infer", "--help")
    assert code == 0
    assert "0 to 16" in output and "--allow-range" in output


def test_a_chain_of_ones_own_needs_a_funded_key() -> None:
    for command in ("demo", "up"):
        code, output = said(command, "--rpc", f"http://{NOBODY}")
        assert code == 2
        assert "--key-file" in output


def test_an_unknown_encoding_is_told_so() -> None:
    code, output = said("train", "--trainer", NOBODY, "--encoding", "float32")
    assert code == 2
    assert "two-bits or int8" in output


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', "not json"])
def test_a_broken_suite_file_is_told_so(home: Path, content: str) -> None:
    home.mkdir()
    (home / FILE).write_text(content)
    with pytest.raises(InvalidConfig, match=r"suite\.json"):
        Suite.read(home)


def suite_file(**changes: object) -> str:
    fields: dict[str, object] = {
        "rpc_url": "http://127.0.0.1:1", "chain_id": 1, "pool": ADDRESS,
        "vault": ADDRESS, "creator": ADDRESS, "sponsor": ADDRESS, "owner": ADDRESS, "token": ADDRESS,
        "aspect": ADDRESS, "deployed_block": 1,
        "task": 1, "gateway": NOBODY, "trainers": [NOBODY], "model_server": NOBODY, "metrics": NOBODY, "page": "", "keys": "keys",
        "password_file": "password", "credential": "", "accounts": [ADDRESS], "pid": 1,
    }  # fmt: skip
    return json.dumps(fields | changes)


def test_a_suite_without_trainers_serves_all_commands_but_train(home: Path) -> None:
    home.mkdir()
    (home / FILE).write_text(suite_file(trainers=[]))
    code, output = said("train")
    assert code == 2 and "has no trainers: name one with --trainer" in output
    code, output = said("balance")
    assert code == 1 and "nobody answers" in output


@pytest.mark.parametrize(
    "change",
    [{"trainers": "127.0.0.1:1"}, {"trainers": [1]}, {"trainers": None}, {"gateway": 7}, {"gateway": None}, {"task": "1"},
     {"task": True}, {"pid": 1.5}, {"chain_id": None}, {"accounts": {"a": 1}}],
    ids=str,
)  # fmt: skip
def test_a_suite_file_with_a_wrong_field_is_told_so(home: Path, change: dict[str, object]) -> None:
    home.mkdir()
    (home / FILE).write_text(suite_file(**change))
    for command in (("train",), ("balance",), ("down",), ("verify",)):
        code, output = said(*command)
        assert code == 2 and "suite.json" in output and "linklearner up" in output


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&-"])
def test_a_closed_standard_stream_is_a_sentence(format: str, closed: str) -> None:
    linklearner = Path(sys.executable).with_name("linklearner")
    line = f"{shlex.quote(str(linklearner))} infer - --format {format} {closed}"
    ended = subprocess.run(["sh", "-c", line], input=b"x", capture_output=True, check=False, timeout=120)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 2 and "cannot read -" in said and "Traceback" not in said
    if "0<&-" in closed:
        assert "standard input is closed; pipe a table into it" in said


@pytest.mark.parametrize("account", [b"", b"\1" * 19, b"\1" * 21, b"\1" * 100_000])
async def test_an_account_of_odd_length_is_not_shown(account: bytes) -> None:
    fake = FakeGateway()
    fake.lies["ListAccounts"] = lambda _: gateway_pb2.ListAccountsResponse(accounts=[account])
    async with fake.served() as address:
        code, output = await asyncio.to_thread(said, "balance", "--gateway", address, "--task", "1")
    assert code == 1 and "makes no sense" in output and len(output) < 1000


class LyingTrainer(TrainerServiceServicer):
    """Ends every training with an outcome of its own."""

    def __init__(self, outcome: gateway_pb2.SubmitUpdateResponse) -> None:
        self._outcome = outcome

    async def TrainRound(self, request: object, context: object) -> AsyncIterator[TrainRoundResponse]:  # noqa: N802
        yield TrainRoundResponse(submitted=self._outcome)


@pytest.mark.parametrize(
    "lie",
    [{"digest": bytes(33)}, {"digest": b""}, {"round": 0}, {"effective_units": 2**64 - 1}, {"receipt": {}}],
    ids=str,
)
async def test_an_outcome_of_a_trainer_that_makes_no_sense_is_not_shown(lie: dict[str, Any]) -> None:
    whole: dict[str, Any] = {
        "digest": bytes(32),
        "round": 1,
        "receipt": {"transaction_hash": bytes(32), "block_number": 1},
    }
    trainer = LyingTrainer(gateway_pb2.SubmitUpdateResponse(**(whole | lie)))
    service = "linklearner.v1.TrainerService"
    async with RpcServer(
        "127.0.0.1:0", lambda server: add_TrainerServiceServicer_to_server(trainer, server), (service,)
    ) as server:
        code, output = await asyncio.to_thread(said, "train", "--trainer", server.address)
    assert code == 1 and "makes no sense" in output


def test_the_operators_credential_is_that_of_the_suite_that_was_left_running(home: Path, tmp_path: Path) -> None:
    """`demo --keep` runs in a folder of its own below the home."""
    kept = Credential.kept(tmp_path / "demo" / "access" / OPERATOR, Role.SPEND)
    assert credential_for(NOBODY, None) is None
    suite: dict[str, Any] = {field.name: "" for field in fields(Suite)}
    suite |= {"trainers": (), "accounts": (), "pid": 1, "task": 1, "chain_id": 1, "deployed_block": 1}
    Suite(**{**suite, "credential": str(tmp_path / "demo" / "access" / OPERATOR)}).write(home)
    assert credential_for(NOBODY, None) == kept
    assert credential_for("gateway.example:50051", None) is None
