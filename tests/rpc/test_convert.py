"""What is written as a message is read as it was; what no gateway may say is not read."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain import tasks as chain
from linklearner.domain import training
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import ENCODINGS
from linklearner.domain.errors import InvalidInput
from linklearner.domain.model import ModelVersion
from linklearner.domain.rounds import Due, Phase, Step, Terms
from linklearner.domain.rules.evidence.batches import MAX_BATCHES
from linklearner.domain.rules.evidence.verdicts import MAX_GAIN, MAX_RECORD, Outcome
from linklearner.rpc import convert
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import model_pb2

UINT32, MOST = 2**32 - 1, convert.MAX_NUMBER
ADDRESS, DIGEST = st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32)
NUMBER, SMALL, FROM_1 = st.integers(0, MOST), st.integers(0, UINT32), st.integers(1, MOST)
WEI = st.integers(0, 2**256 - 1)

MINED = st.builds(chain.Mined, DIGEST, NUMBER, NUMBER, NUMBER)
STAKE = st.builds(chain.StakeStatus, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER)
RECEIPTS = st.lists(MINED, max_size=2).map(tuple)
RECORD = st.integers(-MAX_RECORD, MAX_RECORD)
EARNINGS = st.builds(lambda a, b, c, d: chain.Earnings(max(a, b), min(a, b), c, d), WEI, WEI, WEI, WEI)
FUNDED = st.builds(chain.Funded, MINED, WEI)
VERSION = st.builds(ModelVersion, NUMBER, FROM_1, DIGEST, NUMBER, NUMBER, SMALL, NUMBER)
TERMS = st.builds(
    Terms,
    rule=st.integers(0, 2**8 - 1),
    quorum_bps=st.integers(0, 2**16 - 1),
    max_updates=st.integers(0, 2**16 - 1),
    min_round_seconds=SMALL,
    round_seconds=SMALL,
    drop_seconds=SMALL,
    stake_seconds=SMALL,
    min_stake=st.integers(0, 2**40 - 1),
    settler_bps=st.integers(0, 2**16 - 1),
    server_bps=st.integers(0, 2**16 - 1),
    reward=st.integers(0, 2**128 - 1),
)
DUE = st.builds(Due, st.sampled_from(Step), NUMBER, NUMBER)
STATUS = st.builds(
    chain.RoundStatus,
    NUMBER,
    SMALL,
    NUMBER,
    NUMBER,
    SMALL,
    NUMBER,
    NUMBER,
    NUMBER,
    phase=st.none() | st.sampled_from(Phase),
    due=st.lists(DUE, max_size=3).map(tuple),
)


@st.composite
def verdicts(draw: st.DrawFn) -> chain.Judged:
    record = draw(RECORD)
    likely = [one for one in Outcome if one is Outcome.EMPTY or (one is Outcome.NO_RECORD) == (record <= 0)]
    return chain.Judged(draw(st.integers(-MAX_GAIN, MAX_GAIN)), record, draw(st.sampled_from(likely)))


@st.composite
def contributions(draw: st.DrawFn) -> chain.Contribution:
    verdict, paid = draw(st.none() | verdicts()), draw(st.none() | WEI)
    if verdict is not None and not verdict.merged:
        paid = 0
    return chain.Contribution(
        draw(ADDRESS), draw(DIGEST), draw(NUMBER), draw(NUMBER), draw(MINED), draw(NUMBER), paid, verdict
    )


@st.composite
def example_sets(draw: st.DrawFn) -> chain.ExampleSet:
    batches = draw(st.integers(1, MAX_BATCHES))
    examples = draw(st.integers(batches, UINT32))
    opened = draw(st.integers(0, batches))
    shown = draw(st.integers(opened, examples))
    return chain.ExampleSet(draw(DIGEST), batches, examples, draw(st.integers(0, 15)), opened, shown)


@st.composite
def round_examples(draw: st.DrawFn) -> chain.RoundExamples:
    opened = draw(st.integers(1, 2**16))
    return chain.RoundExamples(draw(SMALL), draw(st.integers(1, opened)), opened, draw(MINED))


CONTRIBUTION = contributions()
OPENED_BATCH = st.builds(
    chain.OpenedBatch, SMALL, FROM_1, st.binary(max_size=40), st.lists(DIGEST, max_size=3).map(tuple)
)
SUBMITTED = st.builds(chain.Submitted, MINED, DIGEST, FROM_1, NUMBER, NUMBER)
ENCODING, REAL, SHARE = st.sampled_from(list(ENCODINGS.values())), st.floats(allow_nan=False), st.floats(0, 1)


BUDGET = st.floats(0, 1e6) | st.just(float("inf"))
SPENT = st.builds(
    training.PrivacySpent, st.text(max_size=9), BUDGET, SHARE.filter(lambda delta: delta < 1), *[BUDGET] * 3, SMALL
)


@st.composite
def training_events(draw: st.DrawFn) -> training.TrainingEvent:
    part, whole = sorted((draw(st.integers(1, UINT32)), draw(st.integers(1, UINT32))))
    quantised = training.UpdateQuantised(
        draw(ENCODING), draw(SMALL), part, whole, draw(REAL), draw(DIGEST), draw(st.none() | SPENT)
    )
    progress = training.TrainingProgress(part, whole, draw(REAL))
    waits = training.TrainingWaits(draw(st.text(max_size=20)), draw(st.text(max_size=50)), draw(NUMBER))
    return draw(st.sampled_from([training.ModelPulled(draw(VERSION)), progress, waits, quantised, draw(SUBMITTED)]))


@st.composite
def tasks(draw: st.DrawFn) -> chain.Task:
    version, status = draw(st.none() | VERSION), draw(STATUS)
    if version is not None:
        status = replace(status, round=max(1, status.round))
    closed = status.round != 0 and status.opened_s == 0
    return chain.Task(
        task=draw(NUMBER) if version is None else version.task,
        creator=draw(ADDRESS),
        model=DIGITS.to_json(),
        shape=SHAPE,
        terms=draw(TERMS),
        pot=draw(WEI),
        shares=draw(WEI),
        closing=closed or draw(st.booleans()),
        version=0 if version is None else version.version,
        announced=version,
        round=status,
        examples=draw(st.none() | example_sets()),
    )


@st.composite
def rounds(draw: st.DrawFn) -> chain.Round:
    version = draw(st.none() | VERSION)
    contributions, settlements = (tuple(draw(st.lists(one, max_size=2))) for one in (CONTRIBUTION, MINED))
    dropped = draw(st.booleans())  # with a version: it was merged in part
    settler, fee = (b"", 0) if version is None or dropped else (draw(ADDRESS), draw(WEI))
    examples = draw(round_examples() if any(one.verdict for one in contributions) else st.none() | round_examples())
    return chain.Round(draw(FROM_1), draw(FROM_1), contributions, version, settlements, settler, fee, dropped, examples)


@st.composite
def activities(draw: st.DrawFn) -> training.TaskActivity:
    step = draw(SMALL)
    return training.TaskActivity(
        task=draw(FROM_1),
        activity=draw(st.sampled_from(training.Activity)),
        since_s=draw(NUMBER),
        reason=draw(st.text(max_size=20)),
        detail=draw(st.text(max_size=50)),
        again_s=draw(NUMBER),
        round=draw(NUMBER),
        step=step,
        step_count=draw(st.integers(step, 2**32 - 1)),
        cpu_seconds=draw(st.floats(0, 1e9)),
    )


PAIRS: list[tuple[st.SearchStrategy[Any], Any, Any]] = [
    (MINED, convert.receipt_message, convert.receipt_of),
    (STAKE, convert.stake_message, convert.stake_of),
    (VERSION, convert.version_message, convert.version_of),
    (TERMS, convert.terms_message, convert.terms_of),
    (DUE, convert.due_message, convert.due_of),
    (STATUS, convert.round_status_message, convert.round_status_of),
    (tasks(), convert.task_message, convert.task_of),
    (CONTRIBUTION, convert.contribution_message, convert.contribution_of),
    (example_sets(), convert.example_set_message, convert.example_set_of),
    (OPENED_BATCH, convert.opened_batch_message, convert.opened_batch_of),
    (verdicts(), convert.verdict_message, convert.verdict_of),
    (round_examples(), convert.round_examples_message, convert.round_examples_of),
    (rounds(), convert.round_message, convert.round_of),
    (WEI, convert.wei_message, convert.wei_of),
    (SUBMITTED, convert.submitted_message, convert.submitted_of),
    (
        st.builds(chain.Settled, st.lists(MINED, max_size=2).map(tuple), VERSION),
        convert.settled_message,
        convert.settled_of,
    ),
    (
        st.builds(chain.Balance, WEI, WEI, st.none() | STAKE, NUMBER),
        convert.balance_message,
        convert.balance_of,
    ),
    (
        st.builds(chain.ChainStatus, FROM_1, NUMBER, NUMBER, *[ADDRESS] * 4, NUMBER, st.text(max_size=50)),
        convert.chain_message,
        convert.chain_of,
    ),
    (
        VERSION.flatmap(lambda one: st.builds(chain.Opened, st.just(max(1, one.task)), RECEIPTS, st.just(one))).filter(
            lambda opened: opened.task == opened.version.task
        ),
        convert.opened_message,
        convert.opened_of,
    ),
    (FUNDED, convert.funded_message, convert.funded_of),
    (FUNDED, convert.granted_message, convert.funded_of),
    (st.builds(chain.Closed, MINED, st.booleans()), convert.closed_message, convert.closed_of),
    (EARNINGS, convert.earnings_message, convert.earnings_of),
    (RECORD, convert.record_message, lambda message: convert.record_of(message.record_q16)),
    (st.builds(chain.Claimed, RECEIPTS, EARNINGS), convert.claimed_message, convert.claimed_of),
    (st.none() | ENCODING, convert.encoding_message, convert.wanted_encoding_of),
    (
        st.builds(
            training.TrainerStatus,
            ADDRESS,
            FROM_1,
            SMALL,
            SMALL,
            st.lists(SMALL, max_size=3).map(tuple),
            st.booleans(),
            st.lists(activities(), max_size=2).map(tuple),
            st.none() | SPENT,
        ),
        convert.trainer_message,
        convert.trainer_of,
    ),
    (SPENT, convert.privacy_message, convert.privacy_of),
    (activities(), convert.activity_message, convert.activity_of),
    (training_events(), convert.training_message, convert.training_of),
    (
        st.builds(training.Evaluation, VERSION, SMALL, st.just("accuracy"), SHARE, REAL),
        convert.evaluation_message,
        convert.evaluation_of,
    ),
    (st.builds(training.ModelExport, VERSION, st.binary(), REAL), convert.export_message, convert.export_of),
]


@pytest.mark.parametrize(("values", "write", "read"), PAIRS)
@given(data=st.data())
def test_reading_inverts_writing(values: st.SearchStrategy[Any], write: Any, read: Any, data: st.DataObject) -> None:
    value = data.draw(values)
    message = write(value)
    if not isinstance(message, bytes | int):  # over the wire, not only through memory
        message = type(message).FromString(message.SerializeToString())
    assert read(message) == value


def test_every_pair_of_the_module_is_held() -> None:
    names = {name for name in vars(convert) if name.endswith("_message")}
    assert names == {write.__name__ for _, write, _ in PAIRS}


def test_no_amount_is_not_an_amount_of_none() -> None:
    assert convert.wei_message(0) == b"\0"
    with pytest.raises(InvalidInput):
        convert.wei_of(bytes(33))


@pytest.mark.parametrize("length", [0, 19, 21, 31, 33])
def test_addresses_and_digests_of_another_length_are_not_read(length: int) -> None:
    for read in (convert.address_of, convert.digest_of):
        with pytest.raises(InvalidInput, match=f"not {length}"):
            read(bytes(length), "it")


def test_phases_and_steps_that_nobody_knows_are_not_read() -> None:
    with pytest.raises(InvalidInput, match="phase 99"):
        convert.round_status_of(model_pb2.RoundStatus(round=1, phase=99))  # type: ignore[arg-type]
    for step in (0, 99):
        with pytest.raises(InvalidInput, match=f"step {step}"):
            convert.due_of(model_pb2.Due(step=step))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "bits"), convert.TERMS_BITS.items())
def test_terms_that_the_chain_has_no_room_for_are_not_read(name: str, bits: int) -> None:
    with pytest.raises(InvalidInput, match=f"{name} of a task's terms is at most") as raised:
        convert.terms_of(model_pb2.Terms(**{name: 2**bits}))
    assert raised.value.reason == "BadTerms"
    with pytest.raises(InvalidInput, match="a reward has at most 16 bytes"):
        convert.terms_of(model_pb2.Terms(reward_wei=bytes(17)))


def test_what_contradicts_itself_is_not_read() -> None:
    task = model_pb2.Task(
        task=1, version={"task": 1}, creator=bytes(20), shape=SHAPE.encode(), round={"round": 2, "opened_s": 0}
    )
    with pytest.raises(InvalidInput, match="closed, and not by its creator"):
        convert.task_of(task)
    with pytest.raises(InvalidInput, match="can be claimed"):
        convert.earnings_of(pb.Earnings(earned_wei=b"\1", pay_wei=b"\2"))
    with pytest.raises(InvalidInput, match="dropped, and a settler paid"):
        convert.round_of(pb.GetRoundResponse(round=1, base_version=1, dropped=True, settler=bytes(20)))
    with pytest.raises(InvalidInput, match="at most"):
        convert.receipts_of([pb.Receipt()] * (convert.MAX_RECEIPTS + 1))


def set_of(**changes: Any) -> model_pb2.ExampleSet:
    fields = {
        "root": bytes(32),
        "batch_count": 3,
        "example_count": 9,
        "opened_batch_count": 1,
        "opened_example_count": 3,
        "input_exponent": 4,
    }
    return model_pb2.ExampleSet(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"root": b""},
        {"batch_count": 0},
        {"batch_count": 10},
        {"example_count": 2},
        {"opened_batch_count": 4},
        {"opened_example_count": 10},
        {"opened_example_count": 0},
        {"input_exponent": 16},
        {"batch_count": MAX_BATCHES + 1, "example_count": UINT32},
    ],
)
def test_a_set_of_examples_that_cannot_be_is_not_read(changes: dict[str, Any]) -> None:
    convert.example_set_of(set_of())
    with pytest.raises(InvalidInput):
        convert.example_set_of(set_of(**changes))


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": 0, "record_q16": 5},
        {"outcome": 99, "record_q16": 5},
        {"outcome": pb.OUTCOME_MERGED, "record_q16": 0},
        {"outcome": pb.OUTCOME_NO_GAIN, "record_q16": -5},
        {"outcome": pb.OUTCOME_GUARDED, "record_q16": 0},
        {"outcome": pb.OUTCOME_NO_RECORD, "record_q16": 5},
        {"outcome": pb.OUTCOME_MERGED, "record_q16": MAX_RECORD + 1},
        {"outcome": pb.OUTCOME_MERGED, "record_q16": 5, "gain_q16": MAX_GAIN + 1},
    ],
)
def test_a_verdict_that_the_rule_cannot_give_is_not_read(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        convert.verdict_of(pb.Verdict(**fields))


def test_what_was_not_merged_is_not_paid_and_what_nobody_opened_judges_nothing() -> None:
    receipt = pb.Receipt(transaction_hash=bytes(32))
    refused = pb.Verdict(outcome=pb.OUTCOME_NO_GAIN, record_q16=5)
    one = pb.Contribution(contributor=bytes(20), digest=bytes(32), receipt=receipt, paid_wei=b"\0", verdict=refused)
    assert convert.contribution_of(one).paid == 0
    with pytest.raises(InvalidInput, match="by examples that nobody opened"):
        convert.round_of(pb.GetRoundResponse(round=1, base_version=1, contributions=[one]))
    one.paid_wei = b"\1"
    with pytest.raises(InvalidInput, match="is said to be paid"):
        convert.contribution_of(one)
