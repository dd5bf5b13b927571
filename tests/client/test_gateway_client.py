"""A gateway may answer anything: its client hands on what makes sense, and says whose fault the rest is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from linklearner.client import gateway as module
from linklearner.client.gateway import GatewayClient
from linklearner.domain.classifier import classifier
from linklearner.domain.errors import DataLoss, InvalidInput, InvalidModel, LinkLearnerError, NotFound, Unavailable
from linklearner.domain.kinds.mlp import Mlp
from linklearner.testing.gateway import FakeGateway, sets, weights_of
from linklearner.v1 import chain_gateway_pb2 as pb
from tests.client.conftest import Subject, fake_gateway, small_task

ACCOUNT = b"\x01" * 20


@asynccontextmanager
async def at(fake: FakeGateway, **options: Any) -> AsyncIterator[GatewayClient]:
    async with fake.served() as address, GatewayClient.connect(address, **options) as client:
        yield client


@pytest.fixture
def fake() -> FakeGateway:
    return fake_gateway()


def of(*arguments: Any) -> Callable[[GatewayClient], Any]:
    name, *rest = arguments
    return lambda client: getattr(client, name)(*rest)


async def submission(client: GatewayClient) -> Any:
    task = small_task()
    subject = Subject(client, (ACCOUNT,), task.model, task.shape, task.terms, task.first_weights())
    update = subject.update()
    return await client.submit("u", ACCOUNT, update.encode(task.shape), update.digest(task.shape))


async def opening(client: GatewayClient) -> Any:
    task = small_task()
    weights = task.first_weights().astype("<i2").tobytes()
    return await client.open_task("o", ACCOUNT, task.model.to_json(), task.shape, task.terms, weights)


async def download(client: GatewayClient) -> Any:
    return await client.weights(await client.task(1))


OVER = 2**63
LIES: list[tuple[str, Callable[[Any], Any], Callable[[GatewayClient], Any], str]] = [
    ("GetChain", sets(chain_id=0), of("chain"), "NonsensicalAnswer"),
    ("GetChain", sets(head_block_number=OVER), of("chain"), "NonsensicalAnswer"),
    ("GetChain", sets(token=b""), of("chain"), "NonsensicalAnswer"),
    ("GetChain", sets(aspect=bytes(32)), of("chain"), "NonsensicalAnswer"),
    ("GetChain", sets(rpc_url="x" * 5000), of("chain"), "NonsensicalAnswer"),
    ("ListAccounts", lambda _: pb.ListAccountsResponse(accounts=[bytes(20), b""]), of("accounts"), "NonsensicalAnswer"),
    ("GetBalance", sets(token_wei=bytes(33)), of("balance", ACCOUNT), "NonsensicalAnswer"),
    ("GetBalance", sets(stake__locked_units=OVER), of("balance", ACCOUNT, 1), "NonsensicalAnswer"),
    ("GetBalance", lambda _: pb.GetBalanceResponse(), of("balance", ACCOUNT, 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__task=2), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__version__task=2), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__version__digest=b"short"), of("task", 1), "WrongDigest"),
    ("GetTask", sets(task__round__round=0), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__terms__reward_wei=bytes(40)), of("task", 1), "BadTerms"),
    ("GetTask", sets(task__shape=b"?"), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", lambda _: pb.GetTaskResponse(), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__creator=b""), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__round__opened_s=0), of("task", 1), "NonsensicalAnswer"),
    ("GetTask", sets(task__terms__quorum_bps=2**16), of("task", 1), "BadTerms"),
    ("ListTasks", lambda _: pb.ListTasksResponse(more=True), of("list_tasks"), "NonsensicalAnswer"),
    (
        "ListTasks",
        lambda answer: pb.ListTasksResponse(tasks=[*answer.tasks] * 2),
        of("list_tasks"),
        "NonsensicalAnswer",
    ),
    ("GetEarnings", sets(earnings__pay_wei=b"\1"), of("earnings", ACCOUNT, 1), "NonsensicalAnswer"),
    ("ClaimEarnings", sets(claimed__fees_wei=bytes(33)), of("claim", "c", ACCOUNT, 1), "NonsensicalAnswer"),
    ("OpenTask", sets(task=9), opening, "NonsensicalAnswer"),
    ("OpenTask", sets(version__digest=bytes(32)), opening, "WrongDigest"),
    ("GetModel", sets(version__version=0), download, "NonsensicalAnswer"),
    ("GetModel", sets(version__digest=bytes(32)), download, "TwoDigests"),
    ("GetModel", sets(version__task=3), download, "WrongVersion"),
    ("GetModel", lambda _: pb.GetModelResponse(), download, "WrongLength"),
    ("GetModel", lambda _: pb.GetModelResponse(weights=bytes(99)), download, "WrongVersion"),
    ("GetRound", sets(round=2), of("round", 1, 1), "NonsensicalAnswer"),
    ("GetRound", sets(base_version=0), of("round", 1), "NonsensicalAnswer"),
    (
        "GetRound",
        lambda _: pb.GetRoundResponse(round=1, base_version=1, contributions=[pb.Contribution()]),
        of("round", 1),
        "NonsensicalAnswer",
    ),
    ("WatchVersions", sets(version__version=5, version__digest=b""), of("next_version", 1, 0), "WrongDigest"),
    ("WatchVersions", sets(version__task=5), of("next_version", 1, 0), "NonsensicalAnswer"),
    ("SubmitUpdate", sets(digest=bytes(32)), submission, "NonsensicalAnswer"),
    ("SubmitUpdate", sets(round=0), submission, "NonsensicalAnswer"),
    ("SubmitUpdate", sets(receipt__gas_used=OVER), submission, "NonsensicalAnswer"),
    ("SubmitUpdate", sets(receipt__transaction_hash=b""), submission, "NonsensicalAnswer"),
    ("UnlockStake", sets(receipt__transaction_hash=b""), of("unlock", "u", ACCOUNT, 1, 1), "NonsensicalAnswer"),
    ("Transfer", lambda _: pb.TransferResponse(), of("transfer_coin", "t", ACCOUNT, ACCOUNT, 1), "NonsensicalAnswer"),
]


@pytest.mark.parametrize(("method", "lie", "ask", "reason"), LIES)
async def test_an_answer_that_makes_no_sense_is_data_loss(
    fake: FakeGateway, method: str, lie: Callable[[Any], Any], ask: Callable[[GatewayClient], Any], reason: str
) -> None:
    async with at(fake) as client, asyncio.timeout(30):
        await ask(client)
        fake._answers.clear()
        fake.rounds[-1].contributions.clear()
        fake.first.closing = False
        fake.lies[method] = lie
        with pytest.raises(DataLoss) as raised:
            await ask(client)
    assert raised.value.reason == reason
    assert client.address in raised.value.message and "ask another one" in raised.value.message
    assert len(raised.value.message) < 500


async def test_a_round_that_another_version_came_of_was_not_settled(fake: FakeGateway) -> None:
    async with at(fake) as client:
        await submission(client)
        fake.rounds[-1].opened_s = fake.rounds[-1].first_update_s = 1  # long ago
        fake.lies["SettleRound"] = sets(version__round=7)
        with pytest.raises(DataLoss, match="round 1 of task 1 was to be settled"):
            await client.settle("s", ACCOUNT, 1, 1)


async def test_announcements_never_go_backwards(fake: FakeGateway) -> None:
    fake.publish(weights_of(2, shape=fake.shape))
    fake.lies["WatchVersions"] = sets(version__version=1)
    async with at(fake) as client:
        versions = client.versions(1)
        assert (await anext(versions)).version == 1
        with pytest.raises(DataLoss, match="versions after 1 were asked for, 1 is announced"):
            await anext(versions)


async def test_the_newest_weights_are_not_older_than_announced(fake: FakeGateway) -> None:
    fake.publish(weights_of(2, shape=fake.shape))
    async with at(fake) as client:
        task = await client.task(1)
        fake.versions.pop()  # as a gateway behind a balancer that lags
        with pytest.raises(DataLoss) as raised:
            await client.weights(task)
        assert raised.value.reason == "WrongVersion"
        fake.publish(weights_of(2, shape=fake.shape))
        fake.publish(weights_of(3, shape=fake.shape))
        assert (await client.weights(task))[0].version == 3  # a newer one is fine, unless one was named
        assert (await client.weights(task, 2))[0].digest == task.newest.digest


@pytest.mark.parametrize("cut", [0, -2, 2])
async def test_weights_of_another_length_are_not_handed_on(fake: FakeGateway, cut: int) -> None:
    whole = fake.bodies[1]
    fake.bodies[1] = b"" if cut == 0 else whole[:cut] if cut < 0 else whole + bytes(cut)
    async with at(fake) as client:
        with pytest.raises(DataLoss) as raised:
            await download(client)
    assert raised.value.reason == "WrongLength"


async def test_one_bit_is_enough_not_to_give_the_digest(fake: FakeGateway) -> None:
    body = bytearray(fake.bodies[1])
    body[777] ^= 1
    fake.bodies[1] = bytes(body)
    async with at(fake) as client:
        with pytest.raises(DataLoss) as raised:
            await download(client)
    assert raised.value.reason == "WrongDigest" and raised.value.facts == {"version": "1"}


@pytest.mark.parametrize("drip", [0.0, 0.05])
async def test_a_download_that_stalls_or_drips_is_given_up(
    fake: FakeGateway, monkeypatch: pytest.MonkeyPatch, drip: float
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.3)
    parts = fake.GetModel

    async def slow(request: Any, context: Any) -> AsyncIterator[Any]:
        yield await anext(aiter(parts(request, context)))
        while drip:
            yield pb.GetModelResponse(weights=b"\0")
            await asyncio.sleep(drip)
        await asyncio.Event().wait()

    fake.GetModel = slow  # type: ignore[method-assign]
    async with at(fake) as client, asyncio.timeout(30):
        with pytest.raises(Unavailable) as raised:
            await download(client)
    assert raised.value.reason == "Stalled"


async def test_a_task_without_weights_has_none_to_download() -> None:
    fake = FakeGateway(accounts=2)
    async with at(fake) as client:
        task = await client.task(1)
        assert (task.version, task.announced, task.round.round) == (0, None, 0)
        for call in (client.weights(task), client.weights(task, 1)):
            with pytest.raises(Unavailable) as raised:
                await call
            assert raised.value.reason == "NoModelYet"


async def test_a_model_that_nobody_here_can_read_is_said_as_such(fake: FakeGateway) -> None:
    fake.model = '{"format":99}'
    async with at(fake) as client:
        with pytest.raises(InvalidModel):
            await client.task(1)
        fake.model = classifier("other", Mlp((64, 33, 10)), tuple("0123456789")).to_json()
        with pytest.raises(DataLoss) as raised:
            await client.task(1)
        assert raised.value.reason == "WrongShape"


async def test_what_the_gateway_refuses_stays_what_it_said(fake: FakeGateway) -> None:
    """Its InvalidInput is the caller's fault, and is not taken for nonsense."""

    def refuses(error: Exception) -> Callable[[Any], Any]:
        def lie(_: Any) -> Any:
            raise error

        return lie

    async with at(fake) as client:
        for error in (InvalidInput("a bad request", reason="Bad"), NotFound("nothing", reason="Nothing")):
            fake.lies = dict.fromkeys(("GetTask", "GetModel", "WatchVersions"), refuses(error))
            task = fake.first.described()
            for call in (client.task(1), client.weights(task), client.next_version(1, 0)):
                with pytest.raises(LinkLearnerError) as raised:
                    await call
                assert (type(raised.value), raised.value.reason) == (type(error), error.reason)


async def test_who_finds_nobody_is_told_what_to_do() -> None:
    async with GatewayClient.connect("127.0.0.1:1", connect_s=0.2, remedy="start one") as client:
        for call in (client.task(1), client.accounts()):
            with pytest.raises(Unavailable, match=r"no chain gateway answers at 127\.0\.0\.1:1: start one"):
                await call
    async with GatewayClient.connect("127.0.0.1:1") as client:
        with pytest.raises(Unavailable) as raised:
            await client.task(1)
        assert raised.value.reason == "UNAVAILABLE"  # gRPC's own words


async def test_a_stream_of_versions_that_ends_is_to_be_opened_again(fake: FakeGateway) -> None:
    async def ending(request: Any, context: Any) -> AsyncIterator[Any]:
        return
        yield

    fake.WatchVersions = ending  # type: ignore[method-assign]
    async with at(fake) as client:
        with pytest.raises(Unavailable, match="ended the stream"):
            await client.next_version(1, 0)
