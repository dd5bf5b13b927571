"""Wrong input to the command line: one sentence that says what to do, the right exit status, nothing changed."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from linklearner.domain.errors import InvalidConfig
from linklearner.suite import FILE, Suite
from tests.command_line import NOBODY, home, said

__all__ = ["home"]

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
