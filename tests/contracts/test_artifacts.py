"""The committed artifacts are those of the committed sources. (CI builds them anew and compares bytes.)"""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from linklearner import artifacts
from linklearner.domain.errors import NotFound

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "src/linklearner/artifacts"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("section", ["aspects", "contracts"])
def test_artifacts_were_built_from_the_sources_that_are_here(section: str) -> None:
    entry = artifacts.manifest()[section]
    stale = [name for name, digest in entry["sources"].items() if sha256(ROOT / name) != digest]
    assert not stale, f"changed since the artifacts were built; run `make artifacts`: {stale}"
    touched = [name for name, digest in entry["outputs"].items() if sha256(ARTIFACTS / name) != digest]
    assert not touched, f"not what the build wrote: {touched}"


def test_no_source_is_missing_from_the_manifest() -> None:
    listed = {name for entry in artifacts.manifest().values() for name in entry["sources"]}
    found = [*ROOT.glob("contracts/**/*.sol"), *ROOT.glob("aspects/**/*.ts")]
    assert {str(path.relative_to(ROOT)) for path in found} <= listed
    outputs = {name for entry in artifacts.manifest().values() for name in entry["outputs"]}
    on_disk = {path.name for path in ARTIFACTS.iterdir() if path.suffix in (".json", ".wasm")}
    assert on_disk - {"MANIFEST.json"} == outputs


def test_the_page_was_built_from_the_sources_that_are_here() -> None:
    listed = json.loads((ARTIFACTS / "page" / "MANIFEST.json").read_text())
    found = {str(path.relative_to(ROOT / "dapp")) for path in (ROOT / "dapp" / "src").rglob("*") if path.is_file()}
    assert found == {name for name in listed["sources"] if name.startswith("src/")}
    stale = [name for name, digest in listed["sources"].items() if sha256(ROOT / "dapp" / name) != digest]
    assert not stale, f"changed since the page was built; run `make page`: {stale}"
    files = artifacts.page()
    assert {name: hashlib.sha256(body).hexdigest() for name, body in files.items()} == listed["outputs"]


def test_the_page_is_small_and_holds_no_code_in_its_markup() -> None:
    files = artifacts.page()
    assert sum(len(gzip.compress(body, 9)) for body in files.values()) <= 60_000
    document = files["index.html"].decode()
    assert document.count("<script") == 1 and ">function" not in document and " style=" not in document
    assert not re.search(r"\son\w+\s*=", document)
    for name, body in files.items():
        if name.endswith((".js", ".css", ".html")):
            addresses = set(re.findall(r"https?://[^\s\"'`)]+", body.decode())) - {"http://www.w3.org/2000/svg"}
            assert not {one for one in addresses if not one.startswith(("http://www.w3.org/",))}, (
                f"{name} names {addresses}"
            )


@pytest.mark.parametrize("lock_file", ["tools/package-lock.json", "dapp/package-lock.json"])
def test_the_lock_files_name_no_registry(lock_file: str) -> None:
    lock = (ROOT / lock_file).read_text()
    assert '"resolved"' not in lock
    assert "http" not in lock.replace('"url": "https://', "")


@pytest.mark.parametrize("name", ["EvidenceRoom", "InferenceEscrow", "LinkLearnerToken", "TrainingPool"])
def test_contract_code_fits_a_node(name: str) -> None:
    assert 0 < len(artifacts.contract(name).deployed_bytecode) <= 24_576


def test_the_rooms_of_the_pool_lay_its_storage_out_as_it_does() -> None:
    pool, room = (artifacts.contract(name).storage_layout for name in ("TrainingPool", "EvidenceRoom"))
    assert [entry["label"] for entry in pool["storage"][:2]] == ["_owner", "_pendingOwner"]
    assert pool["storage"][2:] == room["storage"]
    assert pool["types"].items() >= room["types"].items()


def test_the_pools_interface_has_the_calls_of_its_rooms_and_no_two_of_one_name() -> None:
    pool, room = (artifacts.contract(name).abi for name in ("TrainingPool", "EvidenceRoom"))
    assert all(entry in pool for entry in room if entry["type"] != "constructor")
    names = [(entry["type"], entry.get("name")) for entry in pool]
    assert len(names) == len(set(names))


def test_an_unknown_artifact_is_named() -> None:
    with pytest.raises(NotFound, match=r"Nothing\.json"):
        artifacts.contract("Nothing")
    with pytest.raises(NotFound, match=r"nothing\.wasm"):
        artifacts.aspect("nothing")
