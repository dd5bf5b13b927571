"""What this gateway owes the chain, on disk before anything is sent.

A request is one transaction, named by its caller (`request_id`): whatever a node answers, at most one transaction of it lands. The rule
that gives this is about nonces, because the chain takes each of them once:

    Bytes that are on disk may be in a node's hands. A request whose bytes exist keeps its nonce, and every repetition uses that nonce,
    until a block is *seen* to hold another transaction of the account at it.

Only what a node shows is evidence: a receipt of one of our hashes, a block with a transaction at our nonce. What it does not show proves
nothing (one URL may be many backends, some of them behind), and what it says when it refuses proves nothing either: "invalid nonce" is also
the second backend's answer to bytes that the first one has just mined, "insufficient funds" may be said of a transaction that was taken.
Assumed is that a node does not invent blocks, receipts or transactions; a node that does can only make us believe in an end that is none.

The signed bytes are committed (SQLite, WAL, synchronous=FULL) before they are sent, so after `kill -9` at any point the same request ends
in one transaction: whether bytes on disk were handed in nobody knows, so they are taken for handed in, and sent again.

Where things are, from the bottom up:

    states     what may happen to a request: the transition table
    requests   what a caller asks for and is answered
    patience   how long to wait, and what an account's nonce means while there is no receipt
    attempts   the bytes of one signing, read back
    fees       what is paid for gas, and what is never paid
    store      the file; writes no step that the table lacks
    signing    a call becomes bytes that no request has yet
    evidence   what blocks show of our nonces
    delivery   one account's nonces in order: planned, signed, committed, handed in
    watch      from handed in to decided
    sender     `Outbox`: one driver for each request, taken up again at a start
"""

from services.chain_gateway.outbox.patience import Patience
from services.chain_gateway.outbox.requests import Outcome, Prepare, Request, always
from services.chain_gateway.outbox.sender import Outbox
from services.chain_gateway.outbox.states import State

__all__ = ["Outbox", "Outcome", "Patience", "Prepare", "Request", "State", "always"]
