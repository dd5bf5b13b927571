"""A taste of what `python -m tests.devchain.fuzz` runs by the million."""

import random

from tests.devchain.fuzz.targets import Fuzzer


def test_no_generated_input_is_more_than_refused() -> None:
    fuzzer = Fuzzer()
    for index in range(1000):
        fuzzer.one(random.Random(f"smoke/{index}"))
    assert len(fuzzer.seen) > 10
