"""What a report says is what the chain did: over real contracts, and where a node or a trainer does not play along."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from devchain.rpc.codec import RpcError
from devchain.rpc.methods import Methods
from linklearner.chain.contracts import POOL
from linklearner.chain.endpoints import Reply
from linklearner.chain.failures import reason_of
from linklearner.chain.history import History
from linklearner.cli import app
from linklearner.domain.errors import DataLoss, NotFound
from linklearner.domain.model import ModelVersion
from linklearner.domain.training import Evaluation
from linklearner.report import collect
from linklearner.report.collect import facts_of, measure, spread
from linklearner.report.facts import TaskFacts, VersionFacts
from linklearner.report.of_task import task_page
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from linklearner.verification import HistoryOf
from tests.client.test_trainer_client import EVALUATION, FakeTrainer
from tests.contracts.task_chain import Reverted, TaskChain, address_of
from tests.contracts.test_replay import GROUPED, lived

Lie = Callable[[str, list[Any], Any], Any]


@pytest.fixture(scope="module")
def world() -> Iterator[TaskChain]:
    """The lives of several tasks; then somebody tries what is refused."""
    world = lived()
    for who, update in ((1, world.update(1, GROUPED, 31)), (2, world.update(1, GROUPED, 32))):
        with pytest.raises(Reverted):
            world.submit(who, update, GROUPED)
    with pytest.raises(Reverted):
        world.call(3, POOL, "closeTask", 1)
    with pytest.raises(Reverted):
        world.call(3, POOL, "fund", 77, 5)  # another task's, which nobody opened
    yield world
    world.chain.close()


@pytest.fixture
def node(world: TaskChain, monkeypatch: pytest.MonkeyPatch) -> Callable[[Lie], None]:
    """History asks the chain itself; a lie makes another answer of an honest one."""
    methods = Methods(world.chain, accounts=(), instant=True)

    def answered(one: dict[str, Any], lie: Lie) -> dict[str, Any]:
        try:
            told = lie(one["method"], one["params"], methods(one["method"], one["params"]))
        except RpcError as error:
            return {
                "jsonrpc": "2.0", "id": one["id"], "error": {"code": error.code, "message": str(error), "data": error.data},
            }  # fmt: skip
        return {"jsonrpc": "2.0", "id": one["id"], "result": told}

    def lying(lie: Lie) -> None:
        async def post(self: History, url: str, body: bytes, seconds: float) -> Reply:
            asked = json.loads(body)
            answers = [answered(one, lie) for one in (asked if isinstance(asked, list) else [asked])]
            return Reply(200, json.dumps(answers if isinstance(asked, list) else answers[0]).encode(), "")

        monkeypatch.setattr(History, "_post", post)

    lying(lambda method, params, told: told)
    return lying


def what(world: TaskChain, **changes: Any) -> HistoryOf:
    return HistoryOf(**{"rpc_url": "http://127.0.0.1:1", "pool": world.pool, "from_block": 0, "task": 1} | changes)


def silent(name: str, done: int, total: int) -> None:
    pass


@pytest.mark.usefixtures("node")
async def test_the_facts_are_the_chain_s(world: TaskChain) -> None:
    facts = await facts_of(what(world), silent)
    assert not facts.divergence and facts.closed
    assert [one.version for one in facts.versions] == list(range(1, world.status(1)["version"] + 1))
    assert facts.pot == world.status(1)["pot"] == 0
    earned = {one.account: one.earned for one in facts.contributors}
    for who in range(1, 9):
        assert earned.get(address_of(who), 0) == world.number(POOL, "earnedBy", 1, address_of(who))
    assert sum(one.paid for one in facts.rounds) == sum(earned.values())
    assert any(one.dropped for one in facts.rounds) and any(one.dropped and one.version for one in facts.rounds)
    by_call: Counter[str] = Counter()
    for number in range(1, world.chain.head.number + 1):
        for receipt in world.chain.store.receipts(number):
            if receipt.transaction.to == world.pool and receipt.status == 1:
                call = POOL.decode_call(receipt.transaction.data)
                by_call[call.name] += receipt.gas_used * (call.values.get("task") == 1)
    assert sum(one.submission_gas for one in facts.rounds) == by_call["submit"]
    assert sum(one.settlement_gas for one in facts.rounds) == by_call["settle"]
    assert facts.opening_gas == by_call["openTask"] + by_call["loadPages"]
    assert facts.rounds[-1].pot == 0  # the rest went to the creator
    task_page(facts, []).encode()


@pytest.mark.usefixtures("node")
async def test_what_was_refused_is_told_with_its_reason_and_its_price(world: TaskChain) -> None:
    facts = await facts_of(what(world), silent)
    assert facts.refused is not None
    assert [(one.function, one.sender) for one in facts.refused] == [
        ("submit", address_of(1)), ("submit", address_of(2)), ("closeTask", address_of(3)),
    ]  # fmt: skip
    assert facts.refused[2].reason in ("NotCreator", "TaskIsClosing")
    assert all(one.reason not in ("Unknown", "") and one.gas > 21_000 for one in facts.refused)
    refused = {one.account: one.refused for one in facts.contributors}
    assert refused[address_of(3)] == Counter({facts.refused[2].reason: 1})
    assert next(one for one in facts.contributors if one.account == address_of(3)).refused_gas == facts.refused[2].gas


@pytest.mark.usefixtures("node")
async def test_blocks_are_looked_through_only_where_that_is_wanted(
    world: TaskChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await facts_of(what(world), silent, failures=False)).refused is None
    monkeypatch.setattr(collect, "SCANNED_BLOCKS", 3)
    facts = await facts_of(what(world), silent)
    assert facts.refused is None and "--refusals" in facts.refused_why
    assert (await facts_of(what(world), silent, failures=True)).refused


@pytest.mark.usefixtures("node")
async def test_an_unknown_task_is_not_reported(world: TaskChain) -> None:
    with pytest.raises(NotFound, match="no task 9"):
        await facts_of(what(world, task=9), silent)


async def test_a_node_that_alters_history_is_reported_as_such(world: TaskChain, node: Callable[[Lie], None]) -> None:
    def later(
        method: str, params: list[Any], told: Any
    ) -> Any:  # every block a year later: rounds were settled too late
        if method == "eth_getBlockByNumber" and int(told["number"], 16) > 20:
            return told | {"timestamp": hex(int(told["timestamp"], 16) + 31_000_000)}
        return told

    node(later)
    facts = await facts_of(what(world), silent)
    assert facts.divergence.startswith("block ")
    assert facts.pot is None and facts.flows is None and facts.versions
    assert "breaks the rules" in task_page(facts, [])


async def test_a_node_that_forgot_receipts_or_blocks_is_data_loss(
    world: TaskChain, node: Callable[[Lie], None]
) -> None:
    node(lambda method, params, told: None if method == "eth_getTransactionReceipt" else told)
    with pytest.raises(DataLoss, match="no receipt"):
        await facts_of(what(world), silent)
    node(lambda method, params, told: None if method == "eth_getBlockByNumber" and params[1] else told)
    with pytest.raises(DataLoss, match="no longer has block"):
        await facts_of(what(world), silent)
    node(
        lambda method, params, told: (
            told | {"transactions": [7]} if method == "eth_getBlockByNumber" and params[1] else told
        )
    )
    with pytest.raises(DataLoss, match="not an object"):
        await facts_of(what(world), silent)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"message": "execution reverted: StaleBase: the weights moved on"}, "StaleBase"),
        ({"message": "x", "data": "0x" + b"".hex()}, "Unknown"),
        ({"message": "out of gas: gas required exceeds"}, "OutOfGas"),
        ({"message": ["no", "text"], "data": {"a": 1}}, "Unknown"),
        ("a text", "Unknown"),
        (None, "Unknown"),
        ({"message": "<script>: x", "data": 7}, "Unknown"),
    ],
)
def test_a_node_s_words_become_a_name(error: object, reason: str) -> None:
    assert reason_of(error, (POOL,)) == reason


def facts_with(versions: list[VersionFacts]) -> TaskFacts:
    from tests.report.test_page import task

    return task(versions=versions, contributors=[], measured_by="")


@asynccontextmanager
async def trainer(fake: FakeTrainer) -> AsyncIterator[str]:
    async with RpcServer(
        "127.0.0.1:0", lambda server: pb_grpc.add_TrainerServiceServicer_to_server(fake, server), ()
    ) as server:
        yield server.address


class Measuring(FakeTrainer):
    """Measures every version of a task whose digests are the version's number."""

    async def Evaluate(self, request: Any, context: Any) -> Any:  # noqa: N802
        version = ModelVersion(1, request.version, bytes([request.version] * 32), 1, 1)
        return self._answer(
            "Evaluate", request, convert.evaluation_message(Evaluation(version, 20, "accuracy", 0.75, 0.5))
        )


def version(number: int, digest: bytes | None = None) -> VersionFacts:
    return VersionFacts(number, number - 1, digest or bytes([number] * 32), number, 1, 1, 0)


async def test_a_trainer_measures_and_one_that_is_away_does_not_matter() -> None:
    facts = facts_with([version(1), version(2)])
    async with trainer(Measuring()) as address:
        await measure(facts, [("127.0.0.1:1", None), (address, None)], silent)
    assert [one.measured and one.measured.value for one in facts.versions] == [0.75, 0.75]
    assert address in facts.measured_by


async def test_a_trainer_of_another_pool_measures_nothing() -> None:
    facts = facts_with([version(1, b"\xff" * 32)])
    async with trainer(Measuring()) as address:
        await measure(facts, [(address, None)], silent)
    assert facts.versions[0].measured is None and "another pool" in facts.measured_why and not facts.measured_by


async def test_without_a_trainer_the_reason_is_said() -> None:
    facts = facts_with([version(1)])
    await measure(facts, [], silent)
    assert "--trainer" in facts.measured_why
    await measure(facts, [("127.0.0.1:1", None)], silent)
    assert "127.0.0.1:1 does not answer" in facts.measured_why
    fake = FakeTrainer()
    assert EVALUATION.version.task == 1
    async with trainer(fake) as address:
        facts.task = 2
        await measure(facts, [(address, None)], silent)
    assert "is one of task 1" in facts.measured_why


def test_of_many_versions_some_are_measured_first_and_last_among_them() -> None:
    versions = [version(n % 200 + 1) for n in range(1000)]
    chosen = spread(versions, 100)
    assert len(chosen) == 100 and chosen[0] is versions[0] and chosen[-1] is versions[-1]
    assert spread(versions[:7], 100) == versions[:7]


@pytest.mark.usefixtures("node")
def test_the_command_writes_the_page(world: TaskChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKLEARNER_HOME", str(tmp_path / "none"))
    out = tmp_path / "page.html"
    typed = [
        "report",
        "--rpc",
        "http://127.0.0.1:1",
        "--pool",
        "0x" + world.pool.hex(),
        "--out",
        str(out),
        "--format",
        "json",
    ]
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert (said["equal"], said["refused"], said["report"]) == (True, 3, str(out))
    assert out.read_text().startswith("<!doctype html>") and list(tmp_path.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o644
    done = CliRunner().invoke(app, [*typed[:-4], "--out", str(tmp_path / "no" / "page.html")])
    assert done.exit_code == 2 and "does not exist" in done.output


@pytest.mark.usefixtures("node")
def test_the_command_draws_a_picture(world: TaskChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("LINKLEARNER_HOME", str(tmp_path / "none"))
    done = CliRunner().invoke(
        app,
        ["report", "--rpc", "http://127.0.0.1:1", "--pool", "0x" + world.pool.hex(), "--out", str(tmp_path / "p.html"), "--png",
         str(tmp_path / "p.png")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    typed = ["report", "--rpc", "http://127.0.0.1:1", "--pool", "0x" + "aa" * 20, "--png", str(tmp_path / "p.png")]
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 2 and "linklearner[png]" in done.output
