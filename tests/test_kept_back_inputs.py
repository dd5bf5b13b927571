"""Inputs of the kinds that broke us, of which the ones that were shown first are elsewhere."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from devchain import strictjson as devchain_json
from linklearner import arrays, suite
from linklearner.chain.history import History
from linklearner.cli import app
from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.output import Format, reporting, write_json
from linklearner.rpc import convert
from services.trainer import data


@pytest.mark.parametrize("reader", [strictjson, devchain_json])
@pytest.mark.parametrize("end", ["", "\\", "x", '\\"'])
def test_a_text_that_never_ends_is_measured_in_one_pass(reader: object, end: str) -> None:
    """Each escaped quote was tried as the beginning of a text: a megabyte took hours. The test is that it comes to an end."""
    hostile = "[" * 65 + '"' + '\\"' * 500_000 + end
    with pytest.raises((strictjson.NotJson, devchain_json.NotJson)):
        reader.loads(hostile, max_bytes=5 << 20, max_values=200_000)  # type: ignore[attr-defined]


@pytest.mark.parametrize("reader", [strictjson, devchain_json])
def test_brackets_in_texts_are_not_counted(reader: object) -> None:
    text = '{"a": "' + '[\\"{\\\\' * 100 + '", "b": "' + "[," * 100 + '"}'
    found = reader.loads(text, max_bytes=5 << 20, max_values=9, max_depth=2)  # type: ignore[attr-defined]
    assert found == {"a": '["{\\' * 100, "b": "[," * 100}


def test_no_row_of_a_table_is_left_out(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    for text in ("#N/A,2\n3,4\n", "1,2\n#3,4\n5,6\n", "1,2#c\n3,4\n", "#a\n1\n", "# only a header\n", "#\n"):
        table.write_text(text)
        with pytest.raises(InvalidInput, match=r"rows\.csv"):
            arrays.inputs(table)
    np.savetxt(table, [[1, 2], [3, 4]], delimiter=",", header="left,right\nof two")
    assert arrays.inputs(table).tolist() == [[1, 2], [3, 4]]
    table.write_text("\n# a\n\n# b\n1,2\n\n3,4\n")
    assert arrays.inputs(table).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("names", [("x.npy", "x.npy"), ("x", "x.npy")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_arrays_of_one_name_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "twice.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            file = io.BytesIO()
            np.save(file, np.full((2, 2), number))
            archive.writestr(name, file.getvalue())
    with pytest.raises(InvalidInput, match="one name"):
        arrays.npz(path, ("x",))


@pytest.mark.parametrize("kind", ["mnist", "emnist", "npz"])
def test_a_folder_name_that_the_system_refuses_is_a_wrong_setting(kind: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot read"):
        data.load(f"{kind}:{'x' * 5000}", data.Shard())


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`LINKLEARNER_HOME= linklearner up` strewed keys over the present folder."""
    monkeypatch.setenv("LINKLEARNER_HOME", "")
    assert suite.home() == Path(".linklearner")


@pytest.mark.parametrize("name", ["\udcff", "a\nb", "\x00"])
def test_a_model_name_that_cannot_be_sent_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n")
    done = CliRunner().invoke(app, ["infer", str(tmp_path / "rows.csv"), "--model", name])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit)
    assert "--model" in done.stderr


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://[::1", "ftp://x", "http://h:port"])
@pytest.mark.parametrize("name", ["all_proxy", "ALL_PROXY"])
async def test_a_proxy_that_cannot_be_used_is_a_wrong_setting_and_never_in_the_way_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, proxy: str, name: str
) -> None:
    monkeypatch.setenv(name, proxy)
    async with History("http://127.0.0.1:1,http://localhost:2", bytes(20), 0):
        pass
    with pytest.raises(LinkLearnerError, match="proxy") as refused:
        async with History("http://192.0.2.1:8545", bytes(20), 0):
            pass
    assert isinstance(refused.value, InvalidConfig)


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_an_error_that_standard_output_does_not_take_is_said_on_the_other_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", _Full())
    with pytest.raises(typer.Exit) as ended, reporting(Format.JSON):
        write_json({"a": 1})
    assert ended.value.exit_code == 1
    assert "No space left" in capsys.readouterr().err


def test_an_amount_of_thousands_of_digits_is_no_traceback() -> None:
    with pytest.raises(InvalidInput):
        convert.wei_of(b"\xff" * 3000)
