"""The page of a task: what the chain says of it, and what a trainer measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from linklearner.domain.notation import UNIT_WEI, address_text
from linklearner.domain.rules.evidence.verdicts import Outcome, in_words, record_text
from linklearner.report import numbers
from linklearner.report.charts import Series
from linklearner.report.facts import ContributorFacts, Measured, TaskFacts, VerdictFacts
from linklearner.report.markup import Child, Markup, element
from linklearner.report.page import (
    Chart,
    Column,
    Page,
    Section,
    Table,
    Tile,
    bars,
    lines,
    metric_bounds,
    metric_in_words,
    share_bar,
    short,
)

LISTED = 500
"""Rows of contributors and of refused transactions that are listed one by one."""


def task_page(facts: TaskFacts, terms: Sequence[str]) -> str:
    """HTML, in UTF-8 when it is written. terms: in words, a line each."""
    verified = (True, "history replayed") if not facts.divergence else (False, "history breaks the rules")
    warnings = [f"The chain's history does not follow the rules: {facts.divergence}"] if facts.divergence else []
    newest = facts.versions[-1] if facts.versions else None
    return Page(
        title=facts.name,
        kicker=f"LinkLearner task {facts.task}",
        badge=verified,
        warnings=warnings,
        facts=[
            ("chain", f"{facts.chain_id} at {facts.rpc}"),
            ("block", numbers.count(facts.head)),
            ("pool", short(address_text(facts.pool))),
            ("creator", short(address_text(facts.creator))),
            ("opened", numbers.moment(facts.opened_s)),
            ("weights", f"{facts.weights:,} in {facts.pages:,} pages"),
            ("newest digest", short("0x" + newest.digest.hex()) if newest else "none yet"),
        ],
        tiles=_tiles(facts),
        sections=[
            _learning(facts),
            _costs(facts),
            _contributors(facts),
            *_verdicts(facts),
            _money(facts),
            *_refusals(facts),
            _terms(terms),
        ],
        foot=[
            "Made by linklearner report from the chain's logs, calldata and receipts.",
            *(
                []
                if facts.divergence
                else [
                    "Every verdict, weight, digest, pot and payment was computed anew and is equal; linklearner verify also compares the "
                    "balances of pool and vault."
                ]
            ),
            *([f"Metric and loss were measured by {facts.measured_by}."] if facts.measured_by else []),
            "What a trainer says of itself (privacy, measurements) is no part of the chain.",
        ],
    ).html()


def _tiles(facts: TaskFacts) -> list[Tile]:
    over = [one for one in facts.rounds if one.over]
    dropped = sum(one.dropped for one in over)
    accepted = sum(one.accepted for one in facts.rounds)
    gas = sum(one.submission_gas + one.settlement_gas for one in facts.rounds)
    measured = [one for one in facts.versions if one.measured is not None]
    tiles = [
        Tile(
            "Version",
            str(facts.versions[-1].version) if facts.versions else "none",
            "closed" if facts.closed else "open",
        )
    ]
    if measured and measured[0].measured and measured[-1].measured:
        first, last = measured[0].measured, measured[-1].measured
        tiles.append(Tile(last.metric.capitalize(), numbers.share(last.value), f"from {numbers.share(first.value)}"))
    refused = None if facts.refused is None else len(facts.refused)
    tiles += [
        Tile("Rounds", numbers.count(len(over) - dropped), f"{dropped} dropped"),
        Tile(
            "Updates",
            numbers.count(accepted),
            "refused: not looked for" if refused is None else f"{refused} refused on chain",
        ),
        Tile("Gas a round", numbers.compact(gas / len(over)) if over else "0", f"{numbers.compact(gas)} in all rounds"),
    ]
    if facts.pot is not None and facts.flows is not None:
        tiles.append(
            Tile("Pot, $LL", numbers.money_text(facts.pot), f"{numbers.money_text(facts.flows.earned)} earned so far")
        )
    if facts.stake is not None:
        tiles.append(Tile("Stake, $LL", numbers.money_text(facts.stake * UNIT_WEI)))
    spent = [one.privacy for one in facts.contributors if one.privacy is not None]
    if spent:
        worst = max(spent, key=lambda one: one.epsilon)
        tiles.append(
            Tile(
                "ε",
                f"{worst.epsilon:.2f}",
                f"of {worst.epsilon_budget:g}, δ = {worst.delta:g}; the most of {len(spent)}",
            )
        )
    return tiles


def _learning(facts: TaskFacts) -> Section:
    measured = [(one.version, one.measured) for one in facts.versions if one.measured is not None]
    metric = measured[-1][1].metric if measured else "accuracy"
    table = Table(
        [Column("version", number=True), Column("round", number=True), Column(metric, number=True), Column("loss", number=True),
         Column("updates", number=True), Column("saturated", number=True), Column("digest", mono=True), Column("block", number=True),
         Column("made")],
        [
            (str(one.version), str(one.round), *_scores(one.measured), str(one.accepted), numbers.count(one.saturated),
             short("0x" + one.digest.hex()), numbers.count(one.block), numbers.moment(one.time_s))
            for one in facts.versions
        ],
    )  # fmt: skip
    why = f"not measured: {facts.measured_why}" if facts.measured_why else "not measured"
    return Section(
        "Learning",
        [
            lines(
                f"{metric.capitalize()} by version", metric_in_words(metric),
                [Series(metric, [(version, one.value) for version, one in measured])], table, x="version", y=numbers.share_tick,
                bounds=metric_bounds(metric), why=why,
            ),
            lines(
                "Loss by version", "lower is better", [Series("loss", [(version, one.loss) for version, one in measured], kind=2)],
                None, x="version", y=numbers.loss, bounds=(0.0, float("inf")), why=why,
            ),
        ],
        f"Measured by {facts.measured_by}." if facts.measured_by else "",
    )  # fmt: skip


def _scores(measured: Measured | None) -> tuple[str, str]:
    """Metric and loss, as cells."""
    return ("", "") if measured is None else (f"{measured.value:.4f}", f"{measured.loss:.4g}")


def _costs(facts: TaskFacts) -> Section:
    refused_gas = Counter[int]()
    ends = [(one.ended_s, one.round) for one in facts.rounds if one.over]
    for refused in facts.refused or ():
        number = next(
            (n for ended, n in ends if refused.time_s <= ended), facts.rounds[-1].round if facts.rounds else 0
        )
        refused_gas[number] += refused.gas
    table = Table(
        [Column("round", number=True), Column("outcome"), Column("updates", number=True), Column("bytes", number=True),
         Column("gas of submissions", number=True), Column("of settlement", number=True), Column("of what was refused", number=True),
         Column("ended")],
        [
            (str(one.round), "dropped" if one.dropped else f"version {one.version}" if one.version else "open", str(one.accepted),
             numbers.count(one.update_bytes), numbers.count(one.submission_gas), numbers.count(one.settlement_gas),
             numbers.count(refused_gas[one.round]), numbers.moment(one.ended_s))
            for one in facts.rounds
        ],
    )  # fmt: skip
    charts = [
        bars(
            "Gas by round", "as the receipts say; what was refused is in the numbers",
            [
                Series("submissions", [(one.round, one.submission_gas) for one in facts.rounds], kind=1),
                Series("settlement", [(one.round, one.settlement_gas) for one in facts.rounds], kind=2),
            ],
            table, x="round", y=numbers.compact,
        ),
        bars(
            "Bytes by round", "of accepted updates, as they are hashed",
            [Series("updates", [(one.round, one.update_bytes) for one in facts.rounds], kind=3)], None, x="round", y=numbers.size,
        ),
    ]  # fmt: skip
    return Section(
        "What a round costs", charts, f"Opening the task and loading its first weights took {facts.opening_gas:,} gas."
    )


def _contributors(facts: TaskFacts) -> Section:
    people = [one for one in facts.contributors if one.accepted or one.refused or one.stake or one.earned]
    most = max((one.earned for one in people), default=0)
    private = any(one.privacy is not None for one in people)
    judged = any(one.record is not None for one in people)

    def row(one: ContributorFacts) -> list[Child]:
        earned = numbers.money_text(one.earned)
        cells: list[Child] = [
            short(address_text(one.account)),
            numbers.count(one.accepted) + (f" ({one.scaled} scaled)" if one.scaled else ""),
            numbers.count(one.refused.total()) if facts.refused is not None else "?",
            numbers.reasons(one.refused.most_common()),
            share_bar(one.earned / most, earned) if most else earned,
            "?" if one.claimable is None else numbers.money(one.claimable),
            numbers.money(max(one.stake, 0) * UNIT_WEI),
            numbers.count(one.update_bytes),
            numbers.count(one.gas + one.refused_gas),
        ]
        if judged:
            cells += [numbers.count(one.merged), "" if one.record is None else record_text(one.record)]
        if private:
            cells.append("" if one.privacy is None else f"{one.privacy.epsilon:.2f} of {one.privacy.epsilon_budget:g}")
        return cells

    columns = [Column("account", mono=True), Column("accepted", number=True), Column("refused", number=True), Column("why"),
               Column("earned, $LL", number=True), Column("to claim, $LL", number=True), Column("stake, $LL", number=True),
               Column("bytes", number=True), Column("gas", number=True)]  # fmt: skip
    if judged:
        columns += [Column("merged", number=True), Column("record", number=True)]
    if private:
        columns.append(Column("ε", number=True))
    note = facts.refused_why
    if len(people) > LISTED:
        note = f"{len(people):,} accounts, the {LISTED} that earned most. {note}"
    if not people:
        return Section("Contributors", [element("p", "Nobody has contributed yet.", class_="empty card")], note)
    return Section("Contributors", [Table(columns, [row(one) for one in people[:LISTED]])], note)


def _verdicts(facts: TaskFacts) -> list[Section]:
    """By rule evidence: what became of each update, and why."""
    if not facts.verdicts:
        return []
    rows: list[Sequence[Child]] = [
        (str(one.round), short(address_text(one.account)), _verdict_in_words(one), record_text(one.record), numbers.money(one.paid))
        for one in facts.verdicts[-LISTED:]
    ]  # fmt: skip
    columns = [Column("round", number=True), Column("account", mono=True), Column("verdict"), Column("record", number=True),
               Column("paid, $LL", number=True)]  # fmt: skip
    merged = sum(one.outcome is Outcome.MERGED for one in facts.verdicts)
    note = (
        f"{merged} of {len(facts.verdicts)} updates were merged: those that help on examples opened after the round's last update, of "
        "accounts whose updates have helped so far. About half of all honest updates are refused in a round, and nobody is punished for it."
    )
    return [Section("Verdicts", [Table(columns, rows)], note)]


def _verdict_in_words(one: VerdictFacts) -> str:
    return (
        f"outcome unknown, gain {one.gain}"
        if one.outcome is None
        else in_words(one.outcome, one.gain, one.record, one.examples)
    )


def _money(facts: TaskFacts) -> Section:
    over = [one for one in facts.rounds if one.over]
    pots = [(one.round, numbers.in_ll(one.pot)) for one in over if one.pot is not None]
    table = Table(
        [Column("round", number=True), Column("to contributors, $LL", number=True), Column("to the settler, $LL", number=True),
         Column("settler", mono=True), Column("pot after it, $LL", number=True)],
        [
            (str(one.round), numbers.money(one.paid), numbers.money(one.settler_paid),
             short(address_text(one.settler)) if one.settler else "", "?" if one.pot is None else numbers.money(one.pot))
            for one in over
        ],
    )  # fmt: skip
    body: list[Chart | Table | Markup] = [
        lines(
            "Pot", "$LL that the task can still pay, after each round", [Series("pot", pots, kind=3)], table, x="round",
            y=numbers.compact, bounds=(0.0, float("inf")), why="no round is over yet" if not over else "not known",
        ),
        bars(
            "Pay by round", "$LL",
            [
                Series("contributors", [(one.round, numbers.in_ll(one.paid)) for one in over], kind=1),
                Series("settler", [(one.round, numbers.in_ll(one.settler_paid)) for one in over], kind=2),
            ],
            None, x="round", y=numbers.compact,
        ),
    ]  # fmt: skip
    flows = facts.flows
    if flows is not None:
        fees = flows.fees_to_contributors + flows.fees_to_stake + flows.fees_to_pot
        rows = [
            ("funded by anybody", flows.funded), ("new $LL, granted", flows.granted), ("fees for inference", fees),
            ("of these, shared by contributions", flows.fees_to_contributors), ("of these, shared by stake", flows.fees_to_stake),
            ("of these, to the pot", flows.fees_to_pot), ("earned by updates", flows.earned),
            ("claimed of that", flows.pay_claimed), ("paid to settlers", flows.settlers), ("refunded to the creator", flows.refunded),
            ("left in the pot", facts.pot or 0),
        ]  # fmt: skip
        body.append(
            Table(
                [Column("what"), Column("$LL", number=True)],
                [(name, numbers.money(amount)) for name, amount in rows],
                narrow=True,
            )
        )
    return Section("Money", body)


def _refusals(facts: TaskFacts) -> list[Section]:
    if not facts.refused:
        return []
    by_reason = Counter(one.reason for one in facts.refused)
    rows: list[Sequence[Child]] = [
        (one.reason, one.function or "?", short(address_text(one.sender)), numbers.count(one.gas), numbers.count(one.block),
         numbers.moment(one.time_s), short("0x" + one.transaction.hex()))
        for one in facts.refused[-LISTED:]
    ]  # fmt: skip
    columns = [Column("reason"), Column("call"), Column("account", mono=True), Column("gas", number=True), Column("block", number=True),
               Column("when"), Column("transaction", mono=True)]  # fmt: skip
    said = numbers.reasons(by_reason.most_common())
    note = f"Transactions that the chain took and refused: {said}. What a gateway refuses before it sends anything is not among them."
    return [Section("Refused", [Table(columns, rows)], note)]


def _terms(terms: Sequence[str]) -> Section:
    return Section("Terms", [element("ul", *(element("li", one) for one in terms), class_="terms")])
