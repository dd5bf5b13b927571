"""Contributing over the wire: events, idempotence, refusals, crashes; against a small chain in memory."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from linklearner.domain.classifier import classifier
from linklearner.domain.digest import model_digest
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.graph import Constant, Graph, Node, Signature, TensorSpec
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.operators import Datatype
from linklearner.rpc.access import OPERATOR, Credential, Role
from linklearner.rpc.channel import channel
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import model_pb2
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from services.trainer import training
from services.trainer.config import TrainerConfig
from services.trainer.journal import Journal
from services.trainer.trainer import Trainer
from tests.services.trainer.conftest import Connect, refused, train

BOOK = f"11820/{'aa' * 20}/1/{'01' * 20}"


@pytest.fixture
def deltas(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float64]]:
    """What each local training gave, in order."""
    found: list[NDArray[np.float64]] = []
    train_really = training.train

    def watched(*arguments: object, **hooks: object) -> NDArray[np.float64]:
        found.append(train_really(*arguments, **hooks))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(training, "train", watched)
    return found


def residual(folder: Path) -> NDArray[np.float64]:
    with Journal.open(folder / "trainer") as journal:
        return journal.residual(BOOK, 2410)


async def test_a_round_tells_each_step_and_ends_with_the_chains_answer(chain: FakeGateway, connect: Connect) -> None:
    async with connect() as stub:
        events = await train(stub, "one")
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["pulled", *["progress"] * 10, "quantised", "submitted"]
    assert events[0].pulled.version.version == 1
    assert [event.progress.step for event in events[1:11]] == list(range(2, 21, 2))
    assert all(event.progress.step_count == 20 and event.progress.loss > 0 for event in events[1:11])
    quantised, submitted = events[-2].quantised, events[-1].submitted
    (update,) = chain.updates(1)
    assert quantised.digest == submitted.digest == update.digest(chain.shape)
    assert quantised.update_bytes == len(update.encode(chain.shape))
    assert (quantised.page_count, quantised.pages_total) == (2, 2)
    assert 0 < quantised.residual_ratio < 1
    assert submitted.round == 1 and submitted.weight_units > 0


async def test_five_trainers_in_one_process_learn_the_digits(tmp_path: Path) -> None:
    chain = FakeGateway(seed=1, accounts=5)
    async with chain.served() as address, AsyncExitStack() as stack:
        stubs = []
        operator = Credential.kept(tmp_path / "access" / OPERATOR, Role.SPEND)
        for i, account in enumerate(chain.accounts):
            config = TrainerConfig(
                listen="127.0.0.1:0",
                gateway=address,
                credential="",
                access=tmp_path / "access",
                account="0x" + account.hex(),
                shard=f"{i}/5",
                state_dir=tmp_path / str(i),
            )
            trainer = await stack.enter_async_context(Trainer.start(config))
            await trainer.ready()
            stubs.append(
                pb_grpc.TrainerServiceStub(await stack.enter_async_context(channel(trainer.address, operator)))
            )
        for round in range(5):
            await asyncio.gather(*(train(stub, f"round-{round}") for stub in stubs))
        score = await stubs[0].Evaluate(pb.EvaluateRequest())
    assert score.version.version == 6 and score.sample_count == 359
    assert score.value >= 0.95


@pytest.mark.parametrize("encoding", ENCODINGS.values())
async def test_the_request_chooses_the_encoding_and_the_number_of_steps(
    chain: FakeGateway, connect: Connect, encoding: Encoding
) -> None:
    async with connect() as stub:
        events = await train(stub, "one", encoding=encoding.code, step_count=10)
    assert events[-2].quantised.encoding == encoding.code
    assert events[-3].progress.step_count == 10
    assert chain.updates(1)[0].encoding is encoding


async def test_what_quantising_left_over_is_added_to_the_next_update(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    async with connect() as stub:
        for round in range(4):
            await train(stub, f"round-{round}", encoding=(2, 8)[round % 2])
        chain.refuse = "NoStake"
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "NoStake"):
            await train(stub, "refused")
        await train(stub, "last")
        await train(stub, "one more to learn the status of the last")
    del deltas[4]  # the refused one: never merged, so not part of the sum
    sent = [np.ldexp(chain.updates(round)[0].delta(chain.shape), -12) for round in range(1, 7)]
    kept = residual(tmp_path)
    assert np.abs(kept).max() > 0
    grid = 2.0**-44 * len(sent)  # each delta is first rounded to 2**-32 of a step of 2**-12
    np.testing.assert_allclose(sum(deltas[:5]), sum(sent[:5]) + kept, rtol=0, atol=grid)


async def test_the_same_request_is_trained_and_submitted_once(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    async with connect() as stub:
        first = await train(stub, "one")
        again = await train(stub, "one")
    async with connect() as restarted:
        later = await train(restarted, "one")
    assert again == later == first[-1:]
    assert len(deltas) == 1 and chain.submissions == 1


async def test_the_same_request_at_the_same_time_waits_for_the_first(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    async with connect() as stub:
        first, second = await asyncio.gather(train(stub, "one"), train(stub, "one"))
    assert min(first, second, key=len) == max(first, second, key=len)[-1:]
    assert len(deltas) == 1 and len(chain.updates(1)) == 1


async def test_a_request_id_with_other_settings_is_refused(connect: Connect) -> None:
    async with connect() as stub:
        await train(stub, "one")
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "RequestIdReused"):
            await train(stub, "one", encoding=model_pb2.ENCODING_INT8)


async def test_one_round_at_a_time(chain: FakeGateway, connect: Connect) -> None:
    chain.hold.clear()
    async with connect() as stub:
        first = asyncio.create_task(train(stub, "one"))
        while not chain.submissions:
            await asyncio.sleep(0.01)
        assert (await stub.GetTrainer(pb.GetTrainerRequest())).busy
        async with asyncio.timeout(20):
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "Exhausted"):
                await train(stub, "two")
        chain.hold.set()
        await first
        assert not (await stub.GetTrainer(pb.GetTrainerRequest())).busy


async def test_a_second_update_in_one_round_is_refused_before_training(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    chain.auto_settle = False
    async with connect() as stub:
        await train(stub, "one")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "AlreadySubmitted") as why:
            await train(stub, "two")
        assert "settled" in why[0].message
        chain.settle()
        await train(stub, "two")
    assert len(deltas) == 2 and len(chain.updates(2)) == 1


async def test_weights_that_move_while_training_mean_call_again(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    chain.auto_settle = False
    async with connect() as stub:
        call = stub.TrainRound(pb.TrainRoundRequest(request_id="one"))
        assert (await call.read()).pulled.version.version == 1
        chain.publish(weights_of(2))
        with refused(grpc.StatusCode.ABORTED, "StaleBase"):
            async for _ in call:
                pass
        chain.auto_settle = True
        events = await train(stub, "one")
        assert events[0].pulled.version.version == 2 and events[-1].submitted.round == 2
    assert not residual(tmp_path).any()  # nothing is merged for sure yet


async def test_a_refused_request_may_be_repeated_in_the_same_round(chain: FakeGateway, connect: Connect) -> None:
    chain.refuse = "NoStake"
    async with connect() as stub:
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "NoStake"):
            await train(stub, "one")
        assert (await train(stub, "one"))[-1].submitted.round == 1  # the same training, the same bytes, another answer


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_an_update_whose_answer_is_missing_lands_once(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]], lost: str
) -> None:
    chain.lose = lost
    async with connect() as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "ChainAway"):
            await train(stub, "one")
    async with connect() as restarted:
        events = await train(restarted, "one")
    assert [event.WhichOneof("event") for event in events] == ["submitted"]
    assert len(deltas) == 1 and [len(one.contributions) for one in chain.rounds] == [1, 0]
    assert events[0].submitted.digest == chain.updates(1)[0].digest(chain.shape)


async def test_a_new_request_takes_up_what_a_crash_left_behind(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    chain.lose = "request"
    async with connect() as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "ChainAway"):
            await train(stub, "one")
    async with connect() as restarted:
        second = await train(restarted, "two")
        assert second == await train(restarted, "one") == await train(restarted, "two")
    assert len(deltas) == 1 and len(chain.updates(1)) == 1


async def test_after_a_lost_answer_the_residual_counts_exactly_once(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    chain.lose = "answer"
    async with connect() as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "ChainAway"):
            await train(stub, "one")  # landed, and settled at once
        await train(stub, "two")
        await train(stub, "two")
        await train(stub, "three")
    sent = sum(np.ldexp(chain.updates(round)[0].delta(chain.shape), -12) for round in (1, 2))
    np.testing.assert_allclose(sum(deltas[:2]), sent + residual(tmp_path), rtol=0, atol=2.0**-42)


async def test_a_dropped_round_leaves_the_residual_as_it_was(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    async with connect() as stub:
        await train(stub, "one")  # merged into version 2
        chain.auto_settle = False
        await train(stub, "two")
        before = await asyncio.to_thread(lambda: np.ldexp(chain.updates(1)[0].delta(chain.shape), -12))
        chain.drop()
        chain.auto_settle = True
        await train(stub, "three")
        assert chain.rounds[2].base_version == 2 and len(chain.updates(3)) == 1
    np.testing.assert_allclose(residual(tmp_path), deltas[0] - before, rtol=0, atol=2.0**-42)


async def test_an_update_on_its_way_over_a_drop_is_found_in_the_later_round(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    chain.lose = "request"
    async with connect() as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "ChainAway"):
            await train(stub, "one")
        chain.drop()
        (event,) = await train(stub, "one")
        assert event.submitted.round == 2
        await train(stub, "two")
    sent = np.ldexp(chain.updates(2)[0].delta(chain.shape), -12)
    np.testing.assert_allclose(residual(tmp_path), deltas[0] - sent, rtol=0, atol=2.0**-42)


async def test_nothing_is_carried_over_to_another_chain(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    async with connect() as stub:
        await train(stub, "one")
        chain.chain_id = 1338
        events = await train(stub, "one")
    assert len(events) > 1 and len(deltas) == 2


async def test_a_caller_who_leaves_stops_the_training_and_changes_nothing(chain: FakeGateway, connect: Connect) -> None:
    async with connect(steps=100_000) as stub:
        call = stub.TrainRound(pb.TrainRoundRequest(request_id="one"))
        await call.read()
        call.cancel()
        async with asyncio.timeout(20):
            while (await stub.GetTrainer(pb.GetTrainerRequest())).busy:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            await train(stub, "two", step_count=10)
    assert chain.submissions == 1


async def test_weights_that_do_not_give_their_digest_are_not_trained_on(
    chain: FakeGateway, connect: Connect, deltas: list[NDArray[np.float64]]
) -> None:
    chain.bodies[1] = b"?" + chain.bodies[1][1:]
    async with connect() as stub:
        with refused(grpc.StatusCode.DATA_LOSS, "WrongDigest"):
            await train(stub, "one")
        with refused(grpc.StatusCode.DATA_LOSS, "WrongDigest"):
            await stub.Evaluate(pb.EvaluateRequest())
    assert not deltas and not chain.submissions


async def test_a_nan_in_a_delta_goes_nowhere(
    chain: FakeGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training, "train", lambda *arguments, **hooks: np.full(2410, np.nan))
    async with connect() as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "NotFinite"):
            await train(stub, "one")
    assert not chain.submissions and not residual(tmp_path).any()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"step_count": 9}, "OutOfRange"), ({"step_count": 1_000_001}, "OutOfRange"), ({"encoding": 3}, "InvalidInput")],
)
async def test_settings_out_of_range_are_refused(connect: Connect, settings: dict[str, int], reason: str) -> None:
    async with connect() as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, reason):
            await train(stub, "one", **settings)


@pytest.mark.parametrize("request_id", ["", "x" * 129])
async def test_a_request_id_has_1_to_128_characters(connect: Connect, request_id: str) -> None:
    async with connect() as stub:
        await train(stub, "x" * 128)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput"):
            await train(stub, request_id)


async def test_samples_that_do_not_fit_the_task_are_refused(connect: Connect, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=generator.normal(size=(200, 63)), y=np.arange(200) % 10)
    async with connect(data=f"npz:{tmp_path / 'mine.npz'}", shard="0/1") as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput") as why:
            await train(stub, "one")
    assert "takes rows of 64 numbers, not of 63" in why[0].message


async def test_a_task_that_does_not_exist_is_not_found(connect: Connect) -> None:
    async with connect(task=2) as stub:
        with refused(grpc.StatusCode.NOT_FOUND, "UnknownTask"):
            await train(stub, "one")


async def test_without_a_gateway_the_trainer_says_what_to_do(connect: Connect) -> None:
    async with connect(gateway="127.0.0.1:1") as stub:
        with refused(grpc.StatusCode.UNAVAILABLE, "Unavailable") as why:
            await train(stub, "one")
    assert "services.chain_gateway" in why[0].message and "LINKLEARNER_TRAINER_GATEWAY" in why[0].message


async def test_the_trainer_says_what_it_is(chain: FakeGateway, connect: Connect) -> None:
    async with connect() as stub:
        answer = await stub.GetTrainer(pb.GetTrainerRequest())
    assert answer.account == chain.accounts[0] and answer.task == 1
    assert sum(answer.label_counts) == answer.sample_count and len(answer.label_counts) == 10
    assert answer.held_out_count == 359 and not answer.busy


async def test_any_version_can_be_measured(chain: FakeGateway, connect: Connect) -> None:
    async with connect(steps=100) as stub:
        await train(stub, "one")
        first = await stub.Evaluate(pb.EvaluateRequest(version=1))
        newest = await stub.Evaluate(pb.EvaluateRequest())
        with refused(grpc.StatusCode.NOT_FOUND, "UnknownVersion"):
            await stub.Evaluate(pb.EvaluateRequest(version=3))
    assert (first.version.version, newest.version.version) == (1, 2)
    assert newest.value > first.value + 0.3 and newest.loss < first.loss


async def test_an_export_is_onnx_and_agrees_with_torch(chain: FakeGateway, connect: Connect) -> None:
    async with connect() as stub:
        await train(stub, "one")
        export = await stub.ExportModel(pb.ExportModelRequest(version=2))
    assert export.version.digest == model_digest(chain.weights[1], chain.shape)
    assert export.max_abs_difference < 1e-4
    session = onnxruntime.InferenceSession(export.onnx, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["digest"] == export.version.digest.hex()
    assert session.run(None, {"pixels": np.zeros((1, 64), dtype=np.float32)})[0].shape == (1, 10)


async def test_a_task_of_another_shape_works_with_a_users_own_samples(tmp_path: Path, connect: Connect) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 2, 2))
    np.savez(tmp_path / "mine.npz", x=x, y=(x.sum(axis=(1, 2)) > 0).astype(np.int64))
    chain = FakeGateway(seed=1, spec=classifier("signs", Mlp((4, 8, 2)), ("no", "yes")))
    source = f"npz:{tmp_path / 'mine.npz'}"
    async with chain.served() as address, connect(data=source, shard="0/1", gateway=address, steps=100) as stub:
        await train(stub, "one")
        score = await stub.Evaluate(pb.EvaluateRequest())
    assert score.sample_count == 60 and score.value > 0.8


async def test_a_table_of_text_labels_is_learnt_from_and_measured_by_name(tmp_path: Path, connect: Connect) -> None:
    """The task's labels are in another order than the alphabet's, which is the data's."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4))
    text = "a,b,c,d,sign\n" + "".join(
        f"{','.join(f'{number:.4f}' for number in row)},{'plus' if row.sum() > 0 else 'minus'}\n" for row in x
    )
    (tmp_path / "mine.csv").write_text(text)
    chain = FakeGateway(seed=1, spec=classifier("signs", Mlp((4, 8, 2)), ("plus", "minus")))
    source = f"csv:{tmp_path / 'mine.csv'}?target=sign"
    async with chain.served() as address, connect(data=source, shard="0/1", gateway=address, steps=100) as stub:
        await train(stub, "one")
        score = await stub.Evaluate(pb.EvaluateRequest())
        answer = await stub.GetTrainer(pb.GetTrainerRequest())
    assert score.sample_count == 60 and score.value > 0.8
    assert len(answer.label_counts) == 2 and sum(answer.label_counts) == 240


async def test_a_regression_is_learnt_from_a_public_source(connect: Connect) -> None:
    graph = Graph(
        inputs=(Signature("x", Datatype.FP32, (10,)),),
        outputs=(Signature("y", Datatype.FP32, (1,)),),
        parameters=(TensorSpec("W", (1, 10)), TensorSpec("b", (1,))),
        constants=(Constant("input_scale", (), (16.0,)), Constant("output_scale", (), (128.0,))),
        nodes=(
            Node("Mul", ("x", "input_scale"), "scaled"),
            Node("Gemm", ("scaled", "W", "b"), "line", {"transB": 1}),
            Node("Mul", ("line", "output_scale"), "y"),
        ),
    )
    chain = FakeGateway(seed=1, spec=ModelSpec("diabetes", graph, Loss.MEAN_SQUARED_ERROR))
    async with chain.served() as address, connect(data="diabetes", gateway=address, steps=200, encoding="int8") as stub:
        first = await stub.Evaluate(pb.EvaluateRequest())
        for number in range(3):
            await train(stub, f"round {number}")
        score = await stub.Evaluate(pb.EvaluateRequest())
        answer = await stub.GetTrainer(pb.GetTrainerRequest())
    assert score.sample_count == 90 and score.loss < first.loss and score.value > 0.2
    assert not answer.label_counts
