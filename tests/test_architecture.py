"""The arrows of the house, held by reading every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("chain_gateway", "model_server", "page", "trainer")
HEAVY = {
    "torch": "services/trainer",
    "opacus": "services/trainer",
    "pyarrow": "services/trainer/data/parquet.py",
    "PIL": "services/trainer/data/images.py",
    "web3": "services/chain_gateway",
    # what opens keys is one file that every holder of a key shares: what it checks, each of them has checked
    "eth_keyfile": "src/linklearner/keyfile.py",
    "onnxruntime": "services/model_server",
    "eth": "devchain",
    "wasmtime": "devchain",
}
IO = {"asyncio", "grpc", "httpx", "os", "pathlib", "socket", "sqlite3", "subprocess", "google", "structlog", "time"}


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at whatever depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    for path in sources(f"services/{service}"):
        for name in imports(path):
            assert not name.startswith("services.") or name.startswith(f"services.{service}"), f"{path} imports {name}"


@pytest.mark.parametrize(("library", "owner"), HEAVY.items())
def test_a_heavy_library_has_one_home(library: str, owner: str) -> None:
    for path in (*sources("src"), *sources("services"), *sources("devchain")):
        if (ROOT / owner) not in (path, *path.parents):
            assert library not in {name.partition(".")[0] for name in imports(path)}, f"{path} imports {library}"


@pytest.mark.parametrize("service", ["model_server", "page", "trainer"])
def test_a_service_without_keys_cannot_open_any(service: str) -> None:
    for path in sources(f"services/{service}"):
        assert "linklearner.keyfile" not in imports(path), path


def test_the_embedded_chain_knows_nothing_of_linklearner() -> None:
    for path in sources("devchain"):
        assert not {"linklearner", "services"} & {name.partition(".")[0] for name in imports(path)}, path


def test_py_evm_is_known_in_one_package_and_the_loop_beside_it() -> None:
    """Its repository is archived. devchain/libraries.py loads it once, early and without its warnings."""
    for path in sources("devchain"):
        if "eth" in {name.partition(".")[0] for name in imports(path)}:
            assert path.parent == ROOT / "devchain/chain/evm" or path.name in ("interpreter.py", "libraries.py"), path


def test_the_vocabulary_knows_no_service() -> None:
    for path in sources("src"):
        assert not {"services", "devchain"} & {name.partition(".")[0] for name in imports(path)}, path


def test_the_domain_does_no_input_or_output() -> None:
    for path in sources("src/linklearner/domain"):
        assert not IO & {name.partition(".")[0] for name in imports(path)}, path
        assert not {
            name
            for name in imports(path)
            if name.startswith(("linklearner.v1", "linklearner.oip", "linklearner.rpc", "linklearner.chain"))
        }, path


def test_the_chain_from_outside_knows_the_domain_and_nobody_who_uses_it() -> None:
    allowed = ("linklearner.chain", "linklearner.domain", "linklearner.artifacts")
    for path in sources("src/linklearner/chain"):
        for name in imports(path):
            assert not name.startswith("linklearner.") or name.startswith(allowed), f"{path} imports {name}"


def test_a_chain_s_logs_and_calls_are_decoded_in_one_place() -> None:
    """Whoever else wants to know what the pool says gets dataclasses."""
    for path in (*sources("src"), *sources("services")):
        if (ROOT / "src/linklearner/chain") not in path.parents:
            source = path.read_text()
            assert "decode_log(" not in source and "POOL.decode_call(" not in source, path


@pytest.mark.parametrize("folder", ["src", "services", "devchain", "bench", "deploy", "tools"])
def test_nothing_outside_of_tests_imports_tests(folder: str) -> None:
    """The demo starts `services` and `bench.gas`: it runs in an installation without tests/."""
    for path in sources(folder):
        if "node_modules" not in path.parts:
            assert "tests" not in {name.partition(".")[0] for name in imports(path)}, path


def test_the_services_and_the_product_know_no_bench() -> None:
    """bench/ measures the product from outside. The demo starts one of its programs, and imports none."""
    for path in (*sources("src"), *sources("services"), *sources("devchain")):
        assert "bench" not in {name.partition(".")[0] for name in imports(path)}, path


def test_a_gateway_is_spoken_to_in_one_place() -> None:
    """Its messages end at the rim: the client, the servicer, its double, and the module that converts."""
    rim = {
        "src/linklearner/client/gateway.py",
        "src/linklearner/rpc/convert.py",
        "src/linklearner/testing/gateway.py",
        "services/chain_gateway/servicer.py",
        "services/chain_gateway/gateway.py",
        "services/page/bridge.py",  # hands messages on, by their descriptors
    }
    found = {
        str(path.relative_to(ROOT))
        for path in (*sources("src/linklearner"), *sources("services"))
        if path.parent.name != "v1" and any("chain_gateway_pb2" in name for name in names_imported(path))
    }
    assert found == rim


@pytest.mark.parametrize(
    ("messages", "rim"),
    [
        (
            ("trainer_pb2",),
            {"src/linklearner/client/trainer.py", "src/linklearner/rpc/convert.py"}
            | {f"services/trainer/{name}.py" for name in ("servicer", "trainer")},
        ),
        (("open_inference_grpc_pb2", "session_pb2"), {"src/linklearner/client/inference.py"}),
    ],
)
def test_trainer_and_model_server_are_spoken_to_in_one_place(messages: tuple[str, ...], rim: set[str]) -> None:
    """Command line, demo and stack use the clients. What a model server itself does with its messages is its own affair."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("src/linklearner", "services/trainer", "services/chain_gateway", "tools/stack")
        for path in sources(folder)
        if path.parent.name not in ("v1", "oip")
        and any(message in name for name in names_imported(path) for message in messages)
    }
    assert found == rim


def test_no_message_lives_inside_the_trainer() -> None:
    for path in sources("services/trainer"):
        if path.name not in ("servicer.py", "trainer.py"):
            assert not any(name.startswith(("linklearner.v1", "google.protobuf")) for name in imports(path)), path


def test_doubles_are_for_tests() -> None:
    for path in (*sources("src/linklearner"), *sources("services")):
        if "testing" not in path.parts:
            assert not any(name.startswith("linklearner.testing") for name in imports(path)), path


def names_imported(path: Path) -> set[str]:
    """Absolute names of modules and of what is taken from them."""
    names = imports(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names
