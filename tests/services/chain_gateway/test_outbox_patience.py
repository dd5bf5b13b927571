"""What an account's nonce suggests, look after look, with block and time given."""

import pytest

from services.chain_gateway.outbox import Patience
from services.chain_gateway.outbox.patience import NonceSigns, Sign

PATIENCE = Patience(lost_blocks=10, lost_at_least_s=5.0, lost_at_most_s=30.0, proofs=3)
NONCE = 7
WAITING = {"latest": NONCE, "pending": NONCE + 1}
MISSING = {"latest": NONCE, "pending": NONCE}
USED = {"latest": NONCE + 1, "pending": NONCE + 1}


@pytest.mark.parametrize(
    ("blocks", "seconds", "over"),
    [(10, 5.0, True), (9, 5.0, False), (10, 4.9, False), (1000, 4.9, False), (0, 30.0, True), (9, 29.9, False)],
)
def test_blocks_count_after_some_seconds_and_many_seconds_count_alone(blocks: int, seconds: float, over: bool) -> None:
    assert PATIENCE.over(blocks, seconds) is over


def test_what_the_node_holds_may_land_with_the_next_block() -> None:
    signs = NonceSigns(PATIENCE, NONCE)
    assert {signs.look(**WAITING, block=n, now_s=n * 10.0) for n in range(100)} == {Sign.NOTHING}


def test_what_the_node_does_not_hold_is_missing_in_the_end_and_then_anew() -> None:
    signs = NonceSigns(PATIENCE, NONCE)
    assert signs.look(**MISSING, block=0, now_s=0.0) is Sign.NOTHING
    assert signs.look(**MISSING, block=10, now_s=5.0) is Sign.LONG_MISSING
    signs.sent_anew()
    assert signs.look(**MISSING, block=11, now_s=6.0) is Sign.NOTHING
    assert signs.look(**MISSING, block=21, now_s=11.0) is Sign.LONG_MISSING


def test_one_look_that_finds_it_begins_the_time_anew() -> None:
    signs = NonceSigns(PATIENCE, NONCE)
    signs.look(**MISSING, block=0, now_s=0.0)
    signs.look(**WAITING, block=5, now_s=2.0)
    assert signs.look(**MISSING, block=10, now_s=5.0) is Sign.NOTHING


def test_a_used_nonce_is_unexplained_only_after_three_long_times_in_a_row() -> None:
    signs = NonceSigns(PATIENCE, NONCE)
    now = 0.0
    for proof in range(PATIENCE.proofs):
        assert signs.look(**USED, block=0, now_s=now) is Sign.JUST_USED
        assert signs.look(**USED, block=0, now_s=now + 29.0) is Sign.NOTHING
        assert signs.look(**USED, block=0, now_s=now + 30.0) is Sign.LONG_USED
        assert signs.unexplained() is (proof == PATIENCE.proofs - 1)
        now += 31.0


def test_a_node_that_says_once_that_the_nonce_is_free_begins_the_proofs_anew() -> None:
    signs = NonceSigns(PATIENCE, NONCE)
    for _ in range(20):
        signs.look(**USED, block=0, now_s=0.0)
        assert signs.look(**USED, block=0, now_s=30.0) is Sign.LONG_USED
        assert not signs.unexplained()
        signs.look(**WAITING, block=0, now_s=31.0)
