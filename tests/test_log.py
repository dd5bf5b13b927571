"""What reaches a log: events, bounded whoever chose their words, and JSON that every reader reads."""

import io
import json
import math
from typing import Any

import pytest
import structlog

from linklearner import log


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _restored() -> Any:
    yield
    structlog.reset_defaults()


def lines(write: Any, stream: Any = None) -> list[dict[str, Any]]:
    out = stream or io.StringIO()
    log.configure(service="test", stream=out)
    write(structlog.get_logger())
    return [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]


def test_a_text_is_abridged_wherever_it_stands() -> None:
    long = "x" * 4_000_000
    (line,) = lines(
        lambda logger: logger.info(
            "rpc",
            detail=long,
            facts={"a": long, long: 1},
            parts=[long] * 1000,
            raw=long.encode(),
            deep=[[[[[[long]]]]]],
        )
    )
    assert len(json.dumps(line)) < 32 * 1024
    assert line["detail"].endswith("… (4000000 characters)") and len(line["detail"]) == log.MAX_CHARACTERS
    assert line["raw"] == "4000000 bytes"


def test_a_tracebacks_end_is_kept_and_its_length_bounded() -> None:
    def fail(logger: Any) -> None:
        try:
            raise ValueError("y" * 100_000 + "\n" + "the end")
        except ValueError:
            logger.exception("failed")

    (line,) = lines(fail)
    assert "Traceback" in line["exception"] and line["exception"].endswith("the end")
    assert len(line["exception"]) <= log.MAX_TRACEBACK_CHARACTERS


def test_numbers_that_json_lacks_are_written_as_text() -> None:
    (line,) = lines(lambda logger: logger.info("loss", loss=math.nan, all=[math.inf, 1.5], huge=10**5000))
    assert (line["loss"], line["all"]) == ("nan", ["inf", 1.5])
    assert "bits" in line["huge"]


def test_control_characters_do_not_reach_a_terminal() -> None:
    (line,) = lines(lambda logger: logger.info("rpc", detail="\x1b[2Jgone\nrpc code=OK"))
    assert line["detail"] == "\\x1b[2Jgone\\nrpc code=OK"


def test_a_full_disk_loses_lines_and_stops_nothing() -> None:
    assert lines(lambda logger: logger.info("rpc"), Full()) == []


def test_short_values_stay_as_they_are() -> None:
    (line,) = lines(lambda logger: logger.info("x", a=1, b=True, c=None, d="text", e={"f": [1, 2.5]}))
    assert {key: line[key] for key in "abcde"} == {"a": 1, "b": True, "c": None, "d": "text", "e": {"f": [1, 2.5]}}
