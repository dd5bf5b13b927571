"""Private samples: where they come from, the held-out split that everybody shares, and shards that differ.

A source is one string, KIND:PLACE?OPTIONS; docs/data.md lists what is understood, made of the table `sources.SOURCES`. Each kind is a file
of this package; none of them imports torch, and libraries that read one format only are imported by the first file of that format.
"""

from services.trainer.data.packaged import diabetes, digits
from services.trainer.data.samples import DTYPES, MAX_LABEL, MAX_VALUES, NOTHING_TO_LEARN, Samples
from services.trainer.data.sources import SOURCES, forms, load
from services.trainer.data.split import Shard, hold_out, shards, strata

__all__ = [
    "DTYPES",
    "MAX_LABEL",
    "MAX_VALUES",
    "NOTHING_TO_LEARN",
    "SOURCES",
    "Samples",
    "Shard",
    "diabetes",
    "digits",
    "forms",
    "hold_out",
    "load",
    "shards",
    "strata",
]
