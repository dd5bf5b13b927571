"""A report is one file that loads nothing and runs nothing, whatever the names in it are."""

import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.plan import digits
from linklearner.domain.replay import Flows
from linklearner.domain.training import PrivacySpent
from linklearner.report import numbers
from linklearner.report.charts import Series, bar_chart, line_chart, nice_ticks
from linklearner.report.facts import (
    ContributorFacts,
    Measured,
    RefusedFacts,
    RoundFacts,
    TaskFacts,
    VersionFacts,
)
from linklearner.report.markup import LONGEST, element, text
from linklearner.report.of_task import task_page
from linklearner.report.simulated import simulation_page
from linklearner.simulation import (
    Scored,
    SimulatedContributor,
    SimulatedRound,
    Simulation,
    SimulationResult,
)

HOSTILE = "<script>alert(1)</script>\"' onload=x &amp; \u202egnp.exe\u0000\ud800</title></style>"
LOADS = {"src", "href", "srcset", "action", "data", "poster", "background", "ping", "formaction", "xlink:href"}
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "figure", "details", "summary", "div", "p",
    "h1", "h2", "h3", "span", "bdi", "abbr", "dl", "dt", "dd", "ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg",
    "g", "line", "path", "circle", "rect", "text",
}  # fmt: skip


class Read(HTMLParser):
    """Elements with their attributes, whether they nest, and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)


def task(**changes: Any) -> TaskFacts:
    """A task of three rounds, the second dropped."""
    someone, other = b"\x01" * 20, b"\x02" * 20
    facts = TaskFacts(
        chain_id=1, pool=b"\xaa" * 20, rpc="http://127.0.0.1:1", task=1, creator=b"\xcc" * 20, name="digits", weights=2410, pages=2,
        terms=digits().terms, head=99, opened_s=1_800_000_000, opening_gas=1_000_000,
        versions=[
            VersionFacts(1, 0, b"\x01" * 32, 5, 1_800_000_010, 0, 0, Measured("accuracy", 0.1, 2.3)),
            VersionFacts(2, 1, b"\x02" * 32, 9, 1_800_000_090, 2, 0, Measured("accuracy", 0.9, 0.4)),
            VersionFacts(3, 3, b"\x03" * 32, 19, 1_800_000_190, 1, 4, Measured("accuracy", 0.95, 0.2)),
        ],
        rounds=[
            RoundFacts(1, version=2, accepted=2, update_bytes=1300, submission_gas=150_000, settlement_gas=900_000, paid=95 * 10**18,
                       settler=someone, settler_paid=5 * 10**18, pot=900 * 10**18, ended_s=1_800_000_090),
            RoundFacts(2, dropped=True, pot=900 * 10**18, ended_s=1_800_000_100),
            RoundFacts(3, version=3, accepted=1, update_bytes=650, submission_gas=75_000, settlement_gas=800_000, paid=1,
                       pot=899 * 10**18, ended_s=1_800_000_190),
        ],
        contributors=[
            ContributorFacts(someone, accepted=2, scaled=1, update_bytes=1300, gas=150_000, stake=1000, earned=95 * 10**18,
                             claimable=10**17, privacy=PrivacySpent("sgd", 2.5, 1e-4, 8.0, 3.0, 1.0, rounds_left=7)),
            ContributorFacts(other, stake=10, claimable=0),
        ],
        refused=[RefusedFacts(7, 1_800_000_050, b"\x07" * 32, other, "submit", "StaleBase", 200_000)],
        flows=Flows(funded=1000 * 10**18, earned=95 * 10**18 + 1), pot=899 * 10**18, stake=1010,
        measured_by="the trainer at 127.0.0.1:2, on 359 held-out samples",
    )  # fmt: skip
    facts.contributors[1].refused["StaleBase"] += 1
    for name, value in changes.items():
        setattr(facts, name, value)
    return facts


def simulation(**changes: Any) -> SimulationResult:
    rounds = tuple(
        SimulatedRound(
            round=n, score=Scored("accuracy", 0.8 + n / 100, 0.5), float_score=Scored("accuracy", 0.81 + n / 100, 0.4),
            accepted=3, refused={"EmptyUpdate": 1},
            submission_gas=200_000, settlement_gas=800_000, update_bytes=1900, calldata_bytes=4000, saturated=0, longest=0.4,
        )
        for n in (1, 2)
    )  # fmt: skip
    people = tuple(SimulatedContributor(samples=n, labels=3, stake=1000, accepted=2, refused=0) for n in (40, 1, 9, 7))
    result = SimulationResult(
        settings=Simulation(contributors=4, rounds=2), model="digits", weights=2410, held_out=359, steps=100, takers=4,
        first=Scored("accuracy", 0.1, 2.3), rounds=rounds,
        contributors=people, seconds=1.5, workers=2,
    )  # fmt: skip
    return replace(result, **changes)


def holds(page: str) -> Read:
    """What is true of every page."""
    page.encode()
    read = Read(page)
    for name, attributes in read.elements:
        assert name in ELEMENTS, name
        assert not LOADS & attributes.keys() and not any(key.startswith("on") for key in attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme:dark" in style
    policy = dict(next(a for n, a in read.elements if n == "meta" and "http-equiv" in a))
    assert (policy["content"] or "").startswith("default-src 'none'")
    for name, attributes in read.elements:
        if name == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if name == "th":
            assert attributes["scope"] == "col"
    assert dict(read.elements)["html"] == {"lang": "en"}
    return read


def test_a_task_s_page_says_what_there_is() -> None:
    read = holds(task_page(task(), ["rule mean"]))
    said = " ".join(read.text)
    for words in (
        "0.950",
        "history replayed",
        "version 3",
        "dropped",
        "1 StaleBase",
        "2 (1 scaled)",
        "2.50 of 8",
        "rule mean",
        "1,000,000 gas",
    ):
        assert words in said, words
    assert sum(name == "svg" for name, _ in read.elements) == 6
    # every chart but the second of a pair, which shares its table, has its numbers behind it
    assert sum(name == "details" for name, _ in read.elements) == 3


def test_names_that_others_wrote_stay_text() -> None:
    facts = task(name=HOSTILE, rpc=HOSTILE, divergence=HOSTILE, measured_by=HOSTILE, refused_why=HOSTILE)
    assert facts.refused is not None
    facts.refused.append(RefusedFacts(1, 1, b"\1" * 32, b"\2" * 20, HOSTILE, HOSTILE, 1))
    facts.contributors[0].refused[HOSTILE] += 1
    for page in (
        task_page(facts, [HOSTILE]),
        task_page(replace(facts, versions=[], measured_why=HOSTILE), [HOSTILE]),
        simulation_page(simulation(model=HOSTILE)),
    ):
        read = holds(page)
        assert "<script" not in page and "\u202e" not in page and "\0" not in page
        assert any("<script>alert(1)" in said and "\\u202e" in said for said in read.text)


def test_a_history_that_breaks_the_rules_is_said_first() -> None:
    read = holds(task_page(task(divergence="block 7: weight should be 3", flows=None, pot=None, stake=None), []))
    said = " ".join(read.text)
    assert "history breaks the rules" in said and "block 7: weight should be 3" in said and "is equal" not in said


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": [], "rounds": [], "contributors": [], "refused": [], "flows": None, "pot": None},
        {"measured_by": "", "measured_why": "no trainer was named (--trainer)", "refused": None, "refused_why": "not looked for"},
        {"versions": [VersionFacts(1, 0, b"\1" * 32, 5, 0, 0, 0, Measured("R²", -3.5, 12.5))]},
        {"versions": [VersionFacts(1, 0, b"\1" * 32, 5, 2**32 - 1, 0, 0, Measured(HOSTILE, float("nan"), float("inf")))]},
        {"rounds": [RoundFacts(1)]},
        {"rounds": [RoundFacts(n, version=n, accepted=1, submission_gas=n, pot=10**30) for n in range(1, 700)]},
        {"contributors": [ContributorFacts(n.to_bytes(20), accepted=1, earned=n) for n in range(700)]},
    ],
)  # fmt: skip
def test_any_task_gives_a_page(changes: dict[str, Any]) -> None:
    holds(task_page(task(**changes), []))


def test_a_simulation_s_page_says_what_there_is() -> None:
    said = " ".join(holds(simulation_page(simulation())).text)
    for words in ("0.820", "0.830", "dirichlet:0.5", "on chain (two-bits)", "2 EmptyUpdate"):
        assert words in said, words
    regression = simulation(first=Scored("R²", -0.5, 2.0))
    said = " ".join(holds(simulation_page(regression)).text)
    assert "R²" in said and "variance" in said and "Accuracy" not in said


@given(st.text())
def test_any_text_is_shown_and_nothing_else(written: str) -> None:
    read = Read(element("p", written))
    assert [name for name, _ in read.elements] == ["p"]
    shown = "".join(read.text)
    assert (
        not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl") for one in shown) and len(shown) <= 10 * LONGEST
    )
    if written.isprintable() and len(written) <= LONGEST:
        assert shown == written
    assert text(written) == element("p", written)[3:-4]


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_ticks_are_round_and_hold_all_values(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 8
    slack = 1e-6 * max(abs(low), abs(low + span), 1.0)
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack
    steps = {round((b - a) / (ticks[1] - ticks[0]), 3) for a, b in pairwise(ticks)}
    assert steps == {1.0}


def test_shares_stay_on_their_axis() -> None:
    assert nice_ticks(1.0, 1.0, (0.0, 1.0))[-1] <= 1.0 + 1e-9
    assert nice_ticks(0.0, 0.0, (0.0, float("inf")))[0] == 0.0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(allow_nan=True, allow_infinity=True)), max_size=60))
def test_lines_are_drawn_inside_their_frame_whatever_the_values(points: list[tuple[int, float]]) -> None:
    drawn = line_chart(
        "t", [Series("s", [(x, y) for x, y in points if abs(y) < 1e15 or y != y])], x="x", y=numbers.compact
    )
    if drawn is not None:
        for name, value in re.findall(r'\b(cx|cy)="(-?[\d.e+]+)"', drawn):
            assert 0 <= float(value) <= (560 if name == "cx" else 232)
        assert "nan" not in drawn.lower().replace("title", "")


def test_a_long_line_is_drawn_to_its_end() -> None:
    drawn = line_chart("t", [Series("s", [(n, float(n)) for n in range(2000)])], x="x", y=numbers.compact)
    assert drawn is not None
    (path,) = re.findall(r'<path d="([^"]*)"', drawn)
    assert len(re.findall("[ML]", path)) == 2000 and "…" not in path


def test_bars_stand_on_each_other() -> None:
    drawn = bar_chart(
        "t",
        [Series("a", [(1, 2.0), (2, 0.0)]), Series("b", [(1, 3.0), (2, 1.0)], kind=2)],
        x="round",
        y=numbers.compact,
    )
    assert drawn is not None and drawn.count("<rect") == 3
    assert bar_chart("t", [], x="round", y=numbers.compact) is None
    assert bar_chart("t", [Series("a", [])], x="round", y=numbers.compact) is None


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0"), (999, "999"), (1000, "1 k"), (12_345, "12.3 k"), (999_950, "1 M"), (1.5e9, "1.5 G")]
)
def test_numbers_are_short(value: float, said: str) -> None:
    assert numbers.compact(value) == said


def test_money_is_cut_not_rounded_and_all_of_it_is_behind() -> None:
    assert numbers.money_text(10**18 + 99 * 10**12) == "1"
    assert numbers.money_text(5) == "< 0.0001"
    assert "1.999999 $LL" in numbers.money(1_999_999 * 10**12) and "1.9999<" in numbers.money(1_999_999 * 10**12)
