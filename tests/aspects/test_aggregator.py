"""The Aspect behind the pool, through transactions: what it accepts, what it refuses and why, what it writes, what it answers."""

import dataclasses
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.pool import CREATOR, POOL, TERMS, CallFailed, PoolChain, Reverted, account, terms_tuple
from bench.pool_rounds import FLAT, SMALL, PlayedRound, expected_verdict, opened, some_update, some_weights
from linklearner.domain import digits
from linklearner.domain.digest import model_digest, page_digests, weight_bytes
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.errors import InvalidShape, InvalidUpdate, OutOfRange
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import MAX_GROUPS, Shape, Tensor
from linklearner.domain.stakes import influence
from linklearner.domain.update import Update
from tests.domain.strategies import shapes, updates


def refused(name: str, action: Callable[[], object]) -> str:
    """The Aspect reverts with this reason; returns the sentence."""
    with pytest.raises(Reverted) as reverted:
        action()
    assert reverted.value.name == name, reverted.value
    assert reverted.value.values == {}, "a custom error of the contract, not the Aspect's reason"
    return reverted.value.text


def send_parts(world: PoolChain, contributor: int, task: int, header: bytes, groups: list[bytes]) -> object:
    """A submission of any bytes; the digest is checked by the pool, after the Aspect."""
    return world.transact(account(contributor), "submit", task, bytes(32), header, groups)


# ── Submissions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes(), data=st.data())
def test_rounds_of_any_shape_settle_to_what_python_computes(
    world: PoolChain, shape: Shape, data: st.DataObject
) -> None:
    head = world.chain.head.number
    stakes = data.draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=3))
    terms = dataclasses.replace(TERMS, max_updates=3)
    round_ = opened(world, shape, stakes, terms)
    base = some_weights(shape)
    for contributor in range(1, len(stakes) + 1):
        update = data.draw(updates(shape, round_.task, 1))
        try:
            expected = expected_verdict(round_, stakes[contributor - 1], update)
        except OutOfRange:
            refused("NormTooLong", lambda c=contributor, u=update: round_.submit(c, u))
            continue
        if update.squared_norm(shape) < 2**16:
            refused("EmptyUpdate", lambda c=contributor, u=update: round_.submit(c, u))
            continue
        if stakes[contributor - 1] < terms.floor(sum(stakes)):
            with pytest.raises(Reverted, match="BelowMinimumStake"):
                round_.submit(contributor, update)
            continue
        round_.submit(contributor, update)
        assert round_.accepted[-1][2:] == expected
    if round_.accepted:
        merged = MEAN.merge(base, round_.contributions(), sum(stakes), shape)
        receipt = round_.settle()[-1]
        updated = next(event for event in world.events(receipt) if event.name == "ModelUpdated").values
        assert np.array_equal(world.weights(round_.task, shape), merged.weights)
        assert (updated["digest"], updated["saturated"]) == (model_digest(merged.weights, shape), merged.saturated)
        assert world.page_digests(round_.task, shape) == page_digests(merged.weights, shape)
    world.chain.rewind(head)


def test_a_few_rounds_of_the_digits_model_go_the_same_way_in_python(world: PoolChain) -> None:
    shape = digits.SHAPE
    base = np.random.default_rng(5).integers(-2000, 2000, shape.weight_count).astype(np.int16)
    task = world.open_task(shape, base, [100, 50, 200, 6, 99])
    generator = np.random.default_rng(6)
    for number in range(4):
        round_ = PlayedRound(world, task, shape)
        encoding = INT8 if number % 2 else TWO_BITS
        for contributor in range(1, 6):
            delta = generator.normal(0, 0.02, shape.weight_count)
            round_.submit(contributor, quantise_delta(delta, shape, task, number + 1, encoding).update)
        base = MEAN.merge(base, round_.contributions(), 455, shape).weights
        round_.settle()
        assert np.array_equal(world.weights(task, shape), base)


def test_influence_is_capped_at_a_quarter(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [10_000, 200])
    round_.submit(1)
    round_.submit(2)
    assert [weight for _, _, weight, _ in round_.accepted] == [2550, 200]


def test_with_hardly_any_stake_nobody_is_capped(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [2, 1])
    round_.submit(1)
    assert round_.accepted[0][2:] == (2, 2)


def test_a_long_update_is_scaled_down_and_not_refused(world: PoolChain) -> None:
    shape = dataclasses.replace(FLAT, norm_bound=5000)
    round_ = opened(world, shape, [1000, 1000, 1000, 1000])
    short = round_.update(1, shift=-3)
    long = round_.update(2, shift=5)
    assert short.squared_norm(shape) <= 5000**2 < long.squared_norm(shape)
    round_.submit(1, short)
    round_.submit(2, long)
    assert round_.accepted[0][2:] == (1000, 1000)
    effective = MEAN.verdict(1000, long.squared_norm(shape), 5000)
    assert round_.accepted[1][2:] == (1000, effective)
    assert 0 < effective < 100
    merged = MEAN.merge(some_weights(shape), round_.contributions(), 4000, shape)
    round_.settle()
    assert np.array_equal(world.weights(round_.task, shape), merged.weights)


def test_an_update_beyond_all_bounds_is_refused(world: PoolChain) -> None:
    shape = Shape((Tensor(66_000, 0),), 16384, 1, 2**31)
    round_ = PlayedRound(world, world.open_task(shape, some_weights(shape), [100], pages_per_call=2), shape)
    values = [np.full(place.stop - place.start, -128, dtype=np.int8) for place in map(shape.page_slice, range(5))]
    fine = Update(round_.task, 1, INT8, (7,), tuple(enumerate(values)))
    too_long = dataclasses.replace(fine, shifts=(8,))
    refused("NormTooLong", lambda: round_.submit(1, too_long))
    round_.submit(1, fine)


def test_an_update_for_another_shape_is_refused(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    other = Shape((Tensor(10, 12), Tensor(28, 12)), 8, 2, 1)
    update = some_update(other, round_.task, 1)
    text = refused("WrongShape", lambda: world.submit(1, update, other))
    assert "21 bytes" in text
    assert "22" in text
    header, groups = round_.update().header(SMALL), list(round_.update().groups(SMALL))
    refused("WrongShape", lambda: send_parts(world, 1, round_.task, header, groups[:2]))
    refused("WrongShape", lambda: send_parts(world, 1, round_.task, header, [*groups, b""]))
    refused("WrongShape", lambda: send_parts(world, 1, round_.task, header, [groups[0][:-1], *groups[1:]]))
    refused("WrongShape", lambda: send_parts(world, 1, round_.task, header, [groups[0] + b"\0", *groups[1:]]))
    refused("WrongShape", lambda: send_parts(world, 1, round_.task, header, [groups[0] + groups[1], b"", groups[2]]))


def test_a_stale_base_is_refused_and_the_current_one_named(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    for version in (0, 2):
        text = refused("StaleBase", lambda v=version: round_.submit(1, some_update(FLAT, round_.task, v)))
        assert f"for version {version}, the model is at version 1" in text
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    refused("StaleBase", lambda: round_.submit(1, some_update(FLAT, round_.task, 1)))
    round_.submit(1)


def test_an_update_for_another_task_is_refused(world: PoolChain) -> None:
    first = opened(world, FLAT, [100])
    second = opened(world, FLAT, [100])
    update = some_update(FLAT, second.task, 1)
    header, groups = update.header(FLAT), list(update.groups(FLAT))
    refused("WrongTask", lambda: send_parts(world, 1, first.task, header, groups))


def test_a_task_that_was_not_opened_is_named(world: PoolChain) -> None:
    update = some_update(FLAT, 1, 1)
    for task in (world.number("nextTask"), 2**21 - 1, 2**21, 2**64 - 1):
        refused(
            "NoSuchTask",
            lambda t=task: send_parts(world, 1, t, update.header(FLAT), list(update.groups(FLAT))),
        )


def test_somebody_without_stake_is_refused(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    assert "lock $LL" in refused("NoStake", lambda: round_.submit(7))


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, 2), (1, 3), (18, 0x80), (18, 14), (21, 0b100000 | 0b11111)],
    ids=["format", "encoding", "shift too low", "shift too high", "a page that does not exist"],
)
def test_a_header_that_is_not_canonical_is_refused(world: PoolChain, position: int, value: int) -> None:
    round_ = opened(world, SMALL, [100])
    update = round_.update()
    header = bytearray(update.header(SMALL))
    header[position] = value
    with pytest.raises(InvalidUpdate):
        Update.decode(bytes(header) + b"".join(update.groups(SMALL)), SMALL)
    refused("NotCanonical", lambda: send_parts(world, 1, round_.task, bytes(header), list(update.groups(SMALL))))


def test_a_page_with_unused_bits_set_is_refused(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    update = round_.update()
    groups = list(update.groups(SMALL))
    groups[2] = bytes([groups[2][0], groups[2][1] | 0b100])  # page 4 has five weights
    refused("NotCanonical", lambda: send_parts(world, 1, round_.task, update.header(SMALL), groups))


def test_a_page_of_zeros_is_refused(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    update = round_.update(encoding=INT8)
    groups = list(update.groups(SMALL))
    groups[1] = bytes(8) + groups[1][8:]
    text = refused("NotCanonical", lambda: send_parts(world, 1, round_.task, update.header(SMALL), groups))
    assert "page 2 " in text


def test_a_shift_of_a_tensor_that_is_left_out_is_refused(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    update = round_.update(pages=[0])
    header = bytearray(update.header(SMALL))
    header[20] = 1
    refused("NotCanonical", lambda: send_parts(world, 1, round_.task, bytes(header), list(update.groups(SMALL))))


def test_refused_submissions_change_nothing(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    before = world.status(round_.task), world.weights(round_.task, FLAT).tobytes()
    refused("StaleBase", lambda: round_.submit(1, some_update(FLAT, round_.task, 9)))
    assert (world.status(round_.task), world.weights(round_.task, FLAT).tobytes()) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mangled_calldata_is_refused_and_changes_nothing(world: PoolChain, data: st.DataObject) -> None:
    head = world.chain.head.number
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    kind = data.draw(st.sampled_from(["submit", "settle"]))
    if kind == "submit":
        calldata = bytearray(world.submission(round_.update(3), SMALL))
    else:
        calldata = bytearray(POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)))
    before = world.weights(round_.task, SMALL).tobytes()
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(4, len(calldata) - 1))
        calldata[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del calldata[data.draw(st.integers(4, len(calldata))) :]
    receipt = world.try_send(account(2 if kind == "submit" else 9), world.pool, bytes(calldata))
    if receipt.status == 1:  # padding bytes may be anything
        assert kind == "settle"
        assert world.status(round_.task)["merged"] == 1
    else:
        assert world.weights(round_.task, SMALL).tobytes() == before
        assert receipt.gas_used < 1_000_000
    world.chain.rewind(head)


# ── Settlements ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_pages_that_change_are_written_and_once(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1, round_.update(1, pages=[1, 4]))
    round_.submit(2, round_.update(2, pages=[4]))
    gas = [receipt.gas_used for receipt in round_.settle()]
    digests = page_digests(some_weights(SMALL), SMALL)
    after = world.page_digests(round_.task, SMALL)
    assert [page for page in range(5) if digests[page] != after[page]] == [1, 4]
    # 39 bytes and the weights of a page at 156.25 gas each are written or not: a group without a changed page is that much cheaper.
    assert gas[0] - gas[1] > 39 * 156


def test_a_mean_that_rounds_to_nothing_writes_nothing(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1000, 1000, 1000, 1000], dataclasses.replace(TERMS, quorum_bps=1, reward=0))
    base = some_weights(FLAT)
    round_.submit(1, round_.update(1, shift=-3))
    quiet = round_.settle()[0].gas_used
    assert np.array_equal(world.weights(round_.task, FLAT), base)
    round_.submit(1, round_.update(1, shift=3))
    loud = round_.settle()[0].gas_used
    assert loud - quiet > (39 + 74) * 156 - 6000


def test_saturated_weights_are_counted_over_all_groups(world: PoolChain) -> None:
    weights = np.full(SMALL.weight_count, 32767, dtype=np.int16)
    task = world.open_task(SMALL, weights, [100, 100])
    round_ = PlayedRound(world, task, SMALL)
    values = tuple(
        (page, np.ones(place.stop - place.start, dtype=np.int8))
        for page, place in ((page, SMALL.page_slice(page)) for page in range(5))
    )
    for contributor in (1, 2):
        round_.submit(contributor, Update(task, 1, TWO_BITS, (4, 4, 4), values))
    updated = next(event for event in world.events(round_.settle()[-1]) if event.name == "ModelUpdated")
    assert updated.values["saturated"] == SMALL.weight_count
    assert world.weights(task, SMALL).tolist() == [32767] * SMALL.weight_count
    # and the count begins anew
    for contributor in (1, 2):
        round_.submit(contributor, Update(task, 2, TWO_BITS, (4, 4, 4), tuple((page, -ones) for page, ones in values)))
    updated = next(event for event in world.events(round_.settle()[-1]) if event.name == "ModelUpdated")
    assert updated.values["saturated"] == 0


def test_settlements_of_another_shape_are_refused_with_the_reason(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    right = round_.settlement(0)
    first = right[0]
    for wrong, reason in (
        ((*first[:3], first[3] + b"\0", *first[4:]), "of another shape"),
        ((*first[:4], first[4][:2], first[5]), "of another shape"),
        ((*first[:5], first[5][:-1]), "lacks bytes of page 1"),
        ((*first[:5], first[5] + b"\0"), "bitmap does not name"),
    ):
        assert reason in refused("WrongShape", lambda w=wrong: round_.settle_group(0, updates=[w, *right[1:]]))
    heavy = (first[0], 2**38 + 1, *first[2:])
    refused("WrongWeight", lambda: round_.settle_group(0, updates=[heavy, *right[1:]]))


def test_the_aspect_refuses_settlements_that_are_not_due_before_it_touches_a_weight(world: PoolChain) -> None:
    empty = opened(world, FLAT, [100])
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    refused("NoUpdates", lambda: empty.settle_group(0))
    refused("WrongGroup", lambda: round_.settle_group(1))
    refused("WrongRound", lambda: world.transact(account(1), "settle", round_.task, 2, 0, round_.settlement(0)))


# ── Loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_are_loaded_whole_and_in_order(world: PoolChain) -> None:
    task = world.number("nextTask")
    weights = weight_bytes(some_weights(SMALL))
    creator = account(CREATOR)
    refused("NoSuchTask", lambda: world.transact(creator, "loadPages", task, 0, weights))
    world.transact(creator, "openTask", task, SMALL.encode(), "{}", terms_tuple(TERMS))
    refused("WrongPage", lambda: world.transact(creator, "loadPages", task, 1, weights[16:]))
    refused("WrongShape", lambda: world.transact(creator, "loadPages", task, 0, b""))
    left_over = refused("WrongShape", lambda: world.transact(creator, "loadPages", task, 0, weights[:15]))
    assert "15 bytes are left over for a page of 16" in left_over
    for more in (2, 16):  # a weight too many, and a whole page
        too_many = refused(
            "WrongShape", lambda n=more: world.transact(creator, "loadPages", task, 0, weights + bytes(n))
        )
        assert "more weights than the 37" in too_many
    world.transact(creator, "loadPages", task, 0, weights[:32])
    refused("WrongPage", lambda: world.transact(creator, "loadPages", task, 0, weights[:32]))
    world.transact(creator, "loadPages", task, 2, weights[32:])
    assert weight_bytes(world.weights(task, SMALL)) == weights
    assert world.page_digests(task, SMALL) == page_digests(some_weights(SMALL), SMALL)


def test_a_shape_that_python_refuses_is_not_opened(world: PoolChain) -> None:
    encoded = SMALL.encode()
    # of four weights each: of one more no transaction would hold an update
    groups = struct.pack(">BHIbIIQ", 1, 1, 4 * MAX_GROUPS + 1, 12, 4, 1, 1)
    for wrong in (b"", encoded[:-1], encoded + b"\0", b"\2" + encoded[1:], encoded[:-16] + bytes(16), groups):
        with pytest.raises(InvalidShape):
            Shape.decode(wrong)
        refused(
            "WrongShape",
            lambda w=wrong: world.transact(
                account(CREATOR), "openTask", world.number("nextTask"), w, "{}", terms_tuple(TERMS)
            ),
        )


def test_a_task_number_is_used_once(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    refused(
        "TaskExists",
        lambda: world.transact(account(CREATOR), "openTask", round_.task, SMALL.encode(), "{}", terms_tuple(TERMS)),
    )


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_operation_tells_task_weights_and_digests(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    task = round_.task.to_bytes(8, "big")
    answer = world.operation(b"\1" + task)
    numbers = [answer[0:8], answer[8:16], answer[16:24], answer[24:28], answer[28:30], answer[30:34], answer[34:38]]
    assert [int.from_bytes(number, "big") for number in numbers] == [1, 1, 200, 0, 1, 5, 3]
    assert answer[38:] == SMALL.encode()

    weights, digests = weight_bytes(some_weights(SMALL)), page_digests(some_weights(SMALL), SMALL)
    head = (1).to_bytes(8, "big") + bytes(4)
    for first, count in ((0, 5), (1, 2), (4, 1)):
        ask = task + first.to_bytes(4, "big") + count.to_bytes(4, "big")
        assert world.operation(b"\2" + ask) == head + weights[16 * first : 16 * (first + count)]
        assert world.operation(b"\3" + ask) == head + b"".join(digests[first : first + count])


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (b"", "BadQuestion"),
        (b"\1", "BadQuestion"),
        (b"\4" + bytes(8), "BadQuestion"),
        (b"\1" + bytes(9), "BadQuestion"),
        (b"\2" + bytes(8), "BadQuestion"),
        (b"\1" + bytes(8), "NoSuchTask"),
        (b"\1" + b"\xff" * 8, "NoSuchTask"),
        (b"\2" + b"TASK" + bytes(4) + (6).to_bytes(4, "big"), "NoSuchPage"),
        (b"\2" + b"TASK" + (1).to_bytes(4, "big") + (5).to_bytes(4, "big"), "NoSuchPage"),
        (b"\3" + b"TASK" + (5).to_bytes(4, "big") + (1).to_bytes(4, "big"), "NoSuchPage"),
        (b"\3" + b"TASK" + bytes(8), "NoSuchPage"),
        (b"\3" + b"TASK" + b"\xff" * 8, "NoSuchPage"),
    ],
)
def test_a_bad_question_is_answered_with_the_reason(world: PoolChain, question: bytes, reason: str) -> None:
    round_ = opened(world, SMALL, [100])
    with pytest.raises(CallFailed) as failed:
        world.operation(question.replace(b"TASK", round_.task.to_bytes(8, "big")))
    assert reason.encode() in failed.value.output


def test_tasks_do_not_mix(world: PoolChain) -> None:
    first = opened(world, SMALL, [100, 100], seed=1)
    second = opened(world, SMALL, [100, 100], seed=2)
    for round_ in (first, second):
        round_.submit(1)
        round_.submit(2)
    merged = [
        MEAN.merge(some_weights(SMALL, seed), round_.contributions(), 200, SMALL).weights
        for seed, round_ in ((1, first), (2, second))
    ]
    second.settle()
    assert np.array_equal(world.weights(first.task, SMALL), some_weights(SMALL, 1))
    first.settle()
    for round_, weights in zip((first, second), merged, strict=True):
        assert np.array_equal(world.weights(round_.task, SMALL), weights)


def test_a_model_with_many_pages_settles_group_by_group(world: PoolChain) -> None:
    shape = Shape((Tensor(30_000, 12), Tensor(3000, 12)), 1024, 4, 2**25)
    round_ = opened(world, shape, [100, 100], dataclasses.replace(TERMS, quorum_bps=1))
    round_.submit(1, round_.update(1, pages=[0, 5, 32]))
    merged = MEAN.merge(some_weights(shape), round_.contributions(), 200, shape)
    receipts = round_.settle()
    assert len(receipts) == 9
    assert np.array_equal(world.weights(round_.task, shape), merged.weights)
    updated = next(event for event in world.events(receipts[-1]) if event.name == "ModelUpdated").values
    assert updated["digest"] == model_digest(merged.weights, shape)
    assert influence(100, 200) == 50
