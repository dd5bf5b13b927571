"""Writes docs/data.md: every source of samples that a trainer understands, out of the table that it reads.

python -m tools.data_page            writes it
python -m tools.data_page --check    fails if it is not what the table gives
"""

import sys

from linklearner import arrays
from services.trainer.data import MAX_VALUES, SOURCES, columns, images, named, sources, split
from tools.written import ROOT, write

PATH = ROOT / "docs" / "data.md"
HEAD = """\
# Data

Made by `tools/data_page.py` out of the table that the trainer reads; do not edit. A trainer reads its samples once, at its start, from the
source that `LINKLEARNER_TRAINER_DATA` names: `KIND:PLACE?OPTION=VALUE&OPTION=VALUE`. Quote it: a shell takes `?` and `&` for its own. In
values, `%26` is an ampersand, `%2C` a comma inside of a name, `%25` a percent sign.

Samples never leave the trainer, and no log shows them. What is no data for the task is refused before a round is begun, with what to do
about it: numbers that are not finite, one label alone, text where numbers belong, labels that count from 1, one-hot labels, labels as
floats, another count of columns, and numbers far from the range that the task states (`linklearner task show`).
"""

NAMES = """
## Names of arrays

In an archive, a folder of .npy files, or a dict that a function returns. Capitals make no difference; the first row that is there is taken,
and the log names what was left aside.
"""
REST = """
Any other name is an input's own: beside `y` (or `y_train`), `tokens` and `mask` are the inputs `tokens` and `mask` of a task that has two;
`tokens_test`, `mask_test` and `y_test` are held out.

## What becomes of the numbers

**Inputs** keep their type until a task is known: then each becomes what the task's input takes (FP32, INT64, INT32, UINT8 or BOOL), and
numbers that it does not have are refused. Rows become images and images rows; lengths of 1 come and go. Channels that come last are
moved to the front if no other dimension is as short, and the log says so; any other order is refused. Nothing else is done to them:
what a model needs of scaling is part of its graph, and `scale=` is yours to say.

**y** of whole numbers from 0, (n,) or (n, 1), are labels: the places in the task's list, or their names where the task calls its labels
by other numbers. Text is a label by its name. Other numbers, and several of each sample, are targets, for tasks whose loss is
mean-squared-error or binary-cross-entropy.

**Held out** is the test set of the source, or a fifth ({held_out:.0%}) of the samples of each label; of numbers, of each tenth by size.
It is the same for everybody who has the same data: the seed is fixed.

**Shards**, to play several contributors with one data set (`LINKLEARNER_TRAINER_SHARD`), differ by Dirichlet over the labels; of
numbers, over the tenths by size of the (first) target. `LINKLEARNER_TRAINER_ALPHA=iid` deals all alike.

## Bounds

A file, and what it opens to, has at most {file} MiB; a table as text {text} MiB and {columns:,} columns; a picture {pixels:,} pixels; a
data set {values:,} numbers. Each is checked before anything of that size is allocated. Pickles, which are programs, are never loaded:
not in .npy or .npz files, and not as CIFAR's batches; save plain arrays instead.
"""


def _example(source: str) -> list[str]:
    quoted = f"'{source}'" if set(source) & set("?&") else source
    return ["", "```", f"LINKLEARNER_TRAINER_DATA={quoted} python -m services.trainer", "```"]


def _sources() -> list[str]:
    lines = []
    for kind, source in SOURCES.items():
        lines += ["", f"### `{kind}:{source.place}`" if source.place else f"### `{kind}`", ""]
        lines.append(f"{source.about[0].upper()}{source.about[1:]}")
        if source.options:
            lines += ["", "| option | means |", "|---|---|"]
            for name, meaning in source.options.items():
                needed = " Needed." if name in source.required else ""
                lines.append(f"| `{name}=` | {meaning}{needed} |")
        lines += _example(source.example)
    return lines


def _names() -> list[str]:
    lines = ["", "| inputs | labels or targets | held out | whose names |", "|---|---|---|---|"]
    for row in named.NAMES:
        test = f"`{row.x_test}`, `{row.y_test}`" if row.x_test else "a fifth"
        lines.append(f"| `{row.x}` | `{row.y}` | {test} | {row.whose} |")
    return lines


def page() -> str:
    ((scale, meaning),) = sources.EVERY_OPTION.items()
    every = f"Every source takes `{scale}=`: {meaning[0].lower()}{meaning[1:]}"
    rest = REST.format(
        held_out=split.HELD_OUT_SHARE,
        file=arrays.MAX_BYTES >> 20,
        text=arrays.MAX_TEXT_BYTES >> 20,
        columns=columns.MAX_COLUMNS,
        pixels=images.MAX_PIXELS,
        values=MAX_VALUES,
    )
    lines = [HEAD.rstrip(), "", "## Sources", *_sources(), "", every, *_example("digits?scale=1/16")]
    return "\n".join((*lines, NAMES.rstrip(), *_names(), rest.rstrip())) + "\n"


def main(arguments: list[str]) -> int:
    return write(PATH, page(), "tools.data_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
