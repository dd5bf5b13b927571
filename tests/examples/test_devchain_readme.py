"""The devchain's README says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from devchain import Devchain
from devchain.__main__ import arguments
from devchain.config import DEVELOPMENT_CHAIN_ID, ChainConfig

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "devchain" / "README.md").read_text()
METHOD = re.compile(r"\b(?:eth|net|web3|evm|txpool|debug|linklearner)_[a-zA-Z0-9]+\b")
TABLE = README[README.index("| methods | notes |") : README.index("A revert is error code 3")]
ON_WEBSOCKETS = {"eth_subscribe", "eth_unsubscribe"}


def test_its_method_table_names_every_method() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "devchain" / "rpc").glob("*.py") if path.name != "access.py")
    implemented = set(re.findall(rf'"({METHOD.pattern})"', sources)) - {"eth_subscription"}
    assert set(METHOD.findall(TABLE)) == implemented


def test_strict_has_all_methods_but_those_that_it_says_are_missing() -> None:
    missing = {
        method for row in TABLE.splitlines() if "not with `--strict-rpc`" in row for method in METHOD.findall(row)
    }
    for strict in (False, True):
        with Devchain.running(config=ChainConfig(strict=strict)) as devchain:
            unknown = set()
            for method in sorted(set(METHOD.findall(TABLE)) - ON_WEBSOCKETS):
                request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": []}
                error = httpx.post(devchain.url, json=request).json().get("error", {})
                if error.get("code") == -32601:
                    unknown.add(method)
        assert unknown == (missing if strict else set())


def test_its_flag_table_names_every_flag_with_its_default() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `--")]
    named = {flag for row in rows for flag in re.findall(r"`(--[a-z-]+)", row.split("|")[1])}
    defaults = vars(arguments([]))
    assert named == {"--" + name.replace("_", "-") for name in defaults}
    said = defaults | {"chain_id": DEVELOPMENT_CHAIN_ID}  # None on the command line: a state file has its own
    for flag in ("mining", "chain_id", "min_gas_multiplier", "port", "host"):
        row = next(row for row in rows if "--" + flag.replace("_", "-") in row)
        assert str(said[flag]) in row.split("|")[3]


def test_its_script_is_the_one_that_the_tests_run() -> None:
    script = (ROOT / "examples" / "aspect" / "run.py").read_text()
    shown = README[README.index("```python\nimport json") + len("```python\n") :]
    assert shown[: shown.index("```")] == script[script.index("import json") :]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / "devchain" / target).exists(), target
