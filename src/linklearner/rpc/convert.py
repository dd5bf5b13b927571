"""Between messages and values, one pair of functions a type: `x_message` writes what `x_of` reads.

Servicers and clients both go through here, so no message travels further in than its rim. A reader takes nothing on trust: lengths of
addresses, digests and hashes, and numbers beyond what SQLite holds are InvalidInput, of which a server makes the caller's fault and
`linklearner.client` the server's.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final, cast

from linklearner.domain.encodings import Encoding, encoding_of
from linklearner.domain.errors import InvalidInput
from linklearner.domain.model import ModelVersion
from linklearner.domain.rounds import Due, Phase, Step, Terms
from linklearner.domain.rules.evidence.batches import MAX_BATCHES
from linklearner.domain.rules.evidence.network import MAX_INPUT_EXPONENT
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES, MAX_GAIN, MAX_RECORD, Outcome
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import (
    Balance,
    ChainStatus,
    Claimed,
    Closed,
    Contribution,
    Earnings,
    ExampleSet,
    Funded,
    Judged,
    Mined,
    Opened,
    OpenedBatch,
    Round,
    RoundExamples,
    RoundStatus,
    Settled,
    StakeStatus,
    Submitted,
    Task,
)
from linklearner.domain.training import (
    Activity,
    Evaluation,
    ModelExport,
    ModelPulled,
    PrivacySpent,
    TaskActivity,
    TrainerStatus,
    TrainingEvent,
    TrainingProgress,
    TrainingWaits,
    UpdateQuantised,
)
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import model_pb2, trainer_pb2

MAX_NUMBER: Final = 2**63 - 1
"""Of whatever is counted: what SQLite holds; the wire has uint64."""
MAX_TEXT: Final = 4096
"""Characters of a URL, or of a reason."""
MAX_RECEIPTS: Final = 10_000
"""Transactions that one answer tells of: loading the largest model takes a few hundred."""
TERMS_BITS: Final = {
    "rule": 8,
    "quorum_bps": 16,
    "max_updates": 16,
    "min_stake_units": 40,
    "settler_bps": 16,
    "server_bps": 16,
}
"""Of the terms that the chain keeps in fewer bits than the wire."""
REWARD_BYTES: Final = 16
ACTIVITIES: Final = {one: trainer_pb2.Activity.Value(f"ACTIVITY_{one.name}") for one in Activity}
PHASES: Final = {phase: model_pb2.Phase.Value(f"PHASE_{phase.name}") for phase in Phase}
STEPS: Final = {step: model_pb2.Step.Value(f"STEP_{step.name}") for step in Step}
OUTCOMES: Final = {outcome: pb.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in Outcome}
MAX_PROOF: Final = 32
"""Siblings on the way up a tree of batches."""

# --- plain values


def address_of(value: bytes, name: str) -> bytes:
    """An address of 20 bytes. Raises InvalidInput, which names the field."""
    if len(value) != 20:
        raise InvalidInput(f"{name} is an address of 20 bytes, not {len(value)}", facts={"field": name})
    return value


def digest_of(value: bytes, name: str) -> bytes:
    """Raises InvalidInput (WrongDigest)."""
    if len(value) != 32:
        raise InvalidInput(f"{name} has 32 bytes, not {len(value)}", reason="WrongDigest")
    return value


def number_of(value: int, name: str, least: int = 0) -> int:
    """Raises InvalidInput for a number below `least` or above 2**63 - 1."""
    if not least <= value <= MAX_NUMBER:
        raise InvalidInput(f"{name} is a number from {least} to {MAX_NUMBER}, not {value}")
    return value


def wei_message(amount: int) -> bytes:
    """Big-endian, as short as it gets, but never empty: empty means that there is no amount."""
    return amount.to_bytes(max(1, (amount.bit_length() + 7) // 8), "big")


def wei_of(value: bytes) -> int:
    """Raises InvalidInput for more than 32 bytes."""
    if len(value) > 32:
        raise InvalidInput(f"an amount has at most 32 bytes, not {len(value)}")
    return int.from_bytes(value, "big")


# --- models


def version_message(version: ModelVersion) -> model_pb2.ModelVersion:
    return model_pb2.ModelVersion(
        task=version.task,
        version=version.version,
        digest=version.digest,
        round=version.round,
        accepted_count=version.accepted_count,
        saturated_count=version.saturated_count,
        block_number=version.block_number,
    )


def version_of(message: model_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(
        task=number_of(message.task, "a task"),
        version=number_of(message.version, "a version", 1),
        digest=digest_of(message.digest, f"the digest of version {message.version}"),
        round=number_of(message.round, "a version's round"),
        block_number=number_of(message.block_number, "a version's block"),
        accepted_count=message.accepted_count,
        saturated_count=number_of(message.saturated_count, "saturated weights"),
    )


# --- tasks


def terms_message(terms: Terms) -> model_pb2.Terms:
    return model_pb2.Terms(
        rule=terms.rule,
        quorum_bps=terms.quorum_bps,
        max_updates=terms.max_updates,
        min_round_seconds=terms.min_round_seconds,
        round_seconds=terms.round_seconds,
        drop_seconds=terms.drop_seconds,
        stake_seconds=terms.stake_seconds,
        min_stake_units=terms.min_stake,
        settler_bps=terms.settler_bps,
        server_bps=terms.server_bps,
        reward_wei=wei_message(terms.reward),
    )


def terms_of(message: model_pb2.Terms) -> Terms:
    """Raises InvalidInput also for a number that the chain has no room for. Whether they are terms that it takes, it says itself."""
    for name, bits in TERMS_BITS.items():
        if getattr(message, name) >> bits:
            raise InvalidInput(
                f"{name} of a task's terms is at most {2**bits - 1}, not {getattr(message, name)}", reason="BadTerms"
            )
    if len(message.reward_wei) > REWARD_BYTES:
        raise InvalidInput(
            f"a reward has at most {REWARD_BYTES} bytes, not {len(message.reward_wei)}", reason="BadTerms"
        )
    return Terms(
        rule=message.rule,
        quorum_bps=message.quorum_bps,
        max_updates=message.max_updates,
        min_round_seconds=message.min_round_seconds,
        round_seconds=message.round_seconds,
        drop_seconds=message.drop_seconds,
        stake_seconds=message.stake_seconds,
        min_stake=message.min_stake_units,
        settler_bps=message.settler_bps,
        server_bps=message.server_bps,
        reward=wei_of(message.reward_wei),
    )


def round_status_message(status: RoundStatus) -> model_pb2.RoundStatus:
    return model_pb2.RoundStatus(
        round=status.round,
        accepted_count=status.accepted,
        present_units=status.present,
        eligible_units=status.eligible,
        merged_group_count=status.merged_groups,
        opened_s=status.opened_s,
        first_update_s=status.first_update_s,
        ripe_units=status.ripe,
        phase=model_pb2.PHASE_UNSPECIFIED if status.phase is None else PHASES[status.phase],
        due=map(due_message, status.due),
    )


def round_status_of(message: model_pb2.RoundStatus) -> RoundStatus:
    return RoundStatus(
        round=number_of(message.round, "the open round"),
        accepted=message.accepted_count,
        present=number_of(message.present_units, "a round's stake"),
        eligible=number_of(message.eligible_units, "a round's stake"),
        merged_groups=message.merged_group_count,
        opened_s=number_of(message.opened_s, "the time of a round's opening"),
        first_update_s=number_of(message.first_update_s, "the time of the first update"),
        ripe=number_of(message.ripe_units, "stake that waits for the next round"),
        phase=None if message.phase == model_pb2.PHASE_UNSPECIFIED else _phase_of(message.phase),
        due=tuple(map(due_of, message.due)),
    )


def due_message(due: Due) -> model_pb2.Due:
    return model_pb2.Due(step=STEPS[due.step], from_s=due.from_s, until_s=due.until_s)


def due_of(message: model_pb2.Due) -> Due:
    """Raises InvalidInput also for a step that this program does not know."""
    step = next((step for step, number in STEPS.items() if number == message.step), None)
    if step is None:
        raise InvalidInput(f"step {message.step} of a round is unknown")
    return Due(
        step, number_of(message.from_s, "the time of a step"), number_of(message.until_s, "the time of a step's end")
    )


def _phase_of(number: int) -> Phase:
    phase = next((phase for phase, known in PHASES.items() if known == number), None)
    if phase is None:
        raise InvalidInput(f"phase {number} of a round is unknown")
    return phase


def example_set_message(found: ExampleSet) -> model_pb2.ExampleSet:
    return model_pb2.ExampleSet(
        root=found.root,
        batch_count=found.batches,
        example_count=found.examples,
        opened_batch_count=found.opened_batches,
        opened_example_count=found.opened_examples,
        input_exponent=found.input_exponent,
    )


def example_set_of(message: model_pb2.ExampleSet) -> ExampleSet:
    """Raises InvalidInput also for a set of which more is opened than is in it."""
    found = ExampleSet(
        root=digest_of(message.root, "the root of a set of examples"),
        batches=number_of(message.batch_count, "batches of examples", 1),
        examples=number_of(message.example_count, "examples of a set", 1),
        input_exponent=number_of(message.input_exponent, "an input exponent"),
        opened_batches=message.opened_batch_count,
        opened_examples=message.opened_example_count,
    )
    if found.input_exponent > MAX_INPUT_EXPONENT:
        raise InvalidInput(f"an input exponent lies in 0..{MAX_INPUT_EXPONENT}, not at {found.input_exponent}")
    if not (found.batches <= found.examples and found.batches <= MAX_BATCHES):
        raise InvalidInput(f"{found.examples} examples do not make {found.batches} batches")
    if not (found.opened_batches <= found.batches and found.opened_batches <= found.opened_examples <= found.examples):
        raise InvalidInput(
            f"{found.opened_examples} examples in {found.opened_batches} batches are said to be opened, the set has {found.examples} in "
            f"{found.batches}"
        )
    return found


def opened_batch_message(batch: OpenedBatch) -> pb.GetExamplesResponse:
    return pb.GetExamplesResponse(batch=batch.batch, round=batch.round, examples=batch.examples, proof=batch.proof)


def opened_batch_of(message: pb.GetExamplesResponse) -> OpenedBatch:
    if len(message.proof) > MAX_PROOF:
        raise InvalidInput(f"a batch's place is proved by at most {MAX_PROOF} hashes, not {len(message.proof)}")
    return OpenedBatch(
        batch=message.batch,
        round=number_of(message.round, "a round", 1),
        examples=message.examples,
        proof=tuple(digest_of(one, "a sibling in the tree of batches") for one in message.proof),
    )


def task_message(task: Task) -> model_pb2.Task:
    return model_pb2.Task(
        task=task.task,
        creator=task.creator,
        model=task.model,
        shape=task.shape.encode(),
        terms=terms_message(task.terms),
        pot_wei=wei_message(task.pot),
        shares_wei=wei_message(task.shares),
        closing=task.closing,
        version=model_pb2.ModelVersion(task=task.task) if task.announced is None else version_message(task.announced),
        round=round_status_message(task.round),
        examples=None if task.examples is None else example_set_message(task.examples),
    )


def task_of(message: model_pb2.Task) -> Task:
    """Raises InvalidInput also for a version of another task, one without a round after it, and a task that is closed and not closing."""
    announced = version_of(message.version) if message.version.version else None
    if message.version.task != message.task:
        raise InvalidInput(f"task {message.task} is described with a version of task {message.version.task}")
    round = round_status_of(message.round)
    if announced is not None and not round.round:
        raise InvalidInput(f"task {message.task} has version {announced.version} and no open round")
    task = Task(
        task=number_of(message.task, "a task"),
        creator=address_of(message.creator, "a task's creator"),
        model=message.model,
        shape=Shape.decode(message.shape),
        terms=terms_of(message.terms),
        pot=wei_of(message.pot_wei),
        shares=wei_of(message.shares_wei),
        closing=message.closing,
        version=message.version.version,
        announced=announced,
        round=round,
        examples=example_set_of(message.examples) if message.HasField("examples") else None,
    )
    if task.closed and not task.closing:
        raise InvalidInput(f"task {task.task} is said to be closed, and not by its creator")
    return task


# --- the gateway


def chain_message(status: ChainStatus) -> pb.GetChainResponse:
    return pb.GetChainResponse(
        chain_id=status.chain_id,
        head_block_number=status.head_block,
        head_time_s=status.head_time_s,
        pool=status.pool,
        vault=status.vault,
        token=status.token,
        aspect=status.aspect,
        deployed_block_number=status.deployed_block,
        rpc_url=status.rpc_url,
    )


def chain_of(message: pb.GetChainResponse) -> ChainStatus:
    if len(message.rpc_url) > MAX_TEXT:
        raise InvalidInput(f"a URL has at most {MAX_TEXT} characters, not {len(message.rpc_url)}")
    return ChainStatus(
        chain_id=number_of(message.chain_id, "a chain id", 1),
        head_block=number_of(message.head_block_number, "the newest block"),
        head_time_s=number_of(message.head_time_s, "the newest block's time"),
        pool=address_of(message.pool, "the pool's address"),
        vault=address_of(message.vault, "the vault's address"),
        token=address_of(message.token, "the token's address"),
        aspect=address_of(message.aspect, "the Aspect's address"),
        deployed_block=number_of(message.deployed_block_number, "the block of the deployment"),
        rpc_url=message.rpc_url,
    )


def receipt_message(mined: Mined) -> pb.Receipt:
    return pb.Receipt(
        transaction_hash=mined.transaction,
        block_number=mined.block,
        gas_used=mined.gas_used,
        transaction_bytes=mined.length,
    )


def receipt_of(message: pb.Receipt) -> Mined:
    if len(message.transaction_hash) != 32:
        raise InvalidInput(f"a transaction's hash has 32 bytes, not {len(message.transaction_hash)}")
    return Mined(
        transaction=message.transaction_hash,
        block=number_of(message.block_number, "a receipt's block"),
        gas_used=number_of(message.gas_used, "gas"),
        length=number_of(message.transaction_bytes, "a transaction's length"),
    )


def receipts_of(messages: Sequence[pb.Receipt]) -> tuple[Mined, ...]:
    """Raises InvalidInput for more than MAX_RECEIPTS."""
    if len(messages) > MAX_RECEIPTS:
        raise InvalidInput(f"an answer tells of at most {MAX_RECEIPTS} transactions, not {len(messages)}")
    return tuple(map(receipt_of, messages))


def stake_message(stake: StakeStatus) -> pb.StakeStatus:
    return pb.StakeStatus(
        eligible_units=stake.eligible,
        locked_units=stake.locked,
        matures_s=stake.matures_s,
        unlocking_units=stake.unlocking,
        withdrawable_s=stake.withdrawable_s,
    )


def stake_of(message: pb.StakeStatus) -> StakeStatus:
    return StakeStatus(
        eligible=number_of(message.eligible_units, "stake"),
        locked=number_of(message.locked_units, "stake"),
        matures_s=number_of(message.matures_s, "the time when stake matures"),
        unlocking=number_of(message.unlocking_units, "stake"),
        withdrawable_s=number_of(message.withdrawable_s, "the time of a withdrawal"),
    )


def balance_message(balance: Balance) -> pb.GetBalanceResponse:
    return pb.GetBalanceResponse(
        token_wei=wei_message(balance.token),
        coin_wei=wei_message(balance.coin),
        stake=None if balance.stake is None else stake_message(balance.stake),
        block_number=balance.block,
    )


def balance_of(message: pb.GetBalanceResponse) -> Balance:
    return Balance(
        token=wei_of(message.token_wei),
        coin=wei_of(message.coin_wei),
        stake=stake_of(message.stake) if message.HasField("stake") else None,
        block=number_of(message.block_number, "a balance's block"),
    )


def submitted_message(submitted: Submitted) -> pb.SubmitUpdateResponse:
    return pb.SubmitUpdateResponse(
        receipt=receipt_message(submitted.mined),
        digest=submitted.digest,
        round=submitted.round,
        weight_units=submitted.weight,
        effective_units=submitted.effective,
    )


def submitted_of(message: pb.SubmitUpdateResponse) -> Submitted:
    return Submitted(
        mined=receipt_of(message.receipt),
        digest=digest_of(message.digest, "an update's digest"),
        round=number_of(message.round, "an update's round", 1),
        weight=number_of(message.weight_units, "an update's influence"),
        effective=number_of(message.effective_units, "an update's influence"),
    )


def settled_message(settled: Settled) -> pb.SettleRoundResponse:
    return pb.SettleRoundResponse(
        receipts=map(receipt_message, settled.mined), version=version_message(settled.version)
    )


def settled_of(message: pb.SettleRoundResponse) -> Settled:
    return Settled(receipts_of(message.receipts), version_of(message.version))


def opened_message(opened: Opened) -> pb.OpenTaskResponse:
    return pb.OpenTaskResponse(
        task=opened.task,
        receipts=map(receipt_message, opened.mined),
        version=version_message(opened.version),
    )


def opened_of(message: pb.OpenTaskResponse) -> Opened:
    """Raises InvalidInput also for a version of another task."""
    if message.version.task != message.task:
        raise InvalidInput(f"task {message.task} was opened with a version of task {message.version.task}")
    return Opened(
        task=number_of(message.task, "a task", 1),
        mined=receipts_of(message.receipts),
        version=version_of(message.version),
    )


def funded_message(funded: Funded) -> pb.FundTaskResponse:
    return pb.FundTaskResponse(receipt=receipt_message(funded.mined), pot_wei=wei_message(funded.pot))


def granted_message(funded: Funded) -> pb.GrantEmissionResponse:
    return pb.GrantEmissionResponse(receipt=receipt_message(funded.mined), pot_wei=wei_message(funded.pot))


def funded_of(message: pb.FundTaskResponse | pb.GrantEmissionResponse) -> Funded:
    return Funded(receipt_of(message.receipt), wei_of(message.pot_wei))


def closed_message(closed: Closed) -> pb.CloseTaskResponse:
    return pb.CloseTaskResponse(receipt=receipt_message(closed.mined), closed=closed.closed)


def closed_of(message: pb.CloseTaskResponse) -> Closed:
    return Closed(receipt_of(message.receipt), message.closed)


def earnings_message(earnings: Earnings) -> pb.Earnings:
    return pb.Earnings(
        earned_wei=wei_message(earnings.earned),
        pay_wei=wei_message(earnings.pay),
        fees_wei=wei_message(earnings.fees),
        stake_fees_wei=wei_message(earnings.stake_fees),
    )


def record_message(record: int | None) -> pb.AccountRecord | None:
    return None if record is None else pb.AccountRecord(record_q16=record)


def record_of(number: int) -> int:
    """E. Raises InvalidInput for one that the rule cannot make."""
    if abs(number) > MAX_RECORD:
        raise InvalidInput(f"an account's record lies within {MAX_RECORD} of 0, not at {number}")
    return number


def earned_of(message: pb.GetEarningsResponse) -> Earnings:
    """Earnings with the account's record."""
    earnings = earnings_of(message.earnings)
    return replace(earnings, record=record_of(message.record.record_q16)) if message.HasField("record") else earnings


def earnings_of(message: pb.Earnings) -> Earnings:
    """Raises InvalidInput also for pay that was never earned."""
    earnings = Earnings(
        earned=wei_of(message.earned_wei),
        pay=wei_of(message.pay_wei),
        fees=wei_of(message.fees_wei),
        stake_fees=wei_of(message.stake_fees_wei),
    )
    if earnings.pay > earnings.earned:
        raise InvalidInput(f"{earnings.pay} wei can be claimed of {earnings.earned} that were earned")
    return earnings


def claimed_message(claimed: Claimed) -> pb.ClaimEarningsResponse:
    return pb.ClaimEarningsResponse(
        receipts=map(receipt_message, claimed.mined), claimed=earnings_message(claimed.earnings)
    )


def claimed_of(message: pb.ClaimEarningsResponse) -> Claimed:
    return Claimed(receipts_of(message.receipts), earnings_of(message.claimed))


def contribution_message(one: Contribution) -> pb.Contribution:
    return pb.Contribution(
        contributor=one.contributor,
        digest=one.digest,
        weight_units=one.weight,
        effective_units=one.effective,
        receipt=receipt_message(one.mined),
        update_bytes=one.update_bytes,
        paid_wei=b"" if one.paid is None else wei_message(one.paid),
        verdict=None if one.verdict is None else verdict_message(one.verdict),
    )


def verdict_message(verdict: Judged) -> pb.Verdict:
    return pb.Verdict(outcome=OUTCOMES[verdict.outcome], gain_q16=verdict.gain, record_q16=verdict.record)


def verdict_of(message: pb.Verdict) -> Judged:
    """Raises InvalidInput also for what the rule cannot have said: an outcome that does not go with gain and record."""
    outcome = next((one for one, number in OUTCOMES.items() if number == message.outcome), None)
    if outcome is None:
        raise InvalidInput(f"outcome {message.outcome} of an update is unknown")
    verdict = Judged(message.gain_q16, record_of(message.record_q16), outcome)
    if abs(verdict.gain) > MAX_GAIN:
        raise InvalidInput(f"a gain lies within {MAX_GAIN} of 0, not at {verdict.gain}")
    if (verdict.record <= 0) != (outcome is Outcome.NO_RECORD) and outcome is not Outcome.EMPTY:
        raise InvalidInput(f"an update of an account whose record is {verdict.record} is said to be {outcome.name}")
    return verdict


def round_examples_message(found: RoundExamples) -> pb.RoundExamples:
    return pb.RoundExamples(
        batch=found.batch,
        example_count=found.examples,
        opened_example_count=found.opened,
        receipt=receipt_message(found.mined),
    )


def round_examples_of(message: pb.RoundExamples) -> RoundExamples:
    if not 1 <= message.example_count <= message.opened_example_count <= MAX_EXAMPLES:
        raise InvalidInput(
            f"{message.example_count} examples are said to be opened of {message.opened_example_count} so far"
        )
    return RoundExamples(
        message.batch, message.example_count, message.opened_example_count, receipt_of(message.receipt)
    )


def contribution_of(message: pb.Contribution) -> Contribution:
    """Raises InvalidInput also for pay of an update that was not merged by its rule."""
    verdict = verdict_of(message.verdict) if message.HasField("verdict") else None
    if verdict is not None and not verdict.merged and wei_of(message.paid_wei):
        raise InvalidInput(f"an update that was not merged ({verdict.outcome.value}) is said to be paid")
    return Contribution(
        contributor=address_of(message.contributor, "a contributor"),
        digest=digest_of(message.digest, "an update's digest"),
        weight=number_of(message.weight_units, "an update's influence"),
        effective=number_of(message.effective_units, "an update's influence"),
        mined=receipt_of(message.receipt),
        update_bytes=number_of(message.update_bytes, "an update's length"),
        paid=wei_of(message.paid_wei) if message.paid_wei else None,
        verdict=verdict,
    )


def round_message(found: Round) -> pb.GetRoundResponse:
    return pb.GetRoundResponse(
        round=found.round,
        base_version=found.base_version,
        contributions=map(contribution_message, found.contributions),
        version=None if found.version is None else version_message(found.version),
        settlements=map(receipt_message, found.settlements),
        settler=found.settler,
        settler_paid_wei=wei_message(found.settler_paid) if found.settler else b"",
        dropped=found.dropped,
        examples=None if found.examples is None else round_examples_message(found.examples),
    )


def round_of(message: pb.GetRoundResponse) -> Round:
    """Raises InvalidInput also for a round that is settled by nobody, or dropped and paid, or judged without examples."""
    ended = message.HasField("version")
    if not message.HasField("examples") and any(one.HasField("verdict") for one in message.contributions):
        raise InvalidInput(f"updates of round {message.round} are said to be judged, by examples that nobody opened")
    if message.dropped and message.settler:
        raise InvalidInput(f"round {message.round} is said to be dropped, and a settler paid for it")
    settled = ended and not message.dropped
    return Round(
        round=number_of(message.round, "a round", 1),
        base_version=number_of(message.base_version, "the round's base version", 1),
        contributions=tuple(map(contribution_of, message.contributions)),
        version=version_of(message.version) if ended else None,
        settlements=receipts_of(message.settlements),
        settler=address_of(message.settler, "the settler") if settled else message.settler,
        settler_paid=wei_of(message.settler_paid_wei),
        dropped=message.dropped,
        examples=round_examples_of(message.examples) if message.HasField("examples") else None,
    )


# --- the trainer


def encoding_message(encoding: Encoding | None) -> model_pb2.Encoding:
    """None: the trainer's own setting."""
    return model_pb2.ENCODING_UNSPECIFIED if encoding is None else cast("model_pb2.Encoding", encoding.code)


def wanted_encoding_of(number: int) -> Encoding | None:
    """Raises InvalidInput for one that this program does not know."""
    return None if number == model_pb2.ENCODING_UNSPECIFIED else encoding_of(number)


def trainer_message(status: TrainerStatus) -> trainer_pb2.GetTrainerResponse:
    return trainer_pb2.GetTrainerResponse(
        account=status.account,
        task=status.task,
        sample_count=status.samples,
        held_out_count=status.held_out,
        label_counts=status.label_counts,
        busy=status.busy,
        tasks=[activity_message(one) for one in status.tasks],
        privacy=privacy_message(status.privacy) if status.privacy else None,
    )


def trainer_of(message: trainer_pb2.GetTrainerResponse) -> TrainerStatus:
    return TrainerStatus(
        account=address_of(message.account, "a trainer's account"),
        task=number_of(message.task, "a trainer's task", 1),
        samples=message.sample_count,
        held_out=message.held_out_count,
        label_counts=tuple(message.label_counts),
        busy=message.busy,
        tasks=tuple(activity_of(one) for one in message.tasks),
        privacy=privacy_of(message.privacy) if message.HasField("privacy") else None,
    )


def activity_message(one: TaskActivity) -> trainer_pb2.TaskActivity:
    return trainer_pb2.TaskActivity(
        task=one.task,
        activity=ACTIVITIES[one.activity],
        reason=one.reason,
        detail=one.detail,
        since_s=one.since_s,
        again_s=one.again_s,
        round=one.round,
        step=one.step,
        step_count=one.step_count,
        cpu_seconds=one.cpu_seconds,
    )


def activity_of(message: trainer_pb2.TaskActivity) -> TaskActivity:
    """Raises InvalidInput also for an activity that this program does not know, or none."""
    activity = next((one for one, number in ACTIVITIES.items() if number == message.activity), None)
    if activity is None:
        raise InvalidInput(f"a trainer's activity is one of {len(ACTIVITIES)}, not {message.activity}")
    if message.step > message.step_count:
        raise InvalidInput(f"step {message.step} of {message.step_count} is said to be done")
    if max(len(message.reason), len(message.detail)) > MAX_TEXT:
        raise InvalidInput(f"a trainer's reason has at most {MAX_TEXT} characters")
    if not 0 <= message.cpu_seconds < inf:
        raise InvalidInput(f"a training takes processor seconds, not {message.cpu_seconds}")
    return TaskActivity(
        task=number_of(message.task, "a trainer's task", 1),
        activity=activity,
        since_s=number_of(message.since_s, "a time"),
        reason=message.reason,
        detail=message.detail,
        again_s=number_of(message.again_s, "a time"),
        round=number_of(message.round, "a round"),
        step=message.step,
        step_count=message.step_count,
        cpu_seconds=message.cpu_seconds,
    )


def privacy_message(spent: PrivacySpent) -> trainer_pb2.PrivacySpent:
    return trainer_pb2.PrivacySpent(
        mechanism=spent.mechanism,
        epsilon=spent.epsilon,
        delta=spent.delta,
        epsilon_budget=spent.epsilon_budget,
        noise_multiplier=spent.noise_multiplier,
        clip_norm=spent.clip_norm,
        rounds_left=spent.rounds_left,
    )


def privacy_of(message: trainer_pb2.PrivacySpent) -> PrivacySpent:
    """Raises InvalidInput for what no budget can be."""
    numbers = (message.epsilon, message.delta, message.epsilon_budget, message.noise_multiplier, message.clip_norm)
    if not all(number >= 0 for number in numbers) or message.delta >= 1:  # NaN is not
        raise InvalidInput(f"a privacy budget is not made of {', '.join(map(str, numbers))}")
    return PrivacySpent(message.mechanism, *numbers, message.rounds_left)


def training_message(event: TrainingEvent) -> trainer_pb2.TrainRoundResponse:
    match event:
        case ModelPulled():
            pulled = trainer_pb2.ModelPulled(version=version_message(event.version))
            return trainer_pb2.TrainRoundResponse(pulled=pulled)
        case TrainingProgress():
            progress = trainer_pb2.TrainingProgress(step=event.step, step_count=event.step_count, loss=event.loss)
            return trainer_pb2.TrainRoundResponse(progress=progress)
        case TrainingWaits():
            waits = trainer_pb2.TrainingWaits(reason=event.reason, detail=event.detail, again_s=event.again_s)
            return trainer_pb2.TrainRoundResponse(waits=waits)
        case UpdateQuantised():
            quantised = trainer_pb2.UpdateQuantised(
                encoding=encoding_message(event.encoding),
                update_bytes=event.update_bytes,
                page_count=event.page_count,
                pages_total=event.pages_total,
                residual_ratio=event.residual_ratio,
                digest=event.digest,
                privacy=privacy_message(event.privacy) if event.privacy else None,
            )
            return trainer_pb2.TrainRoundResponse(quantised=quantised)
        case Submitted():
            return trainer_pb2.TrainRoundResponse(submitted=submitted_message(event))


def training_of(message: trainer_pb2.TrainRoundResponse) -> TrainingEvent:
    """Raises InvalidInput also for an event that this program does not know, or none."""
    match message.WhichOneof("event"):
        case "pulled":
            return ModelPulled(version_of(message.pulled.version))
        case "progress":
            progress = message.progress
            if not 0 < progress.step <= progress.step_count:
                raise InvalidInput(f"step {progress.step} of {progress.step_count} is said to be done")
            return TrainingProgress(progress.step, progress.step_count, progress.loss)
        case "waits":
            waits = message.waits
            return TrainingWaits(waits.reason, waits.detail, number_of(waits.again_s, "a time"))
        case "quantised":
            quantised = message.quantised
            if quantised.page_count > quantised.pages_total:
                raise InvalidInput(f"{quantised.page_count} of {quantised.pages_total} pages are said to travel")
            return UpdateQuantised(
                encoding=encoding_of(quantised.encoding),
                update_bytes=quantised.update_bytes,
                page_count=quantised.page_count,
                pages_total=quantised.pages_total,
                residual_ratio=quantised.residual_ratio,
                digest=digest_of(quantised.digest, "an update's digest"),
                privacy=privacy_of(quantised.privacy) if quantised.HasField("privacy") else None,
            )
        case "submitted":
            return submitted_of(message.submitted)
    raise InvalidInput("a step of a training says nothing that this program knows")


def evaluation_message(found: Evaluation) -> trainer_pb2.EvaluateResponse:
    return trainer_pb2.EvaluateResponse(
        version=version_message(found.version),
        sample_count=found.samples,
        metric=found.metric,
        value=found.value,
        loss=found.loss,
    )


def evaluation_of(message: trainer_pb2.EvaluateResponse) -> Evaluation:
    if not message.value <= 1.0 or (message.metric == "accuracy" and message.value < 0.0):
        raise InvalidInput(
            f"{message.metric or 'a metric':.40} is at most 1, an accuracy at least 0, not {message.value}"
        )
    return Evaluation(version_of(message.version), message.sample_count, message.metric, message.value, message.loss)


def export_message(export: ModelExport) -> trainer_pb2.ExportModelResponse:
    return trainer_pb2.ExportModelResponse(
        version=version_message(export.version), onnx=export.onnx, max_abs_difference=export.max_abs_difference
    )


def export_of(message: trainer_pb2.ExportModelResponse) -> ModelExport:
    return ModelExport(version_of(message.version), message.onnx, message.max_abs_difference)
