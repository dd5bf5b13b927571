"""The transition table alone: no file, no chain."""

import pytest

from services.chain_gateway.outbox.states import ACTIVE, ENDED, TRANSITIONS, WITHOUT_NONCE, Move, State, after, changes

WITH_BYTES = (*ACTIVE, State.HELD)


def test_the_table_covers_every_state_and_every_step() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {step for steps in TRANSITIONS.values() for step in steps} == set(Move)


def test_every_state_is_reached_from_planned() -> None:
    reached, new = set[State](), {State.PLANNED}
    while new:
        reached |= new
        new = {state for at in new for state in TRANSITIONS[at].values()} - reached
    assert reached == set(State)


def test_a_step_that_the_table_lacks_is_a_bug() -> None:
    for state in State:
        for step in Move:
            if step in TRANSITIONS[state]:
                assert (state, after(state, step)) in changes()
            else:
                with pytest.raises(RuntimeError, match="no step"):
                    after(state, step)


def test_bytes_that_exist_are_only_freed_by_what_a_block_shows() -> None:
    """From every state with bytes, the states without are reached by FREE alone."""
    for state in set(State) - set(WITHOUT_NONCE):
        assert {step for step, new in TRANSITIONS[state].items() if new in WITHOUT_NONCE} <= {Move.FREE}


def test_bytes_come_to_be_by_signing_alone() -> None:
    for state in WITHOUT_NONCE:
        assert {step for step, new in TRANSITIONS[state].items() if new not in WITHOUT_NONCE} == {Move.SIGN}


@pytest.mark.parametrize("state", WITH_BYTES)
def test_a_receipt_ends_whatever_has_bytes(state: State) -> None:
    assert (after(state, Move.LAND), after(state, Move.REVERT)) == (State.MINED, State.FAILED)


def test_an_end_stays_an_end() -> None:
    assert not TRANSITIONS[State.MINED]
    assert set(TRANSITIONS[State.FAILED].values()) <= set(ENDED)
    assert Move.SIGN not in TRANSITIONS[State.FAILED]  # never sent again


def test_only_absence_is_no_proof() -> None:
    """LOSE, which no block shows, is for what is watched and leads to an end that a late receipt can still correct."""
    assert {state for state in State if Move.LOSE in TRANSITIONS[state]} == set(ACTIVE)
    assert Move.LAND in TRANSITIONS[State.FAILED]
