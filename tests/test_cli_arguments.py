"""Whatever is mistyped after a command gives one sentence and exit status 2; what is meant for this machine goes to it directly."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest

from devchain.server import Devchain
from linklearner.chain.history import History
from linklearner.domain.errors import InvalidConfig
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.rpc.server import RpcServer
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from services.__main__ import People, SuiteSettings, _shard_seed
from services.chain_gateway.chain import Chain
from services.chain_gateway.keystore import Keystore
from services.trainer import data
from services.trainer.config import TrainerConfig
from tests.commands import said

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("home")

NOBODY = "127.0.0.1:1"
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
DEAD_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")

NUMBERS = (
    "",
    " ",
    "1,5",
    "1.5",
    "²",
    "٣",
    "１",
    "1_0",
    "+1",
    "-1",
    "1e3",
    "0x1",
    "nan",
    "99999999999999999999",
    "9" * 5000,
)
AMOUNTS = (*NUMBERS[:3], *NUMBERS[4:13], "1,000.5", "0", "0.0001", "9" * 26, "9" * 5000, "1.")
POTS = tuple(text for text in AMOUNTS if text != "0.0001")  # pots count wei
ADDRESSES = (
    "",
    "0x12",
    "hello",
    ADDRESS[2:],
    ADDRESS + "0",
    ADDRESS.replace("a", "A", 1),
    ADDRESS[:-1] + "D",
    "0x" + "１" * 40,
)
ENDPOINTS = (
    "",
    "http://127.0.0.1:1",
    "https://x",
    "127.0.0.1",
    "127.0.0.1:",
    ":1",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "a b:1",
    "::1:1",
    "x:٣",
)
URLS = ("", "127.0.0.1:8545", "ftp://x", "http://", "http://[", "http://a:b", "http://a b", "file:///etc/passwd")

AT = ("--gateway", NOBODY)
TYPED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("task", "show", *AT, "--task"): NUMBERS,
    ("task", "show", "--task", "1", "--gateway"): ENDPOINTS,
    ("balance", *AT, "--task"): NUMBERS,
    ("balance", *AT, "--account"): ADDRESSES,
    ("balance", "--gateway"): ENDPOINTS,
    ("stake", "show", *AT, "--task"): NUMBERS,
    ("stake", "show", *AT, "--account"): ADDRESSES,
    ("stake", "show", "--gateway"): ENDPOINTS,
    **{("stake", verb, *AT, "--task", "1", "--"): AMOUNTS for verb in ("lock", "unlock")},
    **{("stake", verb, *AT, "1", "--task"): NUMBERS for verb in ("lock", "unlock")},
    **{("stake", verb, *AT, "1", "--account"): ADDRESSES for verb in ("lock", "unlock")},
    **{("stake", verb, "1", "--gateway"): ENDPOINTS for verb in ("lock", "unlock")},
    ("stake", "withdraw", *AT, "--task"): NUMBERS,
    ("stake", "withdraw", *AT, "--account"): ADDRESSES,
    ("stake", "withdraw", "--gateway"): ENDPOINTS,
    **{("task", verb, *AT, "--task", "1", "--"): POTS for verb in ("fund", "grant")},
    **{("task", verb, *AT, "1", "--task"): NUMBERS for verb in ("fund", "grant")},
    **{("task", verb, *AT, "1", "--account"): ADDRESSES for verb in ("fund", "grant")},
    ("task", "close", *AT, "--task"): NUMBERS,
    ("task", "close", *AT, "--account"): ADDRESSES,
    ("task", "list", *AT, "--creator"): ADDRESSES,
    ("task", "list", *AT, "--after"): NUMBERS,
    ("task", "open", *AT): ("/nowhere", "/dev/null", "/tmp", "\0", "/dev/zero"),
    ("task", "open", *AT, "/nowhere", "--fund"): ("", "0", "1,5", "-1", "9" * 26),
    ("earnings", *AT, "--task"): NUMBERS,
    ("earnings", *AT, "--account"): ADDRESSES,
    ("train", "--trainer", NOBODY, "--steps"): NUMBERS,
    ("train", "--trainer", NOBODY, "--encoding"): ("", "float32", "two_bits", "INT8"),
    ("train", "--trainer"): ENDPOINTS,
    ("infer", "-", "--model-server"): ENDPOINTS,
    ("infer", "-", "--model-server", NOBODY, "--key-file"): ("/nowhere", "/dev/null", "/dev/zero", "/tmp", "\0"),
    ("infer", "/nowhere.csv", "--model-server"): (NOBODY,),
    ("verify", "--pool", ADDRESS, "--rpc"): URLS,
    ("verify", "--rpc", f"http://{NOBODY}", "--pool"): ADDRESSES,
    ("verify", "--rpc", f"http://{NOBODY}", "--pool", ADDRESS, "--from-block"): NUMBERS,
    ("verify", "--rpc", f"http://{NOBODY}", "--pool", ADDRESS, "--task"): NUMBERS,
    ("up", "--contributors"): (*NUMBERS, "0", "65"),
    ("up", "--seed"): NUMBERS,
    ("up", "--rpc"): URLS,
    ("up", "--rpc", f"http://{NOBODY}", "--key-file"): ("/nowhere", "/dev/null", "/dev/zero", "/tmp", ""),
    ("up", "--key-file"): ("/nowhere",),
    ("up", "--password-file"): ("/nowhere",),
    ("demo", "--seed"): NUMBERS,
    ("demo", "--rounds"): (*NUMBERS, "0", "101"),
    ("demo", "--encoding"): ("", "float32"),
    ("demo", "--rpc"): URLS,
    ("demo", "--rpc", f"http://{NOBODY}", "--key-file"): ("/nowhere", "/dev/null", "/dev/zero", "/tmp", ""),
    ("health",): ENDPOINTS,
    ("health", NOBODY, "--timeout"): (*NUMBERS, "0"),
    ("--format",): ("xml",),
    ("balance", "--format"): ("xml",),
    ("nonsense",): ("1",),
}


@pytest.mark.parametrize("command", TYPED, ids=" ".join)
def test_what_is_mistyped_is_told_in_a_sentence(command: tuple[str, ...], home: Path) -> None:
    for text in TYPED[command]:
        code, output = said(*command, text)
        assert code == 2, (text[:60], output)
        assert "Traceback" not in output
        assert len(output.strip()) > 10
    assert not home.exists()


def test_errors_of_arguments_are_json_for_programs_too() -> None:
    code, output = said("balance", "--format", "json", "--task", "1,5")
    assert code == 2
    assert json.loads(output)["error"] == "InvalidInput"
    code, output = said("simulate", "--format=json", "--rounds", "none")
    assert code == 2 and json.loads(output)["error"] == "InvalidInput"


@pytest.mark.parametrize(
    "arguments",
    [
        ("create-account", "--keystore", "k", "--password-file", "p", "--count", "²"),
        ("create-account", "--keystore", "k", "--password-file", "p", "--count", "0"),
        (
            "deploy",
            "--rpc",
            "http://127.0.0.1:1",
            "--key-file",
            "key",
            "--out",
            "o",
            "--contributor",
            ADDRESS[:-1] + "D",
        ),
        ("deploy", "--rpc", "http://127.0.0.1:1", "--key-file", "key", "--out", "o", "--stake-units", "1,5"),
        ("deploy", "--rpc", "http://127.0.0.1:1", "--key-file", "key", "--out", "o", "--coin-wei", "-1"),
        ("deploy", "--rpc", "127.0.0.1:1", "--key-file", "key", "--out", "o"),
        ("deploy", "--rpc", "http://127.0.0.1:1", "--key-file", "key", "--out", "o", "--keystore", "k"),
    ],
)
def test_the_gateways_program_is_as_strict(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("11" * 32)
    done = subprocess.run(
        [sys.executable, "-m", "services.chain_gateway", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("chain_gateway: ") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]


# --- somebody else answers ---------------------------------------------------------------------------------------------------------


class _Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "command",
    [
        ("balance", "--task", "1", "--gateway"),
        ("train", "--trainer"),
        ("task", "show", "--task", "1", "--gateway"),
        ("health",),
    ],
)
def test_a_web_server_is_not_taken_for_a_service(command: tuple[str, ...], web_server: str) -> None:
    code, output = said(*command, web_server)
    assert code == 2
    assert "does not speak gRPC" in output.replace("\n", " ")


async def test_another_service_is_named() -> None:
    class Model(oip_grpc.GRPCInferenceServiceServicer):
        pass

    def register(server: grpc.aio.Server) -> None:
        oip_grpc.add_GRPCInferenceServiceServicer_to_server(Model(), server)

    async with RpcServer("127.0.0.1:0", register, ("inference.GRPCInferenceService",)) as server:
        import asyncio

        code, output = await asyncio.to_thread(said, "balance", "--task", "1", "--gateway", server.address)
    assert code == 2
    assert f"{server.address} is a model server, not a chain gateway" in output.replace("\n", " ")


# --- proxies -----------------------------------------------------------------------------------------------------------------------


async def test_this_machine_is_reached_directly_whatever_http_proxy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEAD_PROXY.items():
        monkeypatch.setenv(name, value)

    class Gateway(gateway_grpc.ChainGatewayServiceServicer):
        async def GetChain(self, request: gateway.GetChainRequest, context: object) -> gateway.GetChainResponse:  # noqa: N802
            return gateway.GetChainResponse(chain_id=7)

    def register(server: grpc.aio.Server) -> None:
        gateway_grpc.add_ChainGatewayServiceServicer_to_server(Gateway(), server)

    async with RpcServer("127.0.0.1:0", register, ("linklearner.v1.ChainGatewayService",)) as server:
        for host in ("127.0.0.1", "localhost"):
            async with channel(f"{host}:{server.port}") as wire:
                answer = await gateway_grpc.ChainGatewayServiceStub(wire).GetChain(
                    gateway.GetChainRequest(), timeout=10
                )
                assert answer.chain_id == 7
    async with Devchain.start() as devchain:
        async with Chain.connect(devchain.url) as chain:
            assert await chain.head_number() == 0
        async with History(devchain.url, bytes(20), 0) as history:
            assert await history.chain_id() == chain.chain_id


async def test_another_machine_is_reached_as_http_proxy_says(monkeypatch: pytest.MonkeyPatch, web_server: str) -> None:
    from linklearner.domain.errors import LinkLearnerError

    monkeypatch.setenv("http_proxy", f"http://{web_server}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with History("http://node.invalid:8545", bytes(20), 0) as history:
        with pytest.raises(LinkLearnerError, match="405"):  # the proxy's own answer
            await history.chain_id()
    with pytest.raises(LinkLearnerError, match="405"):
        async with Chain.connect("http://node.invalid:8545"):
            pass


# --- the suite's home and its settings ---------------------------------------------------------------------------------------------


def suite(home: Path, *arguments: str) -> tuple[int, dict[str, object], str]:
    done = subprocess.run(
        [sys.executable, "-m", "services", "--home", str(home), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("place", ["file", "below a file", "nowhere"])
def test_a_home_that_cannot_be_one_is_told_so(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "nowhere": Path("/proc/linklearner")}[
        place
    ]
    code, told, log = suite(home)
    assert code == 2
    assert "LINKLEARNER_HOME" in str(told["message"])
    assert "Traceback" not in log


def test_a_home_that_is_in_use_is_told_so(tmp_path: Path) -> None:
    from services.__main__ import _held

    with _held(tmp_path):
        code, told, log = suite(tmp_path)
    assert code == 2
    assert f"process {os.getpid()}" in str(told["message"]) and "linklearner down" in str(told["message"])
    assert "Traceback" not in log
    with _held(tmp_path):
        pass


def of_suite(tmp_path: Path, contributors: int, seed: int = 1) -> SuiteSettings:
    return SuiteSettings(home=tmp_path, contributors=contributors, seed=seed, rpc_url=None, key_file=None)


def smallest(contributors: int, seed: int) -> int:
    learn, _ = data.load("digits", data.Shard())
    return min(len(part) for part in data.shards(learn.y, contributors, float(TrainerConfig.alpha), seed))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
@pytest.mark.parametrize("contributors", [20, 22, 25])
def test_shards_that_a_draw_left_too_small_are_drawn_again(tmp_path: Path, contributors: int, seed: int) -> None:
    found = _shard_seed(of_suite(tmp_path, contributors, seed))
    assert smallest(contributors, found) >= TrainerConfig.min_samples
    assert _shard_seed(of_suite(tmp_path, contributors, seed)) == found
    assert TrainerConfig(shard_seed=found).shard_seed == found  # within its bounds


def test_a_draw_that_is_good_stays(tmp_path: Path) -> None:
    """Homes of earlier versions go on with the samples that they had."""
    assert [_shard_seed(of_suite(tmp_path, 5, seed)) for seed in range(20)] == list(range(20))
    assert smallest(22, 1) < TrainerConfig.min_samples


@pytest.mark.parametrize("count", ["44", "64"])
def test_more_contributors_than_samples_are_refused_before_anything_starts(count: str, tmp_path: Path) -> None:
    code, told, _ = suite(tmp_path / "home", "--contributors", count)
    assert code == 2
    advice = re.search(r"(\d+) contributors work with this seed", str(told["message"]))
    assert advice is not None
    _shard_seed(of_suite(tmp_path, int(advice[1])))
    assert not (tmp_path / "home" / "chain.sqlite").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("--seed", "-1"), ("--seed", "²"), ("--contributors", "0"), ("--contributors", "1,5")]
)
def test_settings_of_the_suite_are_checked_first(name: str, text: str, tmp_path: Path) -> None:
    code, told, log = suite(tmp_path / "home", name + "=" + text)
    assert code == 2
    assert name in str(told["message"])
    assert "Traceback" not in log and not (tmp_path / "home").exists()


def test_a_home_of_an_earlier_version_is_told_so_before_anything_starts(tmp_path: Path) -> None:
    address = "0x" + "11" * 20
    old = {"format": 1, "chain_id": 1, "block": 1, **dict.fromkeys(("pool", "token", "aspect", "owner"), address)}
    (tmp_path / "deployment.json").write_text(json.dumps(old))
    code, told, log = suite(tmp_path)
    assert code == 2
    assert "older pool" in str(told["message"]) and "deploy anew" in str(told["message"])
    assert "Traceback" not in log and not (tmp_path / "people.json").exists()


def test_the_suites_people_are_made_once_also_where_that_was_interrupted(tmp_path: Path) -> None:
    keys, password = tmp_path / "keys", tmp_path / "secrets" / "password"
    first = Keystore.create(keys, Keystore.new_password(password), random_password=True)
    made = People.of_home(tmp_path, keys, password, 2)
    assert first in made.everybody and len(set(made.everybody)) == 5 == len(list(keys.glob("*.json")))
    assert People.of_home(tmp_path, keys, password, 2) == made
    with pytest.raises(InvalidConfig, match="made for 2 contributors, not 3"):
        People.of_home(tmp_path, keys, password, 3)
    (tmp_path / "people.json").write_text('{"contributors": [1]}')
    with pytest.raises(InvalidConfig, match="damaged"):
        People.of_home(tmp_path, keys, password, 2)
