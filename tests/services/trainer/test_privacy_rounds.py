"""A trainer under differential privacy, over the wire: what leaves is counted, noised, and ends with the budget."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray

from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.errors import InvalidConfig, NotFound, Unavailable
from linklearner.domain.quantise import quantise_delta
from linklearner.rpc import convert
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import trainer_pb2 as pb
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from services.trainer import contributor, privacy, training
from services.trainer.accountant import Mechanism, epsilon
from services.trainer.config import TrainerConfig
from services.trainer.dpsgd import PrivateGradients
from services.trainer.journal import Journal
from services.trainer.ledger import PrivacyLedger
from services.trainer.privacy import COUNT_NOISE, DpSgd, DpUpdate, ProtectedRound
from services.trainer.trainer import Trainer, check
from tests.services.trainer.conftest import Connect, refused, train

PLACE = f"11820/{'aa' * 20}/1"
BOOK = f"{PLACE}/{'01' * 20}"
SGD = DpSgd(dp_epsilon=3.0, dp_noise_multiplier=6.0)
UPDATE = DpUpdate(dp_epsilon=3.0, dp_noise_multiplier=4.0)
COUNTS = Mechanism(1.0, COUNT_NOISE, 1)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributor, "RETRY_S", 0.02)
    monkeypatch.setattr(contributor, "LOOK_AGAIN_S", 0.1)


@pytest.fixture
def noised(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float64]]:
    """What each training gave after its noise, in order."""
    found: list[NDArray[np.float64]] = []
    really = ProtectedRound.protected

    def watched(self: ProtectedRound, delta: NDArray[np.float64]) -> NDArray[np.float64]:
        found.append(really(self, delta).copy())
        return found[-1]

    monkeypatch.setattr(ProtectedRound, "protected", watched)
    return found


def counted(folder: Path) -> tuple[Mechanism, ...]:
    return PrivacyLedger.open(folder / "trainer").spent(PLACE)


async def until_spent(stub: pb_grpc.TrainerServiceStub, name: str) -> int:
    """Trains until the trainer refuses; how often that was."""
    for count in range(50):
        try:
            await train(stub, f"{name}-{count}")
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "privacy budget of this task is spent" in str(error.details())
            return count
    raise AssertionError("a budget without an end")


@pytest.mark.parametrize("plan", [SGD, UPDATE], ids=["sgd", "update"])
async def test_each_update_says_what_is_spent_and_the_trainer_does_in_between(
    chain: FakeGateway, connect: Connect, tmp_path: Path, plan: DpSgd | DpUpdate
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with connect(dp=plan) as stub:
            before = convert.trainer_of(await stub.GetTrainer(pb.GetTrainerRequest())).privacy
            events = [convert.training_of(event) for event in await train(stub, "one")]
            after = convert.trainer_of(await stub.GetTrainer(pb.GetTrainerRequest()))
            await train(stub, "two")
            last = convert.trainer_of(await stub.GetTrainer(pb.GetTrainerRequest())).privacy
    assert before is not None and before.epsilon == 0 and before.rounds_left > 1
    (quantised,) = (event for event in events if isinstance(event, contributor.UpdateQuantised))
    assert quantised.privacy == after.privacy
    assert after.privacy is not None and last is not None
    assert after.privacy.mechanism == plan.NAME and after.privacy.epsilon_budget == 3 and after.privacy.delta == 1e-5
    assert 0 < after.privacy.epsilon < last.epsilon <= 3
    assert last.epsilon == epsilon(counted(tmp_path), 1e-5)
    assert after.privacy.rounds_left - last.rounds_left == 1
    # what no budget covers, nobody is told
    losses = [event.loss for event in events if isinstance(event, contributor.TrainingProgress)]
    assert len(losses) == 10 and all(map(math.isnan, losses))
    assert after.label_counts == () and after.samples == 323
    assert not any("loss" in entry for entry in logged)


@pytest.mark.parametrize("plan", [SGD, UPDATE], ids=["sgd", "update"])
async def test_a_trainer_stops_at_its_budget_and_a_restart_does_not_help(
    chain: FakeGateway, connect: Connect, tmp_path: Path, plan: DpSgd | DpUpdate
) -> None:
    async with connect(dp=plan) as stub:
        count = await until_spent(stub, "first")
        assert (await stub.GetTrainer(pb.GetTrainerRequest())).privacy.rounds_left == 0
    assert count >= 2
    spent = counted(tmp_path)
    assert epsilon(spent, 1e-5) <= 3 < epsilon([*spent, spent[-1]], 1e-5)
    asked = chain.submissions
    async with connect(dp=plan, seed=5) as stub:
        assert await until_spent(stub, "second") == 0
        assert (await stub.GetTrainer(pb.GetTrainerRequest())).privacy.rounds_left == 0
    assert counted(tmp_path) == spent
    assert chain.submissions == asked == count


async def test_a_trainer_that_works_by_itself_ends_with_its_budget_says_so_and_keeps_serving(
    chain: FakeGateway, tmp_path: Path, gateway: str
) -> None:
    config = TrainerConfig(
        listen="127.0.0.1:0",
        gateway=gateway,
        credential="",
        access=tmp_path / "access",
        steps=10,
        state_dir=tmp_path / "trainer",
        rounds=-1,
        dp=DpSgd(dp_epsilon=1.5, dp_noise_multiplier=6.0),
    )
    with structlog.testing.capture_logs() as logged:
        async with Trainer.start(config) as trainer:
            _, work = trainer._work
            async with asyncio.timeout(240):
                await work
    ends = [entry for entry in logged if entry.get("reason") == "PrivacyBudgetSpent"]
    assert len(ends) == 1 and "LINKLEARNER_TRAINER_DP_EPSILON" in ends[0]["detail"]
    prepared = [entry for entry in logged if entry["event"] == "update_prepared"]
    assert len(prepared) == chain.submissions >= 1
    assert [entry["epsilon"] for entry in prepared] == sorted(entry["epsilon"] for entry in prepared)
    assert prepared[-1]["rounds_left"] == 0 and prepared[-1]["epsilon_budget"] == 1.5


async def leave_in_the_middle(stub: pb_grpc.TrainerServiceStub) -> None:
    call = stub.TrainRound(pb.TrainRoundRequest(request_id="left"))
    async for event in call:
        if event.WhichOneof("event") == "progress":
            break
    call.cancel()
    while (await stub.GetTrainer(pb.GetTrainerRequest())).busy:
        await asyncio.sleep(0.05)


async def test_the_last_share_is_not_lost_to_a_caller_who_left(connect: Connect, tmp_path: Path) -> None:
    plan = DpUpdate(dp_epsilon=1.0, dp_noise_multiplier=5.0)  # fits once
    async with connect(dp=plan, steps=20_000) as stub:
        await leave_in_the_middle(stub)
        assert len(counted(tmp_path)) == 1, "counted before anything was made"
        assert (await stub.GetTrainer(pb.GetTrainerRequest())).privacy.rounds_left == 1
    async with connect(dp=plan) as stub:
        assert await until_spent(stub, "again") == 1
    assert len(counted(tmp_path)) == 1


async def test_everything_sent_follows_from_noised_deltas_alone(
    chain: FakeGateway, connect: Connect, noised: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    """Error feedback, too: the updates of five rounds are computed again from what came out of the noise, and nothing else."""
    async with connect(dp=SGD) as stub:
        for round in range(5):
            await train(stub, f"round-{round}", encoding=(2, 8)[round % 2])
    carried = np.zeros(chain.shape.weight_count)
    for number, delta in enumerate(noised, 1):
        encoding = (TWO_BITS, INT8)[(number - 1) % 2]
        again = quantise_delta(delta + carried, chain.shape, 1, number, encoding)
        assert again.update.encode(chain.shape) == chain.updates(number)[0].encode(chain.shape)
        carried = again.residual


async def test_every_step_that_is_counted_is_a_noised_one(
    chain: FakeGateway, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimiser gets nothing else: with noise switched off behind its back, all that moves the weights stands still."""
    taken: list[int] = []

    def silent(self: PrivateGradients, flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        taken.append(len(rows))
        return torch.zeros_like(flat), 0.0

    monkeypatch.setattr(PrivateGradients, "__call__", silent)
    async with connect(dp=SGD) as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "NothingToLearn"):
            await train(stub, "one")
    (share,) = (mechanism for mechanism in counted(tmp_path) if mechanism != COUNTS)
    assert len(taken) == share.steps == 20
    assert share.sample_rate == 64 / 323 and 40 < np.mean(taken) < 90 and len(set(taken)) > 3


async def test_what_was_trained_without_privacy_is_neither_carried_nor_sent_under_it(
    chain: FakeGateway, connect: Connect, noised: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    async with connect() as stub:
        await train(stub, "one")
        await train(stub, "two")  # learns that the first was merged, and carries what it left over
        chain.lose = "request"
        with refused(grpc.StatusCode.UNAVAILABLE):
            await train(stub, "three")
    with Journal.open(tmp_path / "trainer") as journal:
        bare = journal.held(BOOK, 2410)
        assert bare is not None and journal.residual(BOOK, 2410).any()
    async with connect(dp=SGD) as stub:
        for request in ("three", "four"):  # the very request, too
            await train(stub, request)
    sent = [update for number in range(1, len(chain.rounds) + 1) for update in chain.updates(number)]
    assert bare.digest not in [update.digest(chain.shape) for update in sent]
    assert len(sent) == 4
    first = quantise_delta(noised[0], chain.shape, 1, 3, TWO_BITS)
    assert sent[2] == first.update, "made from the noised delta alone"
    assert sent[3] == quantise_delta(noised[1] + first.residual, chain.shape, 1, 4, TWO_BITS).update


async def test_an_update_noised_before_a_crash_is_sent_after_it_and_counted_once(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    chain.lose = "request"
    async with connect(dp=SGD) as stub:
        with refused(grpc.StatusCode.UNAVAILABLE):
            await train(stub, "one")
    spent = counted(tmp_path)
    async with connect(dp=SGD) as stub:
        await train(stub, "one")
    assert counted(tmp_path) == spent and len(chain.updates(1)) == 1


@contextmanager
def broken(where: Any, name: str) -> Iterator[None]:
    """The process does not get beyond this point."""

    def dies(*_: object, **__: object) -> None:
        raise Unavailable("the power is out")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, dies)
        yield


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (PrivacyLedger, "reserve"),
        (training, "train"),
        (contributor, "quantise_delta"),
        (Journal, "hold"),
        (privacy.Privacy, "close"),
    ],
    ids=["before counting", "in training", "before quantising", "before holding", "before closing"],
)
async def test_a_round_that_breaks_off_anywhere_leaves_no_update_uncounted(
    chain: FakeGateway, connect: Connect, tmp_path: Path, where: Any, name: str
) -> None:
    async with connect(dp=SGD) as stub:
        for attempt in range(3):
            with broken(where, name), refused(grpc.StatusCode.UNAVAILABLE):
                await train(stub, f"broken-{attempt}")
        assert chain.submissions == 0
        await train(stub, "whole")
    rounds = [mechanism for mechanism in counted(tmp_path) if mechanism != COUNTS]
    assert len(rounds) == 1, "four trainings, one update, one share"
    assert chain.submissions == 1
    sent = chain.updates(1)[0].digest(chain.shape)
    assert PrivacyLedger.open(tmp_path / "trainer").closed_by(PLACE, sent)


async def test_a_caller_cannot_have_shares_counted_that_no_round_uses(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    async with connect(dp=SGD) as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "StepsAreCounted") as why:
            await train(stub, "other", step_count=21)
        assert "own 20 steps" in why[0].message
        assert counted(tmp_path) == ()
        await train(stub, "same", step_count=20)
    async with connect(dp=UPDATE) as stub:  # whose noise is the same, whatever was trained
        await train(stub, "any", step_count=30)


async def test_several_tasks_of_one_data_set_are_warned_of(tmp_path: Path, gateway: str) -> None:
    config = TrainerConfig(
        listen="127.0.0.1:0", gateway=gateway, credential="", access=tmp_path / "access", task="1,2",
        state_dir=tmp_path / "trainer", dp=SGD,
    )  # fmt: skip
    with structlog.testing.capture_logs() as logged:
        async with Trainer.start(config):
            pass
    assert [entry["tasks"] for entry in logged if entry["event"] == "privacy_budgets_add_up"] == [2]


async def test_a_training_goes_on_from_its_checkpoint_under_the_same_share_and_under_no_other_noise(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    async def cut_short(plan: DpSgd) -> None:
        async with connect(dp=plan, steps=1000) as stub:
            await leave_in_the_middle(stub)

    async def finished(plan: DpSgd, request_id: str) -> list[int]:
        with structlog.testing.capture_logs() as logged:
            async with connect(dp=plan, steps=1000) as stub:
                await train(stub, request_id)
        return [entry["step"] for entry in logged if entry["event"] == "training_resumed"]

    loud, quiet = (DpSgd(dp_epsilon=100.0, dp_noise_multiplier=noise) for noise in (8.0, 7.0))
    await cut_short(loud)
    assert await finished(quiet, "one") == [], "steps with other noise are not gone on from"
    await cut_short(loud)
    assert [step >= 100 for step in await finished(loud, "two")] == [True]
    rounds = [mechanism for mechanism in counted(tmp_path) if mechanism != COUNTS]
    assert [mechanism.noise_multiplier for mechanism in rounds] == [8.0, 7.0]
    assert len(chain.updates(1)) == len(chain.updates(2)) == 1


def test_a_time_budget_is_no_number_of_steps() -> None:
    with pytest.raises(InvalidConfig, match="seconds must be 0 with dp=sgd, got 5"):
        TrainerConfig(dp=SGD, seconds=5.0)
    assert TrainerConfig(dp=UPDATE, seconds=5.0).seconds == 5


async def test_another_account_has_no_second_budget(
    chain: FakeGateway, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = DpUpdate(dp_epsilon=1.0, dp_noise_multiplier=5.0)
    async with connect(dp=plan) as stub:
        assert await until_spent(stub, "one") == 1
    chain.accounts = (b"\x09" * 20,)  # the gateway's key was exchanged
    async with connect(dp=plan) as stub:
        assert await until_spent(stub, "two") == 0


async def test_an_update_is_noised_by_as_much_as_is_counted(
    chain: FakeGateway, connect: Connect, noised: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    async with connect(dp=DpUpdate(dp_noise_multiplier=2.0, dp_max_update_norm=0.1)) as stub:
        await train(stub, "one", encoding=8)
    (delta,) = noised
    assert delta.std() == pytest.approx(
        2 * 0.1 * 2.0, rel=0.06
    )  # the clipped delta is a quarter of a hundredth of this
    sent = np.ldexp(chain.updates(1)[0].delta(chain.shape), -12)
    assert sent.std() == pytest.approx(2 * 0.1 * 2.0, rel=0.06)
    assert counted(tmp_path) == (Mechanism(1.0, 2.0, 1),)


async def test_the_trainer_keeps_its_last_update_over_a_restart(
    chain: FakeGateway, connect: Connect, tmp_path: Path
) -> None:
    async with connect() as stub:
        with refused(grpc.StatusCode.NOT_FOUND, "NoUpdate"):
            await stub.GetLastUpdate(pb.GetLastUpdateRequest())
        await train(stub, "one")
        await train(stub, "two")
        newest = chain.updates(2)[0].encode(chain.shape)
        assert (await stub.GetLastUpdate(pb.GetLastUpdateRequest())).update == newest
    async with connect() as stub:
        assert (await stub.GetLastUpdate(pb.GetLastUpdateRequest())).update == newest


async def test_a_copy_that_cannot_be_kept_holds_nothing_up(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "last-update-1.bin").mkdir()
    with structlog.testing.capture_logs() as logged:
        async with connect() as stub:
            assert (await train(stub, "one"))[-1].HasField("submitted")
    assert [entry["event"] for entry in logged].count("update_not_kept") == 1
    with pytest.raises(NotFound):
        contributor.LastUpdate(tmp_path / "trainer", 1).read()


# --- settings


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"DP": "yes"}, "LINKLEARNER_TRAINER_DP must be off, sgd or update, got 'yes'"),
        ({"DP_EPSILON": "8"}, "LINKLEARNER_TRAINER_DP_EPSILON is no setting here"),
        ({"DP": "off", "DP_ROUNDS": "3"}, "LINKLEARNER_TRAINER_DP_ROUNDS is no setting here"),
        ({"DP": "update", "DP_MAX_GRAD_NORM": "1"}, "LINKLEARNER_TRAINER_DP_MAX_GRAD_NORM is no setting here"),
        ({"DP": "sgd", "DP_MAX_UPDATE_NORM": "1"}, "LINKLEARNER_TRAINER_DP_MAX_UPDATE_NORM is no setting here"),
        ({"DP": "sgd", "DP_EPSILON": "0"}, "LINKLEARNER_TRAINER_DP_EPSILON must be between 0.01 and 1000, got 0.0"),
        ({"DP": "sgd", "DP_EPSILON": "-1"}, "must be between 0.01 and 1000"),
        ({"DP": "sgd", "DP_EPSILON": "nan"}, "must be a number between 0.01 and 1000, got 'nan'"),
        ({"DP": "sgd", "DP_EPSILON": "inf"}, "must be a number between 0.01 and 1000"),
        ({"DP": "sgd", "DP_DELTA": "0"}, "LINKLEARNER_TRAINER_DP_DELTA must be between 1e-15 and 0.1, got 0.0"),
        ({"DP": "sgd", "DP_DELTA": "1"}, "LINKLEARNER_TRAINER_DP_DELTA must be between 1e-15 and 0.1, got 1.0"),
        ({"DP": "sgd", "DP_MAX_GRAD_NORM": "0"}, "must be between 1e-06 and 1000000"),
        ({"DP": "update", "DP_MAX_UPDATE_NORM": "-3"}, "must be between 1e-06 and 1000000"),
        ({"DP": "sgd", "DP_NOISE_MULTIPLIER": "-1"}, "must be between 0 and 1000"),
        ({"DP": "sgd", "DP_ROUNDS": "0"}, "LINKLEARNER_TRAINER_DP_ROUNDS must be between 1 and 1048576, got 0"),
        ({"DP": "sgd", "DP_ROUNDS": "2.5"}, "must be a whole number between 1 and 1048576"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(variables: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        TrainerConfig.from_environment({f"LINKLEARNER_TRAINER_{name}": text for name, text in variables.items()})
    assert why in raised.value.message


def test_settings_are_read_in_opacus_s_terms() -> None:
    names = {"DP": "sgd", "DP_EPSILON": "3", "DP_DELTA": "1e-6", "DP_MAX_GRAD_NORM": "0.5", "DP_ROUNDS": "20"}
    found = TrainerConfig.from_environment({f"LINKLEARNER_TRAINER_{name}": text for name, text in names.items()}).dp
    assert found == DpSgd(dp_epsilon=3.0, dp_delta=1e-6, dp_max_grad_norm=0.5, dp_rounds=20)
    assert TrainerConfig.from_environment({}).dp == privacy.OFF


async def test_a_delta_that_would_allow_to_show_a_sample_is_refused_at_the_start(connect: Connect) -> None:
    with pytest.raises(InvalidConfig, match=r"dp_delta must be less than 1/323 for 323 samples, got 0\.01"):
        async with connect(dp=DpSgd(dp_delta=0.01)):
            pass
    with pytest.raises(InvalidConfig, match=r"dp_delta must be less than 1/1438"):
        check(TrainerConfig(dp=DpSgd(dp_delta=0.01)))


@pytest.mark.parametrize("plan", [DpSgd(dp_rounds=3), DpUpdate(dp_rounds=3)], ids=["sgd", "update"])
def test_the_noise_follows_from_epsilon_and_lasts_for_the_planned_rounds(
    tmp_path: Path, plan: DpSgd | DpUpdate
) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    one = privacy.Privacy(plan, ledger, 300)
    recipe = privacy.Recipe()
    for left in (2, 1, 0):
        round = one.begin(PLACE, np.full(10, 30), recipe, 1)
        one.close(round, bytes(32))
        assert round.spent.rounds_left == left
    assert 7.9 < round.spent.epsilon <= 8.0
    with pytest.raises(contributor.Exhausted):
        one.begin(PLACE, np.full(10, 30), recipe, 1)


def test_noised_counts_are_what_the_training_gets(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    counts = np.array([1000, 0])
    found: list[NDArray[np.float64]] = []
    for place in map(str, range(30)):
        steps = privacy.Privacy(SGD, ledger, 1000).begin(place, counts, privacy.Recipe(), 1).steps
        assert steps is not None and steps.label_counts is not None
        found.append(steps.label_counts)
    drawn = np.stack(found)
    assert drawn.min() >= 1 and (drawn[:, 1] == 1).any() and (drawn[:, 1] > 1).any()
    assert 0.6 < (drawn[:, 0] - 1000).std() / COUNT_NOISE < 1.5
    plain = privacy.Privacy(SGD, ledger, 1000).begin("none", None, privacy.Recipe(), 1).steps
    assert plain is not None and plain.label_counts is None
