"""Attacks on the border between pool, Aspect and everybody else, each by a real transaction."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from bench.pool import CREATOR, POOL, SYSTEM, TERMS, PoolChain, Reverted, account, address_of, selector, terms_tuple
from bench.pool_rounds import FLAT, SMALL, PlayedRound, opened, some_weights
from linklearner import artifacts
from linklearner.domain.digest import weight_bytes
from linklearner.domain.shape import Shape
from linklearner.domain.update import update_digest
from tests.contracts.evm import everybodys, relay


def reason_of(action: Callable[[], object]) -> str:
    with pytest.raises(Reverted) as reverted:
        action()
    return reverted.value.name


@pytest.fixture
def round_(world: PoolChain) -> PlayedRound:
    """Two of three have submitted; contributor 3 is about to do something."""
    opened_round = opened(world, FLAT, [100, 100, 100])
    opened_round.submit(1)
    opened_round.submit(2)
    return opened_round


def test_a_foreign_contract_bound_to_our_aspect_cannot_drive_it(world: PoolChain, round_: PlayedRound) -> None:
    attacker = account(9)
    foreign = world.create(attacker, everybodys())
    world.bind(attacker, foreign)
    before = world.weights(round_.task, FLAT)
    settle = POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0))
    submit = world.submission(round_.update(3), FLAT)
    load = POOL.encode_call("loadPages", round_.task, 0, weight_bytes(before * 0))
    opening = POOL.encode_call("openTask", world.number("nextTask"), FLAT.encode(), "{}", terms_tuple(TERMS))
    for data in (settle, submit, load, opening, b"\1\2\3\4"):
        assert reason_of(lambda data=data: world.send(attacker, foreign, data)) == "NotThePool"
    assert np.array_equal(world.weights(round_.task, FLAT), before)


@pytest.mark.parametrize("who", [0, 1], ids=["the pool's owner", "a stranger"])
def test_nobody_binds_to_the_pool_or_unbinds_from_it(world: PoolChain, who: int) -> None:
    """Once its Aspect is named: another one beside it could refuse any call, and without it no task goes on."""
    with pytest.raises(Reverted):
        world.bind(account(who), world.pool)
    data = selector("unbind(address,address)") + encode(
        ["address", "address"], ["0x" + world.aspect.hex(), "0x" + world.pool.hex()]
    )
    with pytest.raises(Reverted):
        world.send(account(who), SYSTEM, data)
    assert world.ask(world.pool, POOL.encode_call("isOwner", account(who).address)) == bytes(32)


def upgrade(world: PoolChain, who: int) -> None:
    data = selector("upgrade(address,bytes,(string,bytes)[],uint256)") + encode(
        ["address", "bytes", "(string,bytes)[]", "uint256"],
        ["0x" + world.aspect.hex(), artifacts.aspect("aggregator"), [], 4],
    )
    world.send(account(who), SYSTEM, data)


def version_of(world: PoolChain) -> int:
    data = selector("versionOf(address)") + encode(["address"], ["0x" + world.aspect.hex()])
    return int.from_bytes(world.ask(SYSTEM, data), "big")


def test_nobody_upgrades_the_aspect(world: PoolChain) -> None:
    for who in (0, 1, CREATOR):
        with pytest.raises(Reverted):
            upgrade(world, who)
    assert version_of(world) == 1


@pytest.mark.parametrize("swallow", [False, True], ids=["reverting", "swallowing"])
def test_a_contract_cannot_call_the_pool(world: PoolChain, round_: PlayedRound, swallow: bool) -> None:
    contract = world.create(account(3), relay("CALL", swallow=swallow))
    before = world.weights(round_.task, FLAT), world.status(round_.task)
    for data in (
        world.submission(round_.update(3), FLAT),
        POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)),
        POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)[::-1]),
    ):
        if swallow:
            # The relay catches the revert and succeeds. Had the Aspect written before the pool refused, it would be kept.
            world.send(account(3), contract, world.pool + data)
        else:
            assert reason_of(lambda data=data: world.send(account(3), contract, world.pool + data)) == "NotDirect"
    assert np.array_equal(world.weights(round_.task, FLAT), before[0])
    assert world.status(round_.task) == before[1]


def test_a_caught_refusal_of_the_pool_keeps_nothing_of_the_aspects(world: PoolChain, round_: PlayedRound) -> None:
    """The pool's own `direct` check, without the Aspect's: a pool to which nothing is bound."""
    bare = copy.copy(world)
    bare.create_pool(account(0))
    contract = bare.create(account(3), relay("CALL"))
    for call in (
        POOL.encode_call("openTask", 1, FLAT.encode(), "{}", terms_tuple(TERMS)),
        bare.submission(round_.update(3), FLAT),
        POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)),
        POOL.encode_call("drop", round_.task),
    ):
        assert reason_of(lambda call=call: bare.send(account(3), contract, bare.pool + call)) == "NotDirect"


@pytest.mark.parametrize("kind", ["DELEGATECALL", "STATICCALL"])
def test_calls_that_skip_the_aspect_do_nothing(world: PoolChain, round_: PlayedRound, kind: str) -> None:
    """Neither fires a join point. A static call cannot write; a delegate call runs the pool's code on the caller's empty storage."""
    contract = world.create(account(3), relay(kind))
    before = world.weights(round_.task, FLAT), world.status(round_.task), world.supply()
    for data in (
        world.submission(round_.update(3), FLAT),
        POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)),
    ):
        assert reason_of(lambda data=data: world.send(account(3), contract, world.pool + data)) in (
            "NotDirect",
            "UnknownTask",
        )
    assert np.array_equal(world.weights(round_.task, FLAT), before[0])
    assert (world.status(round_.task), world.supply()) == before[1:]


def test_a_delegating_contract_cannot_mint(world: PoolChain) -> None:
    """`token` is an immutable of the pool, so delegated code names the true token; but the token asks who calls."""
    contract = world.create(account(3), relay("DELEGATECALL"))
    supply = world.supply()
    for name, arguments in (
        ("drop", (1,)),
        ("fund", (1, 5)),
        ("grant", (1, 5)),
        ("claim", (1,)),
        ("shareFees", (1, 5)),
    ):
        with pytest.raises(Reverted):
            world.send(account(3), contract, world.pool + POOL.encode_call(name, *arguments))
    assert world.supply() == supply


def test_a_copied_update_counts_for_whoever_sends_it_with_his_own_stake_only(
    world: PoolChain, round_: PlayedRound
) -> None:
    """Rule `mean` cannot tell a copy; it gives the copier nothing that his own stake would not."""
    copied = round_.accepted[0][1]
    round_.submit(3, copied)
    assert round_.accepted[-1][0] == address_of(account(3))
    assert round_.accepted[-1][2] == 75


def test_a_verdict_of_one_call_is_of_no_use_to_another(world: PoolChain, round_: PlayedRound) -> None:
    """The digest in the verdict is the caller's claim; the pool recomputes it from the very bytes that the Aspect judged."""
    judged, other = round_.update(3), round_.update(4)
    data = POOL.encode_call("submit", round_.task, other.digest(FLAT), judged.header(FLAT), list(judged.groups(FLAT)))
    assert reason_of(lambda: world.send(account(3), world.pool, data)) == "WrongDigest"


@pytest.mark.parametrize("moved_words", [(2,), (3,), (2, 3)], ids=["header", "groups", "both"])
def test_offsets_that_the_pool_would_follow_elsewhere_are_refused(
    world: PoolChain, round_: PlayedRound, moved_words: tuple[int, ...]
) -> None:
    """Else the Aspect would judge one update and the pool record another: two copies of the arguments, offsets to the second."""
    judged, smuggled = round_.update(3), round_.update(4)
    body = POOL.encode_call(
        "submit", round_.task, smuggled.digest(FLAT), judged.header(FLAT), list(judged.groups(FLAT))
    )
    smuggled_tail = world.submission(smuggled, FLAT)[4 + 128 :]
    data = bytearray(body + smuggled_tail)
    for number in moved_words:
        word = slice(4 + 32 * number, 4 + 32 * number + 32)
        data[word] = (int.from_bytes(data[word], "big") + len(body) - 4 - 128).to_bytes(32, "big")
    assert reason_of(lambda: world.send(account(3), world.pool, bytes(data))) == "BadCalldata"


def test_groups_cannot_be_judged_in_one_order_and_recorded_in_another(world: PoolChain) -> None:
    grouped = opened(world, SMALL, [100])
    update = grouped.update(1)
    first, second, third = update.groups(SMALL)
    assert len(first) == len(second)
    swapped = update_digest(update.header(SMALL), tuple(keccak(part) for part in (second, first, third)))
    data = bytearray(POOL.encode_call("submit", grouped.task, swapped, update.header(SMALL), [first, second, third]))
    groups = 4 + int.from_bytes(data[4 + 96 : 4 + 128], "big") + 32
    data[groups : groups + 64] = data[groups + 32 : groups + 64] + data[groups : groups + 32]
    assert reason_of(lambda: world.send(account(1), world.pool, bytes(data))) == "BadCalldata"


@pytest.mark.parametrize("what", ["all updates", "one update", "header", "digests", "pages"])
def test_a_settler_cannot_show_the_aspect_one_thing_and_the_pool_another(
    world: PoolChain, round_: PlayedRound, what: str
) -> None:
    """Forged updates where the Aspect reads, the true ones appended, and an offset that leads the pool to these."""
    forged_update = round_.update(66, shift=7)
    true = round_.settlement(0)
    pages = forged_update.groups(FLAT)[0]
    forged = [(*true[0][:3], forged_update.header(FLAT), [keccak(pages)], pages), true[1]]
    data = bytearray(POOL.encode_call("settle", round_.task, 1, 0, forged))
    right = POOL.encode_call("settle", round_.task, 1, 0, true)
    assert len(data) == len(right)
    array = 4 + 128 + 32
    update = array + int.from_bytes(data[array : array + 32], "big")
    following = array + int.from_bytes(data[array + 32 : array + 64], "big")
    header, digests, pages_at = (
        update + int.from_bytes(data[update + 32 * n : update + 32 * n + 32], "big") for n in (3, 4, 5)
    )
    # where the offset stands, what it counts from, and the true bytes that it should lead to
    word, origin, appended = {
        "all updates": (4 + 96, 4, right[4 + 128 :]),
        "one update": (array, array, right[update:following]),
        "header": (update + 96, update, right[header:digests]),
        "digests": (update + 128, update, right[digests:pages_at]),
        "pages": (update + 160, update, right[pages_at:following]),
    }[what]
    # only what the offset hides is forged; the rest is the accepted update
    hidden = {"header": (header, digests), "digests": (digests, pages_at), "pages": (pages_at, following)}.get(what)
    if hidden:
        data = bytearray(right[: hidden[0]] + bytes(data[hidden[0] : hidden[1]]) + right[hidden[1] :])
    data[word : word + 32] = (len(data) - origin).to_bytes(32, "big")
    data += appended
    before = world.weights(round_.task, FLAT)
    round_.ripen()
    assert reason_of(lambda: world.send(account(9), world.pool, bytes(data))) == "BadCalldata"
    assert np.array_equal(world.weights(round_.task, FLAT), before)
    world.send(account(9), world.pool, right)


@pytest.mark.parametrize("part", [3, 4, 5], ids=["header", "digests", "pages"])
def test_a_settler_cannot_point_the_pool_from_a_forged_update_to_its_twin(world: PoolChain, part: int) -> None:
    """Two contributors sent the same update. The first one's bytes are forged where the Aspect reads; an offset leads the pool to the same
    bytes in the second one, so that nothing has to be appended."""
    round_ = opened(world, FLAT, [100, 100, 100])
    update = round_.update(1)
    round_.submit(1, update)
    round_.submit(2, update)
    round_.ripen()
    data = bytearray(POOL.encode_call("settle", round_.task, 1, 0, round_.settlement(0)))
    array = 4 + 128 + 32
    first, second = (array + word_at(data, array + 32 * number) for number in range(2))
    place = first + word_at(data, first + 32 * part)
    data[place + 32] ^= 1
    data[first + 32 * part : first + 32 * part + 32] = (second + word_at(data, second + 32 * part) - first).to_bytes(
        32, "big"
    )
    before = world.weights(round_.task, FLAT)
    assert "an offset leads elsewhere" in refusal(world, 9, bytes(data))
    assert np.array_equal(world.weights(round_.task, FLAT), before)


def test_plain_money_is_not_taken(world: PoolChain) -> None:
    with pytest.raises(Reverted):
        world.send(account(1), world.pool, b"", value=1)
    with pytest.raises(Reverted):
        world.send(account(1), world.pool, POOL.encode_call("drop", 1), value=1)


def test_before_its_weights_are_there_a_task_is_only_its_creators(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    data = POOL.encode_call("loadPages", task, 0, weight_bytes(some_weights(FLAT)))
    contract = world.create(account(0), relay("CALL", swallow=True))
    world.send(account(0), contract, world.pool + data)
    assert world.status(task)["loaded"] == 0
    assert reason_of(lambda: world.send(account(1), world.pool, data)) == "NotCreator"
    world.send(account(0), world.pool, data)
    assert world.status(task)["version"] == 1


# -- one call, one encoding: what readers after us could not all read alike is refused


def refusal(world: PoolChain, sender: int, data: bytes) -> str:
    with pytest.raises(Reverted) as reverted:
        world.send(account(sender), world.pool, data)
    return reverted.value.text


def with_byte(data: bytes, at: int, value: int = 1) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def word_at(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 32], "big")


def check_end_and_padding(world: PoolChain, sender: int, data: bytes, paddings: dict[str, tuple[int, int]]) -> None:
    """The call is refused for every padding byte that is set, cut off by any part of a word, and with anything appended."""
    for what, (start, stop) in paddings.items():
        assert start < stop, what
        for at in (start, stop - 1):
            assert "padding behind a byte string is not zero" in refusal(world, sender, with_byte(data, at)), what
    assert "it is cut off" in refusal(world, sender, data[:-1])
    for size in (31, 32, 33):
        assert refusal(world, sender, data[:-size]).startswith("BadCalldata: ")
    for more in (b"\0", b"\1", bytes(32)):
        assert "bytes follow the last argument" in refusal(world, sender, data + more)


def check_offsets(world: PoolChain, sender: int, data: bytes, places: list[int]) -> None:
    """The call is refused if one of its offsets, which stand at these places, is another, though no byte is added."""
    for at in places:
        for offset in (word_at(data, at) + 32, word_at(data, at) - 32):
            moved = data[:at] + offset.to_bytes(32, "big") + data[at + 32 :]
            assert "an offset leads elsewhere" in refusal(world, sender, moved), at


def test_a_submission_has_one_encoding(world: PoolChain) -> None:
    """0.1 $LL once bought a round that no gateway could settle or read: the chain took what eth_abi refuses."""
    grouped = opened(world, SMALL, [100])
    update = grouped.update(1)
    data = world.submission(update, SMALL)
    header = 4 + word_at(data, 4 + 64)
    groups = 4 + word_at(data, 4 + 96) + 32
    paddings = {"header": (header + 32 + word_at(data, header), groups - 32)}
    for group in range(SMALL.group_count):
        at = groups + word_at(data, groups + 32 * group)
        length = word_at(data, at)
        paddings[f"group {group}"] = at + 32 + length, at + 64
    check_end_and_padding(world, 1, data, paddings)
    check_offsets(world, 1, data, [4 + 64, 4 + 96, *(groups + 32 * group for group in range(SMALL.group_count))])
    used = paddings["group 2"][0]
    assert refusal(world, 1, data[:used]).startswith("BadCalldata: ")
    for high in (4, 4 + 23):
        assert refusal(world, 1, with_byte(data, high)).startswith("BadCalldata: ")
    world.send(account(1), world.pool, data)


def test_a_settlement_has_one_encoding(world: PoolChain) -> None:
    grouped = opened(world, SMALL, [100, 100])
    grouped.submit(1)
    grouped.submit(2)
    grouped.ripen()
    data = POOL.encode_call("settle", grouped.task, 1, 0, grouped.settlement(0))
    array = 4 + 128 + 32
    paddings = {}
    for number in range(2):
        update = array + word_at(data, array + 32 * number)
        for name, word in (("header", 3), ("pages", 5)):
            at = update + word_at(data, update + 32 * word)
            length = word_at(data, at)
            paddings[f"{name} {number}"] = at + 32 + length, at + 32 + -(-length // 32) * 32
    check_end_and_padding(world, 9, data, paddings)
    starts = [array + word_at(data, array + 32 * number) for number in range(2)]
    check_offsets(world, 9, data, [4 + 96, array, array + 32, *(at + 32 * word for at in starts for word in (3, 4, 5))])
    second = array + word_at(data, array + 32)
    for byte in (0, 7, 8, 11):
        assert "an address is too long" in refusal(world, 9, with_byte(data, second + byte))
    for word in (1, 2):
        for byte in (0, 23):
            assert "a number is too large" in refusal(world, 9, with_byte(data, second + 32 * word + byte))
    world.send(account(9), world.pool, data)


def test_weights_have_one_encoding(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    data = POOL.encode_call("loadPages", task, 0, weight_bytes(some_weights(FLAT)))
    check_end_and_padding(world, 0, data, {"weights": (4 + 128 + 2 * FLAT.weight_count, len(data))})
    assert "an offset leads elsewhere" in refusal(world, 0, with_byte(data, 4 + 95, 128) + data[4 + 96 :])
    world.send(account(0), world.pool, data)
    assert world.status(task)["version"] == 1


def test_an_opening_has_one_encoding(world: PoolChain) -> None:
    data = POOL.encode_call("openTask", world.number("nextTask"), FLAT.encode(), "{}", terms_tuple(TERMS))
    shape = 4 + word_at(data, 4 + 32)
    paddings = {
        "shape": (shape + 32 + len(FLAT.encode()), shape + 64 + len(FLAT.encode()) // 32 * 32),
        "model": (len(data) - 30, len(data)),
    }
    check_end_and_padding(world, 0, data, paddings)
    elsewhere = (len(data) - 4).to_bytes(32, "big")
    for word, tail in ((1, data[shape : shape + 96]), (2, data[-64:])):
        moved = data[: 4 + 32 * word] + elsewhere + data[4 + 32 * word + 32 :] + tail
        assert "an offset leads elsewhere" in refusal(world, 0, moved)
    for word in range(3, 14):  # the terms
        with pytest.raises(Reverted):
            world.send(account(0), world.pool, with_byte(data, 4 + 32 * word))
    world.send(account(0), world.pool, data)


def test_of_the_golden_calls_only_the_canonical_one_is_taken(world: PoolChain) -> None:
    (vector,) = json.loads((Path(__file__).parents[1] / "vectors/calldata.json").read_text())
    opened(world, Shape.decode(bytes.fromhex(vector["shape"])), [100])
    for case in vector["cases"][::-1]:
        data = bytes.fromhex(case["calldata"])
        if case["canonical"]:
            world.send(account(1), world.pool, data)
        else:
            assert refusal(world, 1, data).startswith("BadCalldata: "), case["what"]


# RFC 3629: the borders of each row of its table, from both sides
TEXT = ["7f", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf", "41e282ac42"]
NO_TEXT = [
    "80", "bf", "c0", "c080", "c1bf", "c2", "c241", "c2c0", "e09fbf", "e28241", "e282", "e2c2ac", "eda080", "edbfbf", "f08fbfbf",
    "f09f98", "f09f9841", "f09f4180", "f0c28080", "f4908080", "f5808080", "fe", "ff",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXT + NO_TEXT)
def test_a_model_text_is_utf_8(world: PoolChain, text: str) -> None:
    """Where Python's decoder stops, the chain does: a model that no reader can decode would come to everybody in an event."""
    raw = bytes.fromhex(text)
    try:
        raw.decode()
        readable = True
    except UnicodeDecodeError:
        readable = False
    assert readable == (text in TEXT)
    opening = POOL.encode_call("openTask", world.number("nextTask"), FLAT.encode(), "x" * len(raw), terms_tuple(TERMS))
    data = opening[:-32] + raw.ljust(32, b"\0")
    if readable:
        (event,) = world.events(world.send(account(0), world.pool, data))
        assert event.values["model"].encode() == raw
    else:
        assert refusal(world, 0, data).startswith("WrongModel: ")
