"""The golden vectors, in Chromium: what the page sends is what Python would send, to the byte."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_hash.auto import keccak
from playwright.sync_api import Browser, Page

from linklearner.domain import gas
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.graph import Node
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CALLDATA = bytes(range(256)) + bytes(256)


def load(name: str) -> list[dict[str, Any]]:
    return json.loads((VECTORS / name).read_text())


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.add_script_tag(path=Path(__file__).with_name("domain.js"))
    yield page
    context.close()


def test_quantised_deltas_are_the_same_updates_and_residuals(page: Page) -> None:
    cases = load("quantise.json")
    found = page.evaluate(
        """cases => {
          let left = null;
          return cases.map(one => {
            const shape = domain.Shape.decode(domain.bytesOf(one.shape));
            const bytes = one.carried ? null : domain.bytesOf(one.delta);
            const delta = one.carried ? left : new Float64Array(bytes.buffer);
            const encoding = domain.ENCODINGS.find(row => row.code === one.encoding);
            const made = domain.quantise(delta, shape, 2n ** 21n - 1n, 2n ** 64n - 1n, encoding);
            left = made.residual;
            return {
              update: domain.hexOf(domain.encode(made.update, shape)).slice(2),
              digest: domain.hexOf(domain.digest(made.update, shape)).slice(2),
              residual: domain.hexOf(domain.keccak(new Uint8Array(left.buffer))).slice(2),
              norm: domain.norm(made.update, shape),
              limit: domain.submitLimit(CALLDATA, made.update, shape),
            };
          });
        }""".replace("CALLDATA", json.dumps("0x" + CALLDATA.hex())),
        cases,
    )
    assert len(found) > 50
    for case, made in zip(cases, found, strict=True):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        update = Update.decode(bytes.fromhex(case["update"]), shape)
        assert made.pop("norm") == math.sqrt(update.squared_norm(shape))
        assert made.pop("limit") == gas.submit_limit(CALLDATA, update, shape)
        assert made == {name: case[name] for name in made}


def test_a_model_s_digest_is_the_same(page: Page) -> None:
    for case in load("quantise.json")[:3]:
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        weights = np.arange(shape.weight_count, dtype="<i2") * 257
        made = page.evaluate(
            """([bytes, shape]) => domain.hexOf(
              domain.modelDigest(domain.bytesOf(bytes), domain.Shape.decode(domain.bytesOf(shape))))""",
            [weight_bytes(weights).hex(), case["shape"]],
        )
        assert made == "0x" + model_digest(weights, shape).hex()


def test_models_compute_the_same_logits(page: Page) -> None:
    cases = load("forward.json")
    flat = [{**case, "inputs": [list(map(float, numbers(row))) for row in case["inputs"]]} for case in cases]
    found = page.evaluate(
        """async cases => {
          const answers = [];
          for (const one of cases) {
            const model = await domain.readModel(one.model);
            const x = Float32Array.from(one.inputs.flat(), value => value * model.scale);
            const weights = Float32Array.from(one.weights);
            const out = domain.forward(model.layers, weights, x, one.inputs.length).at(-1);
            answers.push([...out]);
          }
          return answers;
        }""",
        flat,
    )
    for case, logits in zip(flat, found, strict=True):
        assert logits == numbers(case["logits"])


def test_gradients_are_those_of_the_forward_pass(page: Page) -> None:
    """By central differences, in every weight, of every kind of layer."""
    for case in load("forward.json"):
        worst = page.evaluate(
            """async one => {
              const model = await domain.readModel(one.model);
              const n = one.weights.length;
              const weights = Float32Array.from({ length: n }, (_, i) => Math.sin(3 * i + 1));
              const x = Float32Array.from({ length: 2 * model.inputCount }, (_, i) => Math.cos(7 * i));
              const loss = w => domain.forward(model.layers, w, x, 2).at(-1).reduce((sum, v) => sum + v * v / 2, 0);
              const values = domain.forward(model.layers, weights, x, 2);
              const gradient = new Float32Array(n);
              domain.backward(model.layers, weights, values, values.at(-1), gradient, 2);
              let worst = 0;
              for (let i = 0; i < n; i++) {
                const step = 1 / 1024;
                const [up, down] = [weights.slice(), weights.slice()];
                up[i] += step;
                down[i] -= step;
                const slope = (loss(up) - loss(down)) / (up[i] - down[i]);
                worst = Math.max(worst, Math.abs(slope - gradient[i]) / (1 + Math.abs(slope)));
              }
              return worst;
            }""",
            case,
        )
        assert worst < 0.01, case["model"]


def test_digests_and_calldata_are_the_same(page: Page) -> None:
    for length in (0, 1, 135, 136, 137, 4096):
        data = [7 * i % 256 for i in range(length)]
        assert (
            page.evaluate("bytes => domain.hexOf(domain.keccak(Uint8Array.from(bytes)))", data)
            == "0x" + keccak(bytes(data)).hex()
        )
    compared = 0
    for one in load("calldata.json"):
        values = one["values"]
        canonical = next(case for case in one["cases"] if case["what"] == "canonical")
        if "header" not in values or not canonical["calldata"].startswith("437cfc3f"):
            continue
        made = page.evaluate(
            "v => domain.calldata('submit', BigInt(v.task), '0x' + v.digest, '0x' + v.header, v.groups.map(g => '0x' + g))",
            values,
        )
        assert made == "0x" + canonical["calldata"]
        compared += 1
    assert compared


def test_a_refusal_is_understood_however_it_comes(page: Page) -> None:
    def reason(error: dict[str, Any]) -> str:
        return str(page.evaluate("error => domain.refusalOf(error).reason", error))

    words = b"StaleBase: the update is against version 1, the newest is 2"
    text = (32).to_bytes(32) + len(words).to_bytes(32) + words.ljust(64, b"\0")
    assert reason({"code": 3, "message": "execution reverted", "data": "0x08c379a0" + text.hex()}) == "StaleBase"
    assert reason({"code": 3, "message": f"execution reverted: {words.decode()}"}) == "StaleBase"
    counting = keccak(b"BelowMinimumStake(uint64,uint64)")[:4] + (5).to_bytes(32) + (100).to_bytes(32)
    assert (
        reason({"code": -32603, "message": "Internal", "data": {"data": "0x" + counting.hex()}}) == "BelowMinimumStake"
    )
    assert reason({"code": 4001, "message": "User rejected"}) == "Declined"
    assert reason({"code": -32000, "message": "insufficient funds for gas * price + value"}) == "InsufficientFunds"


def test_a_graph_that_is_no_chain_of_known_layers_is_not_trained_here(page: Page) -> None:
    def read(text: str) -> Any:
        return page.evaluate(
            "text => domain.readModel(text).then(m => [m.layers === null, m.name], e => e.reason)", text
        )

    mlp = load("forward.json")[0]["model"]
    assert read(mlp) == [False, "vector"]
    spec = ModelSpec.from_json(mlp)
    (logits,) = spec.graph.outputs
    bent = replace(
        spec.graph,
        outputs=(replace(logits, name="more"),),
        nodes=(*spec.graph.nodes, Node("Sigmoid", (logits.name,), "more")),
    )
    assert read(replace(spec, graph=bent).to_json()) == [True, "vector"]
    divided = replace(
        spec.graph,
        constants=(replace(spec.graph.constants[0], values=(16.0,)),),
        nodes=(replace(spec.graph.nodes[0], operator="Div"), *spec.graph.nodes[1:]),
    )
    assert read(replace(spec, graph=divided).to_json()) == [False, "vector"]
    tampered = json.loads(mlp)
    tampered["digest"] = "00" * 32
    assert read(json.dumps(tampered)) == "InvalidModel"
    for text in (
        "",
        "[]",
        "{}",
        '{"format":3}',
        '{"format":1,"kind":"mlp"}',
        '{"format":2,"graph":"AAAA","digest":""}',
    ):
        assert read(text) == "InvalidModel"


def test_a_sign_in_text_is_signed_only_if_it_is_ours(page: Page) -> None:
    text = (
        "localhost:8780 wants you to sign in with your Ethereum account:\n0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\n"
        "Ask the model of LinkLearner task 1. This signature costs nothing and moves nothing.\n\n"
        "URI: http://localhost:8780/inference.GRPCInferenceService\nVersion: 1\nChain ID: 7105636\n"
        f"Nonce: {'01' * 32}\nIssued At: 2026-11-28T09:00:00Z\nExpiration Time: 2026-11-28T09:03:00Z"
    )
    expected = {
        "origin": "http://localhost:8780", "account": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "chainId": "7105636",
        "task": "1", "nonce": "01" * 16, "now": 1795856430000,
    }  # fmt: skip

    def signed(words: str, **changes: Any) -> bool:
        asked = [words, {**expected, **changes}]
        return bool(
            page.evaluate(
                "([text, e]) => { try { domain.checkSignIn(text, e); return true; } catch { return false; } }", asked
            )
        )

    assert signed(text)
    assert not any(
        signed(text, **{name: value})
        for name, value in {
            "origin": "http://localhost:8781", "account": "0x" + "00" * 20, "chainId": "1", "task": "2", "nonce": "02" * 16,
            "now": 1795856800000,
        }.items()
    )  # fmt: skip
    assert not signed(text.replace("URI: http://localhost:8780/", "URI: grpc://localhost:8780/"))
    assert not signed(text + "\nResources:\n- everything")


def numbers(value: Any) -> list[float]:
    return [number for part in value for number in numbers(part)] if isinstance(value, list) else [value]
