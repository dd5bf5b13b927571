"""The pool's events and calls as dataclasses: held to the contract's ABI, and to each other."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from linklearner import artifacts
from linklearner.chain import contracts
from linklearner.chain.answers import Log
from linklearner.chain.contracts import CALLS, COMPLETED, EVENTS, POOL, VAULT, LoadPages, Submit, completed, decode_call
from linklearner.domain import events
from linklearner.domain.errors import DataLoss, InvalidInput
from linklearner.domain.events import GroupMerged, Settlement, TaskOpened, UpdateAccepted, UpdateSubmitted
from linklearner.domain.rounds import Terms

ABI: list[Mapping[str, Any]] = [*artifacts.contract("TrainingPool").abi, *artifacts.contract("StakeVault").abi]
TERMS = Terms(
    quorum_bps=2,
    max_updates=3,
    min_round_seconds=4,
    round_seconds=5,
    drop_seconds=6,
    stake_seconds=7,
    min_stake=8,
    settler_bps=9,
    server_bps=10,
    reward=11,
)
UPDATE = UpdateAccepted(
    block=3, transaction=b"\2" * 32, task=1, round=2, contributor=b"\3" * 20, digest=b"\4" * 32, weight=5, effective=6
)
SUBMIT = Submit(task=1, digest=b"\4" * 32, header=b"header", groups=(b"a", b"", b"c"))


NO_TASK = {
    "AspectSet", "OwnershipTransferStarted", "OwnershipTransferred", "DelegateChanged", "DelegateVotesChanged", "EIP712DomainChanged",
}  # fmt: skip


def named(entries: list[Mapping[str, Any]]) -> list[str]:
    return [re.sub("[A-Z]", lambda found: "_" + found.group().lower(), one["name"]) for one in entries]


def inputs(kind: str, name: str) -> list[Mapping[str, Any]]:
    return next(one["inputs"] for one in ABI if one["type"] == kind and one["name"] == name)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_s_fields_are_the_contract_s(name: str) -> None:
    assert {one.name for one in fields(EVENTS[name])} == {
        "block",
        "transaction",
        "time_s",
        *named(inputs("event", name)),
    }


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_s_fields_are_the_contract_s(kind: Any) -> None:
    assert [one.name for one in fields(kind)] == named(inputs("function", CALLS[kind]))


@pytest.mark.parametrize(("function", "struct"), [("openTask", Terms), ("settle", Settlement)])
def test_a_struct_s_fields_are_the_contract_s_in_its_order(function: str, struct: Any) -> None:
    """They are encoded by position."""
    assert [one.name for one in fields(struct)] == named(inputs("function", function)[-1]["components"])


def test_all_events_of_tasks_are_known() -> None:
    assert {one["name"] for one in ABI if one["type"] == "event"} == {*EVENTS, *NO_TASK}
    kinds = {kind for kind in vars(events).values() if is_dataclass(kind) and issubclass(kind, events.Event)}
    assert kinds == {events.Event, *EVENTS.values(), *(whole for _, whole in COMPLETED.values())}


def test_terms_and_calls_come_back_as_they_were_encoded() -> None:
    opened = POOL.decode_call(contracts.open_task(1, b"shape", "model", TERMS)).values
    assert contracts._made(Terms, opened["terms"]) == TERMS
    assert decode_call(Submit, contracts.submit(SUBMIT)) == SUBMIT
    pages = LoadPages(task=1, first_page=4, weights=b"\1\2")
    assert decode_call(LoadPages, contracts.load_pages(pages)) == pages
    update = Settlement(
        contributor=b"\1" * 20, weight=2, effective=3, header=b"h", digests=(b"\4" * 32,) * 2, pages=b"p"
    )
    settle = decode_call(contracts.Settle, contracts.settle(1, 2, 0, [update, replace(update, weight=9)]))
    assert (settle.task, settle.round, settle.group) == (1, 2, 0)
    assert settle.updates == (update, replace(update, weight=9))


def test_a_call_of_another_function_is_no_such_call() -> None:
    with pytest.raises(InvalidInput, match="calls drop, not submit"):
        decode_call(Submit, POOL.encode_call("drop", 1))


def test_an_event_and_the_calldata_that_made_it_are_one() -> None:
    assert completed(UPDATE, contracts.submit(SUBMIT)) == UpdateSubmitted(
        **{one.name: getattr(UPDATE, one.name) for one in fields(UPDATE)}, header=b"header", groups=SUBMIT.groups
    )


@pytest.mark.parametrize(
    "data",
    [
        lambda: b"",
        lambda: POOL.encode_call("drop", 1),
        lambda: contracts.submit(SUBMIT)[:100],
        lambda: contracts.submit(replace(SUBMIT, task=2)),
        lambda: contracts.submit(replace(SUBMIT, digest=bytes(32))),
    ],
    ids=["nothing", "another function", "cut off", "another task", "another digest"],
)
def test_calldata_that_did_not_make_an_event_is_data_loss(data: Callable[[], bytes]) -> None:
    with pytest.raises(DataLoss):
        completed(UPDATE, data())
    merged = GroupMerged(block=1, transaction=bytes(32), task=1, round=2, group=3)
    with pytest.raises(DataLoss):
        completed(merged, contracts.settle(1, 2, 4, []))


def test_a_log_that_claims_to_be_an_event_and_is_none_is_data_loss() -> None:
    topics = (POOL.topic("TaskOpened"), (1).to_bytes(32, "big"))
    log = Log(bytes(20), topics, b"", 7, 0, bytes(32))
    with pytest.raises(DataLoss) as lost:
        contracts.decode_event(log)
    assert lost.value.facts["block"] == "7"
    with pytest.raises(DataLoss):
        contracts.decode_event(replace(log, topics=topics[:1]))


def test_what_concerns_no_task_is_no_event_and_strange_events_are_not_known() -> None:
    aspect = Log(bytes(20), (POOL.topic("AspectSet"), bytes(32)), b"", 1, 0, bytes(32))
    assert contracts.is_known(aspect) and contracts.decode_event(aspect) is None
    for topics in ((), (b"\1" * 32,)):
        strange = replace(aspect, topics=topics)
        assert not contracts.is_known(strange) and contracts.decode_event(strange) is None


def test_a_task_s_opening_has_its_terms() -> None:
    from eth_abi.abi import encode

    creator = bytes(12) + b"\7" * 20
    components = inputs("function", "openTask")[-1]["components"]
    kinds = ["string", "bytes", "(" + ",".join(one["type"] for one in components) + ")"]
    data = encode(kinds, ["model", b"shape", [getattr(TERMS, one.name) for one in fields(Terms)]])
    log = Log(bytes(20), (POOL.topic("TaskOpened"), (9).to_bytes(32, "big"), creator), data, 7, 0, b"\1" * 32)
    assert contracts.decode_event(log) == TaskOpened(
        block=7, transaction=b"\1" * 32, task=9, creator=b"\7" * 20, model="model", shape=b"shape", terms=TERMS
    )


def test_an_event_counts_only_from_the_contract_that_has_it() -> None:
    word = bytes(31) + b"\1"
    locked = Log(bytes(20), (VAULT.topic("StakeLocked"), word, word), word * 2, 1, 0, bytes(32))
    assert contracts.is_known(locked, VAULT) and not contracts.is_known(locked)
    assert contracts.decode_event(locked) is None
    assert contracts.decode_event(locked, VAULT) == events.StakeLocked(
        block=1, transaction=bytes(32), task=1, account=bytes(19) + b"\1", units=1, matures_at=1
    )
    closing = Log(bytes(20), (POOL.topic("TaskClosing"), word), b"", 1, 0, bytes(32))
    assert contracts.is_known(closing) and not contracts.is_known(closing, VAULT)
