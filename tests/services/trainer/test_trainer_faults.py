"""Faults of others: rounds that nobody can read, gateways that talk nonsense, full disks. None of them ends a trainer."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from linklearner.domain.classifier import classifier
from linklearner.domain.errors import (
    DataLoss,
    InvalidConfig,
    InvalidInput,
    InvalidUpdate,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.tasks import Mined, Submitted
from linklearner.rpc import convert
from linklearner.rpc.channel import channel
from linklearner.rpc.status import DETAILS_KEY, from_rpc_error
from linklearner.testing.gateway import FakeGateway, sets
from linklearner.v1 import chain_gateway_pb2 as gateway_pb
from linklearner.v1 import trainer_pb2 as pb
from services.trainer import contributor, training
from services.trainer.journal import Held, Journal, RecordedOutcome
from services.trainer.recipe import AdamW
from services.trainer.trainer import Trainer
from tests.services.trainer.conftest import Connect, refused, settings, train, until

CASES = Path(__file__).parents[2] / "data" / "cases"
UNREADABLE = (InvalidUpdate("calldata of a stranger"), DataLoss("calldata of a stranger"), NotFound("no such round"))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributor, "RETRY_S", 0.02)
    monkeypatch.setattr(contributor, "LONGEST_RETRY_S", 0.1)
    monkeypatch.setattr(contributor, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(contributor, "REFUSED_AGAIN_S", 0.1)


def fails(error: Exception) -> Callable[[Any], Any]:
    def lie(_: Any) -> Any:
        raise error

    return lie


# --- rounds that hold what nobody can read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", UNREADABLE)
async def test_a_round_that_cannot_be_read_leaves_an_update_s_fate_open(
    chain: FakeGateway, connect: Connect, error: Exception
) -> None:
    chain.auto_settle = False
    async with connect() as stub:
        await train(stub, "one")
        chain.lies["GetRound"] = fails(error)
        with refused(grpc.StatusCode.UNAVAILABLE, "StatusUnknown") as why:
            await train(stub, "two")
        assert "ask again later" in why[0].message
        chain.settle()
        chain.lies.clear()
        chain.auto_settle = True
        await train(stub, "two")
    assert [len(one.contributions) for one in chain.rounds] == [1, 1, 0]


@pytest.mark.parametrize("error", UNREADABLE)
async def test_a_trainer_that_contributed_to_an_unreadable_round_starts_and_waits(
    tmp_path: Path, chain: FakeGateway, gateway: str, error: Exception
) -> None:
    chain.auto_settle = False
    async with Trainer.start(settings(tmp_path, gateway, rounds=1)):
        await until(lambda: len(chain.rounds[-1].contributions) == 1)
    asked = 0

    def unreadable(_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise error

    chain.lies["GetRound"] = unreadable
    chain.settle()
    async with Trainer.start(settings(tmp_path, gateway, rounds=-1)) as trainer:
        ended = asyncio.create_task(trainer.wait())
        await trainer.ready()
        await until(lambda: asked >= 4)
        assert not ended.done()
        async with channel(trainer.address) as wire:
            status = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest())
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        chain.lies.clear()
        chain.auto_settle = True
        await until(lambda: len(chain.versions) >= 3)
        assert not ended.done()
        ended.cancel()


async def test_what_nobody_can_tell_is_asked_about_ever_less_often_and_said_once(
    tmp_path: Path, chain: FakeGateway, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's update that no gateway reads stays in its round: it must not cost a question and a line of log every half minute, for
    years."""
    pauses, sleep = list[float](), asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds >= contributor.RETRY_S:
            pauses.append(seconds)
        await sleep(min(seconds, 0.01))

    chain.auto_settle = False
    async with Trainer.start(settings(tmp_path, gateway, rounds=1)):
        await until(lambda: len(chain.rounds[-1].contributions) == 1)
    chain.lies["GetRound"] = fails(InvalidUpdate("calldata of a stranger"))
    chain.settle()
    monkeypatch.setattr(contributor, "RETRY_S", 0.5)
    monkeypatch.setattr(contributor, "LONGEST_RETRY_S", 30.0)
    monkeypatch.setattr(contributor.asyncio, "sleep", noted)
    with capture_logs() as logged:
        async with Trainer.start(settings(tmp_path, gateway, rounds=-1)):
            async with asyncio.timeout(60):
                while len(pauses) < 16:
                    await sleep(0.02)
    doubts = [one for one in logged if one.get("reason") == "StatusUnknown"]
    assert len(doubts) == 1, doubts
    assert pauses[:16] == [min(0.5 * 2**times, 3600.0) for times in range(16)]


async def test_a_search_through_rounds_without_end_ends(
    chain: FakeGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributor, "MAX_ROUNDS_SEARCHED", 20)
    asked = []

    def dropped(answer: gateway_pb.GetRoundResponse) -> gateway_pb.GetRoundResponse:
        asked.append(answer.round)
        return gateway_pb.GetRoundResponse(round=answer.round, base_version=1, dropped=True)

    chain.auto_settle = False
    async with connect() as stub:
        await train(stub, "one")
        for _ in range(40):
            chain.drop()
        chain.lies["GetRound"] = dropped
        with refused(grpc.StatusCode.UNAVAILABLE, "StatusUnknown"):
            await train(stub, "two")
    assert len(asked) == 21


# --- gateways that talk nonsense ---------------------------------------------------------------------------------------------


def only_weights(change: Callable[[bytes], bytes]) -> Callable[[Any], Any]:
    def lie(message: gateway_pb.GetModelResponse) -> gateway_pb.GetModelResponse:
        return message if message.HasField("version") else gateway_pb.GetModelResponse(weights=change(message.weights))

    return lie


NONSENSE: list[tuple[str, Callable[[Any], Any]]] = [
    ("GetChain", sets(chain_id=0)),
    ("GetChain", sets(head_block_number=2**64 - 1)),
    ("GetChain", sets(pool=b"\xaa" * 19)),
    ("GetChain", sets(pool=b"")),
    ("ListAccounts", lambda answer: gateway_pb.ListAccountsResponse(accounts=[b"\x01" * 21])),
    ("GetTask", sets(task__version__digest=b"d" * 31)),
    ("GetTask", sets(task__version__version=2**64 - 1)),
    ("GetTask", sets(task__version__task=7)),
    ("GetTask", sets(task__round__round=0)),
    ("GetTask", sets(task__round__round=2**64 - 1)),
    ("GetTask", sets(task__shape=b"")),
    (
        "GetTask",
        sets(task__shape=classifier("x", Mlp((64, 33, 10)), tuple("0123456789")).shape(12, 2048, 2, 1).encode()),
    ),
    ("GetModel", sets(version__digest=b"")),
    ("GetModel", sets(version__version=5)),
    ("GetModel", sets(version__version=0)),
    ("GetModel", only_weights(lambda data: b"")),
    ("GetModel", only_weights(lambda data: data * 50)),
    ("GetModel", lambda message: gateway_pb.GetModelResponse()),
    ("SubmitUpdate", sets(digest=b"d" * 32)),
    ("SubmitUpdate", sets(digest=b"")),
    ("SubmitUpdate", sets(round=0)),
    ("SubmitUpdate", sets(receipt__transaction_hash=b"short")),
    ("SubmitUpdate", sets(receipt__gas_used=2**64 - 1)),
    ("SubmitUpdate", sets(weight_units=2**63)),
]


@pytest.mark.parametrize(("method", "lie"), NONSENSE)
async def test_nonsense_is_told_as_the_gateway_s_and_passes_when_it_passes(
    chain: FakeGateway, connect: Connect, method: str, lie: Callable[[Any], Any]
) -> None:
    chain.lies[method] = lie
    async with connect() as stub:
        with refused(grpc.StatusCode.DATA_LOSS) as why:
            await train(stub, "one")
        assert why[0].reason in ("NonsensicalAnswer", "WrongDigest", "WrongVersion", "WrongLength", "WrongShape")
        assert "ask another" in why[0].message and len(why[0].message) < 500
        chain.lies.clear()
        assert (await train(stub, "one"))[-1].WhichOneof("event") == "submitted"
    assert sum(len(one.contributions) for one in chain.rounds) == 1


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        *NONSENSE[::3],
        ("GetTask", sets(task__model="[" * 20_000)),
        ("GetTask", fails(InvalidInput("your data is bad"))),
        ("GetChain", fails(PermissionDenied("no"))),
        ("ListAccounts", fails(Unauthenticated("who?"))),
        ("SubmitUpdate", fails(PermissionDenied("no"))),
        ("SubmitUpdate", fails(RuntimeError("a bug of the gateway's"))),
    ],
)
async def test_a_trainer_on_its_own_outlives_a_gateway_that_talks_nonsense(
    tmp_path: Path, chain: FakeGateway, gateway: str, method: str, lie: Callable[[Any], Any]
) -> None:
    lied = 0

    def counted(answer: Any) -> Any:
        nonlocal lied
        lied += 1
        return lie(answer)

    chain.lies[method] = counted
    async with Trainer.start(settings(tmp_path, gateway, rounds=-1)) as trainer:
        ended = asyncio.create_task(trainer.wait())
        await until(lambda: lied >= 3 or ended.done())
        assert not ended.done()
        chain.lies.clear()
        await until(lambda: len(chain.versions) >= 3)
        await trainer.ready()
        ended.cancel()
    assert all(len(one.contributions) <= 1 for one in chain.rounds)


@pytest.mark.parametrize("lie", [sets(version__version=1), sets(version__task=3), sets(version__digest=b"")])
async def test_announcements_that_go_backwards_cost_neither_rounds_nor_calls_without_end(
    tmp_path: Path, chain: FakeGateway, gateway: str, lie: Callable[[Any], Any]
) -> None:
    chain.auto_settle = False
    asked = 0

    def looked(answer: Any) -> Any:
        nonlocal asked
        asked += 1
        return answer

    chain.lies = {"WatchVersions": lie, "GetTask": looked}
    async with Trainer.start(settings(tmp_path, gateway, rounds=2)):
        await until(lambda: len(chain.rounds[-1].contributions) == 1)
        chain.settle()
        await until(lambda: len(chain.rounds[-1].contributions) == 1)
        assert asked < 200
    assert [len(one.contributions) for one in chain.rounds] == [1, 1]


async def test_a_download_ends_at_the_first_byte_too_many(chain: FakeGateway, connect: Connect) -> None:
    sent = 0

    async def endless(request: Any, context: Any) -> Any:
        nonlocal sent
        yield gateway_pb.GetModelResponse(version=convert.version_message(chain.version(1)))
        while True:
            sent += 1
            yield gateway_pb.GetModelResponse(weights=bytes(1000))

    chain.GetModel = endless  # type: ignore[method-assign]
    async with connect() as stub:
        with refused(grpc.StatusCode.DATA_LOSS, "WrongLength") as why:
            await train(stub, "one")
    assert "more than the 4820 bytes" in why[0].message
    assert sent < 5000  # what flow control let through before the stream was left; without a bound it is endless


async def test_weights_of_a_model_that_the_samples_do_not_fit_are_not_asked_for(
    tmp_path: Path, connect: Connect
) -> None:
    chain = FakeGateway(seed=1, spec=classifier("big", Mlp((63, 2000, 10)), tuple("0123456789")))
    chain.lies["GetModel"] = fails(AssertionError("weights were asked for"))
    async with chain.served() as address, connect(gateway=address) as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput"):
            await train(stub, "one")
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput"):
            await stub.Evaluate(pb.EvaluateRequest())


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"\x1a\x04abcd", b""])
def test_error_details_that_are_no_details_are_left_aside(details: bytes) -> None:
    class Failed:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.DATA_LOSS

        def details(self) -> str:
            return "said"

        def trailing_metadata(self) -> object:
            return ((DETAILS_KEY, details),)

    error = from_rpc_error(Failed())
    assert isinstance(error, DataLoss) and error.message == "said" and error.reason == "DATA_LOSS"


async def test_a_bug_ends_the_trainer_so_that_a_supervisor_may_start_it_again(
    tmp_path: Path, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", lambda *arguments, **hooks: 1 // 0)
    async with Trainer.start(settings(tmp_path, gateway, rounds=-1)) as trainer, asyncio.timeout(60):
        with pytest.raises(ZeroDivisionError):
            await trainer.wait()


async def test_who_may_not_submit_any_more_keeps_what_may_have_landed(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    chain.lose = "answer"
    async with connect() as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "ChainAway"):
            await train(stub, "one")  # landed and settled
        chain.lies["GetRound"] = lambda answer: gateway_pb.GetRoundResponse(round=answer.round, base_version=1)
        chain.lies["SubmitUpdate"] = fails(Unauthenticated("who are you?"))
        with refused(grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"):
            await train(stub, "one")
        chain.lies.clear()
        (event,) = await train(stub, "one")
    assert event.submitted.round == 1


# --- disks -------------------------------------------------------------------------------------------------------------------

BOOK, N = f"11820/{'aa' * 20}/1/{'01' * 20}", 2410


@pytest.fixture
def journals(monkeypatch: pytest.MonkeyPatch) -> list[Journal]:
    """The journals that trainers open, in order."""
    found: list[Journal] = []
    really = Journal.open

    def watched(folder: Path) -> Journal:
        found.append(really(folder))
        return found[-1]

    monkeypatch.setattr("services.trainer.trainer.Journal.open", watched)
    return found


SUBMITTED = Submitted(Mined(b"t" * 32, 5, 100_000, 900), b"d" * 32, 3, 10, 9)


def fill(journal: Journal) -> None:
    """No page more: SQLite answers SQLITE_FULL, as it does for ENOSPC."""
    journal._connection.execute("PRAGMA max_page_count = 1")


def empty(journal: Journal) -> None:
    journal._connection.execute("PRAGMA max_page_count = 1000000")


def lock(journal: Journal) -> None:
    """As on a file system that has become read-only."""
    journal._connection.execute("PRAGMA query_only = 1")


def unlock(journal: Journal) -> None:
    journal._connection.execute("PRAGMA query_only = 0")


@pytest.mark.parametrize(("full", "again"), [(fill, empty), (lock, unlock)], ids=["full", "read-only"])
async def test_a_disk_that_takes_nothing_lets_nothing_be_sent_and_is_waited_for(
    tmp_path: Path,
    chain: FakeGateway,
    gateway: str,
    journals: list[Journal],
    full: Callable[[Journal], None],
    again: Callable[[Journal], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = 0
    really = training.train

    def counted(*arguments: Any, **hooks: Any) -> Any:
        nonlocal trained
        trained += 1
        return really(*arguments, **hooks)

    monkeypatch.setattr(training, "train", counted)
    chain.hold.clear()
    async with Trainer.start(settings(tmp_path, gateway)) as first:
        await first.ready()
    async with Trainer.start(settings(tmp_path, gateway, rounds=-1)) as trainer:
        full(journals[-1])
        ended = asyncio.create_task(trainer.wait())
        await until(lambda: trained >= 2 or ended.done())
        assert not ended.done() and not chain.submissions
        again(journals[-1])
        chain.hold.set()
        await until(lambda: len(chain.versions) >= 3)
        ended.cancel()
    assert all(len(one.contributions) <= 1 for one in chain.rounds)


def test_each_use_of_a_full_journal_is_unavailable_and_changes_nothing(tmp_path: Path) -> None:
    held = Held("request", "contents", "submission", 3, 2, b"payload", b"d" * 32, np.ones(N))
    with Journal.open(tmp_path) as journal:
        fill(journal)
        for use in (
            lambda: journal.hold(BOOK, held),
            lambda: journal.accept(BOOK, "request", RecordedOutcome("contents" * 10_000, SUBMITTED)),
        ):
            with pytest.raises(Unavailable, match="database or disk is full"):
                use()
        empty(journal)
        journal.hold(BOOK, held)
        lock(journal)
        for use in (lambda: journal.promote(BOOK), lambda: journal.discard(BOOK)):
            with pytest.raises(Unavailable, match="readonly"):
                use()
        unlock(journal)
        assert journal.held(BOOK, N) is not None and not journal.residual(BOOK, N).any()
        journal.promote(BOOK)
        assert journal.residual(BOOK, N).all()


@pytest.mark.parametrize(
    "change",
    [
        "residual = 'text'", "residual = x'0102'", "residual = 5", "payload = 'text'", "digest = NULL", "round = 'many'",
        "request_id = x'ff'", "base_version = x'00'",
    ],
)  # fmt: skip
def test_a_row_that_is_not_what_was_written_is_data_loss(tmp_path: Path, change: str) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(BOOK, Held("request", "contents", "submission", 3, 2, b"payload", b"d" * 32, np.ones(N)))
        try:
            journal._connection.execute(f"UPDATE held SET {change}")
        except sqlite3.IntegrityError:
            return  # the schema itself forbids it
        with pytest.raises(DataLoss, match="move the file away"):
            journal.held(BOOK, N)


async def test_a_damaged_journal_is_told_and_ends_nothing(
    tmp_path: Path, chain: FakeGateway, connect: Connect, journals: list[Journal]
) -> None:
    async with connect() as stub:
        await train(stub, "one")
        journals[0]._connection.execute("UPDATE outcome SET gas_used = 'much'")
        with refused(grpc.StatusCode.DATA_LOSS, "JournalDamaged"):
            await train(stub, "one")
        journals[0]._connection.execute("UPDATE held SET residual = x'ffffff'")
        with refused(grpc.StatusCode.DATA_LOSS, "DataLoss") as why:
            await train(stub, "two")
        assert "move the file away" in why[0].message
        assert (await stub.GetTrainer(pb.GetTrainerRequest())).task == 1


def test_a_journal_with_a_spoilt_page_is_refused_at_the_start(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(BOOK, Held("request", "contents", "submission", 3, 2, b"payload", b"d" * 32, np.ones(N)))
    data = bytearray((tmp_path / "trainer.db").read_bytes())
    data[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    (tmp_path / "trainer.db").write_bytes(data)
    with pytest.raises(InvalidConfig, match="move it away"):
        Journal.open(tmp_path)


# --- data that teaches nothing -----------------------------------------------------------------------------------------------


def write(path: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.savez(path, x=x, y=y)
    return f"npz:{path}"


GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 17, (200, 64))
LABELS = np.arange(200) % 10


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: f"npz:{CASES / '08-one-class.npz'}",
        lambda folder: write(folder / "a.npz", PIXELS, LABELS * 0 + 4),
        lambda folder: write(folder / "b.npz", PIXELS * 0 + 7, LABELS),
        lambda folder: write(folder / "c.npz", PIXELS[:0], LABELS[:0]),
        lambda folder: write(folder / "d.npz", PIXELS[:, :0], LABELS),
    ],
)
async def test_data_that_tells_no_label_from_another_is_refused_at_the_start(
    tmp_path: Path, source: Callable[[Path], str]
) -> None:
    with pytest.raises(InvalidConfig, match="nothing to learn") as why:
        async with Trainer.start(settings(tmp_path, "127.0.0.1:1", data=source(tmp_path), min_samples=1)):
            pass
    assert why.value.reason == "NothingToLearn"


async def test_an_update_that_rounds_to_nothing_is_not_submitted(chain: FakeGateway, connect: Connect) -> None:
    async with connect(optimiser=AdamW(learning_rate=1e-10), encoding="int8") as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "NothingToLearn") as why:
            await train(stub, "one")
    assert "nothing is submitted" in why[0].message and not chain.submissions


@pytest.mark.parametrize("factor", [255 / 16, 1 / 16, 1000.0, -1.0])
async def test_data_far_from_the_range_that_the_task_expects_is_refused_with_the_remedy(
    chain: FakeGateway, connect: Connect, tmp_path: Path, factor: float
) -> None:
    source = write(tmp_path / "mine.npz", PIXELS * factor, LABELS)
    async with connect(data=source, shard="0/1") as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "RangeMismatch") as why:
            await train(stub, "one")
        assert "expects 0 to 16" in why[0].message
        assert "LINKLEARNER_TRAINER_ALLOW_RANGE=true" in why[0].message and "--allow-range" in why[0].message
        assert not chain.submissions
        await train(stub, "one", allow_range=True)
    async with connect(data=source, shard="0/1", allow_range=True) as stub:
        await train(stub, "two")


async def test_data_near_the_range_and_tasks_that_tell_none_are_taken(connect: Connect, tmp_path: Path) -> None:
    async with connect(data=write(tmp_path / "near.npz", PIXELS * 1.3 - 2, LABELS), shard="0/1") as stub:
        await train(stub, "one")
    chain = FakeGateway(seed=1, spec=classifier("free", Mlp((64, 8, 10)), tuple("0123456789")), chain_id=7)
    source = write(tmp_path / "far.npz", PIXELS / 1e4, LABELS)
    async with chain.served() as address, connect(gateway=address, data=source, shard="0/1") as stub:
        await train(stub, "one")


async def test_a_too_small_part_is_refused_with_settings_that_help(tmp_path: Path) -> None:
    source = write(tmp_path / "few.npz", PIXELS, LABELS)
    with pytest.raises(InvalidConfig, match="too few to hide") as why:
        async with Trainer.start(settings(tmp_path, "127.0.0.1:1", data=source, shard="3/40")):
            pass
    assert "LINKLEARNER_TRAINER_SHARD" in why.value.message and "LINKLEARNER_TRAINER_ALPHA=iid" in why.value.message
    assert why.value.facts["shard"] == "3/40"
    with pytest.raises(InvalidConfig) as why:
        async with Trainer.start(settings(tmp_path, "127.0.0.1:1", data=source, min_samples=1000)):
            pass
    assert "SHARD" not in why.value.message and "LINKLEARNER_TRAINER_DATA" in why.value.message
