"""Throws generated inputs at the Aspect runtime: `python -m tests.devchain.fuzz --count 1000000 --seed 1`.

Each input comes from `Random(f"{seed}/{index}")`, so one that fails can be had again with `--only INDEX`. What may come out of an
input is said in `targets`; anything else, or an input that takes too long, ends the run with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import time

from tests.devchain.fuzz.targets import Fuzzer

_HANG = 30.0
"""Seconds for one input, on a busy machine."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.devchain.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how many inputs")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0, help="index of the first input")
    parser.add_argument("--only", type=int, help="run this index alone")
    options = parser.parse_args()
    first, count = (options.first, options.count) if options.only is None else (options.only, 1)

    fuzzer = Fuzzer()
    started = time.monotonic()
    for index in range(first, first + count):
        if index % 64 == 0 or index == first:
            faulthandler.dump_traceback_later(64 * _HANG, exit=True)
        before = time.monotonic()
        try:
            fuzzer.one(random.Random(f"{options.seed}/{index}"))
            if time.monotonic() - before > _HANG:
                raise TimeoutError(f"more than {_HANG} s")
        except BaseException:
            print(f"FAILED: --seed {options.seed} --only {index}", file=sys.stderr)
            raise
        if (index + 1 - first) % 50_000 == 0:
            _report(fuzzer, index + 1 - first, started)
    faulthandler.cancel_dump_traceback_later()
    _report(fuzzer, count, started)


def _report(fuzzer: Fuzzer, done: int, started: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    what = ", ".join(f"{name} {number}" for name, number in sorted(fuzzer.seen.items()))
    print(f"{done} inputs in {time.monotonic() - started:.0f} s, peak {peak} MiB: {what}", flush=True)


if __name__ == "__main__":
    main()
