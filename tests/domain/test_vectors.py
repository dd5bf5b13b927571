"""The golden vectors are what Python computes today; the tests of the Aspect read the same files."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from eth_hash.auto import keccak

from linklearner import artifacts
from linklearner.chain.abi import Interface
from linklearner.domain.digest import model_digest
from linklearner.domain.encodings import encoding_of
from linklearner.domain.errors import InvalidInput
from linklearner.domain.fixedpoint import divide_round
from linklearner.domain.model import ModelSpec
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update
from tests.any_model import reference_logits
from tests.vectors.generate import FILES, HERE, text_of


def load(name: str) -> list[dict]:
    return json.loads((HERE / name).read_text())


@pytest.mark.parametrize("name", list(FILES))
def test_the_committed_vectors_are_those_that_the_generator_writes(name: str) -> None:
    assert (HERE / name).read_text() == text_of(name)


def test_updates_decode_to_the_digests_and_norms_of_the_vectors() -> None:
    for case in load("updates.json"):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        counts = (shape.weight_count, shape.page_count, shape.group_count)
        assert counts == (case["weight_count"], case["page_count"], case["group_count"])
        for vector in case["updates"]:
            update = Update.decode(bytes.fromhex(vector["encoded"]), shape)
            assert update.digest(shape).hex() == vector["digest"]
            assert str(update.squared_norm(shape)) == vector["squared_norm"]


def test_merges_give_the_weights_of_the_vectors() -> None:
    for case in load("merge.json"):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        base = np.frombuffer(bytes.fromhex(case["base"]), "<i2").astype(np.int16)
        contributions = [
            Contribution(
                bytes.fromhex(c["contributor"]),
                int(c["weight"]),
                int(c["effective"]),
                Update.decode(bytes.fromhex(c["encoded"]), shape),
            )
            for c in case["contributions"]
        ]
        merged = MEAN.merge(base, contributions, int(case["eligible"]), shape)
        assert merged.weights.astype("<i2").tobytes().hex() == case["weights"]
        assert (merged.saturated, list(merged.changed_pages)) == (case["saturated"], case["changed_pages"])
        assert model_digest(merged.weights, shape).hex() == case["digest"]


def test_roundings_are_those_of_the_vectors() -> None:
    for case in load("rounding.json"):
        moved = int(divide_round(np.array([int(case["total"])]), int(case["divisor"]))[0])
        assert max(-(2**15), min(2**15 - 1, moved)) == case["weight"]


def test_effective_weights_are_those_of_the_vectors() -> None:
    for case in load("effective.json"):
        effective = MEAN.verdict(int(case["weight"]), int(case["squared_norm"]), case["bound"])
        assert str(effective) == case["effective"]


def test_forward_passes_are_those_of_the_vectors() -> None:
    for case in load("forward.json"):
        spec = ModelSpec.from_json(case["model"])
        weights, inputs = (np.array(case[name], dtype=np.float32) for name in ("weights", "inputs"))
        logits = reference_logits(spec, weights, inputs)
        assert logits.tolist() == case["logits"]


def test_calldata_is_read_to_the_values_of_the_vectors_and_told_canonical_or_not() -> None:
    pool = Interface(artifacts.contract("TrainingPool").abi)
    for vector in load("calldata.json"):
        for case in vector["cases"]:
            data = bytes.fromhex(case["calldata"])
            values = pool.decode_call(data).values
            assert {
                "task": values["task"],
                "digest": values["digest"].hex(),
                "header": values["header"].hex(),
                "groups": [group.hex() for group in values["groups"]],
            } == vector["values"], case["what"]
            with nullcontext() if case["canonical"] else pytest.raises(InvalidInput):
                pool.decode_call(data, canonical=True)


def test_quantised_deltas_are_the_updates_and_residuals_of_the_vectors() -> None:
    left = np.zeros(0)
    for case in load("quantise.json"):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        delta = left if case["carried"] else np.frombuffer(bytes.fromhex(case["delta"]), "<f8")
        made = quantise_delta(delta, shape, 2**21 - 1, 2**64 - 1, encoding_of(case["encoding"]))
        assert made.update.encode(shape).hex() == case["update"]
        assert made.update.digest(shape).hex() == case["digest"]
        assert keccak(made.residual.astype("<f8").tobytes()).hex() == case["residual"]
        left = made.residual
