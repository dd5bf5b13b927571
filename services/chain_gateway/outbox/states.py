"""What may happen to a request: the transition table, and nothing that acts.

                 SIGN                     TAKE
    planned ───────────► signed ──────────────────► sent            bytes exist; both are *active*: handed in, watched, taken up at a start
      │  ▲                 │ ▲                       │
      │  └── FREE ─────────┤ └── SIGN, RESEND ──┐    │
      │ REFUSE             ├── HOLD ─────────► held ◄┘              bytes exist and a node said no: the caller is answered Refused
      ▼                    │                    │ FREE
    refused ◄──────────────┼────────────────────┘                   no bytes exist (any more): repeat it, it is judged anew
                           ├── LAND ──────► mined                   in a block, status 1
                           └── REVERT, LOSE ► failed                in a block, status 0; or its nonce is used and no receipt is shown

A held request keeps nonce and bytes. Repeated, it is judged anew and handed in again: the same bytes, or, if its fee or its call no
longer fit, others at the same nonce. It does not block its account: the next request takes the lowest nonce without an active request,
which is the held one's if the chain has not passed it. From then on both hope for the same nonce and one of them gets it. The receipt of
one is the proof that the other never landed and never will: FREE. (Their bytes always differ, so a hash belongs to one request.) Where
requests with higher nonces wait and none comes to fill the hole, the outbox fills it itself with a transfer of nothing to the account.

`TRANSITIONS` is this picture as a table. The store refuses to write any other step (a trigger made from the same table), and two active
requests at one nonce of an account (a unique index).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """Where a request stands."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    HELD = "held"
    MINED = "mined"
    FAILED = "failed"
    REFUSED = "refused"


class Move(Enum):
    """What moves a request on."""

    REFUSE = "the chain says no before anything is signed"
    SIGN = "signed bytes are on disk, at the request's one nonce"
    RESEND = "the bytes that are there are handed in again"
    TAKE = "a node says that it has them"
    HOLD = "a node refused the bytes; they may be there all the same"
    LAND = "a receipt with status 1"
    REVERT = "a receipt with status 0"
    LOSE = "its nonce is used, and no node shows a receipt"
    FREE = "a block holds another transaction at its nonce"


ACTIVE: Final = (State.SIGNED, State.SENT)
"""Handed in, watched, and taken up again at a start. One for each nonce of an account."""
ENDED: Final = (State.MINED, State.FAILED)
"""Its nonce is used. FAILED without a receipt (LOSE) keeps its bytes: the receipt may still be shown."""
WITHOUT_NONCE: Final = (State.PLANNED, State.REFUSED)
"""No bytes exist, so no nonce is kept for them."""

_RECEIPT: Final = {Move.LAND: State.MINED, Move.REVERT: State.FAILED}
_ACTIVE_STEPS: Final = _RECEIPT | {
    Move.SIGN: State.SIGNED,
    Move.TAKE: State.SENT,
    Move.HOLD: State.HELD,
    Move.LOSE: State.FAILED,
    Move.FREE: State.PLANNED,
}

TRANSITIONS: Final[Mapping[State, Mapping[Move, State]]] = {
    State.PLANNED: {Move.SIGN: State.SIGNED, Move.REFUSE: State.REFUSED},
    State.REFUSED: {Move.SIGN: State.SIGNED, Move.REFUSE: State.REFUSED},
    State.SIGNED: _ACTIVE_STEPS,
    State.SENT: _ACTIVE_STEPS,
    State.HELD: _RECEIPT
    | {Move.SIGN: State.SIGNED, Move.RESEND: State.SIGNED, Move.REFUSE: State.HELD, Move.FREE: State.REFUSED},
    # only after LOSE are there bytes left whose receipt may still be shown
    State.FAILED: _RECEIPT | {Move.FREE: State.FAILED},
    State.MINED: {},
}


def after(state: State, step: Move) -> State:
    """Raises RuntimeError for a step that the table lacks: that is a bug of whoever takes it."""
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise RuntimeError(f"a request that is {state.value} has no step {step.name}") from None


def changes() -> frozenset[tuple[State, State]]:
    """Every pair of a state and one that some step makes of it."""
    return frozenset((state, new) for state, steps in TRANSITIONS.items() for new in steps.values())
