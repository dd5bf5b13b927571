"""The digits that the page ships with are those that their program makes of scikit-learn's."""

from tools import starter_digits


def test_the_page_ships_what_its_program_makes() -> None:
    assert starter_digits.PATH.read_bytes() == starter_digits.records()


def test_no_digit_that_the_page_measures_on_is_one_that_it_trains_on() -> None:
    made, record = starter_digits.records(), 65
    records = [made[start : start + record] for start in range(0, len(made), record)]
    assert len(records) == 20 * starter_digits.EACH
    learn, held_out = records[: 10 * starter_digits.EACH], records[10 * starter_digits.EACH :]
    assert not set(learn) & set(held_out)
    assert [bytes(one)[0] for one in learn] == [bytes(one)[0] for one in held_out]
