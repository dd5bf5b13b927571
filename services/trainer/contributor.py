"""The use case: pull the newest weights, train on private samples, quantise, contribute; by request, or round after round."""

import asyncio
import math
import secrets
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from linklearner import frozen
from linklearner.client.gateway import GatewayClient
from linklearner.domain.capacity import most_pages
from linklearner.domain.encodings import Encoding
from linklearner.domain.errors import (
    BaseMoved,
    Exhausted,
    InvalidInput,
    LinkLearnerError,
    NotFound,
    PermissionDenied,
    Refused,
    RequestIdReused,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.model import Loss
from linklearner.domain.quantise import Quantised, quantise_delta
from linklearner.domain.tasks import StakeStatus, Submitted, Task
from linklearner.domain.training import (
    Activity,
    MergeForecast,
    ModelPulled,
    PrivacySpent,
    TaskActivity,
    TrainingEvent,
    TrainingProgress,
    TrainingWaits,
    UpdateQuantised,
)
from linklearner.domain.update import Update
from linklearner.log import of_round
from services.trainer import accounts, training
from services.trainer.checkpoint import Checkpoint, digest_of, key_of
from services.trainer.data import NOTHING_TO_LEARN, Samples
from services.trainer.dpsgd import private_gradient
from services.trainer.forecast import forecast, ruled
from services.trainer.journal import Held, Journal, RecordedOutcome
from services.trainer.last_update import LastUpdate
from services.trainer.ledger import BUDGET_SPENT
from services.trainer.machine import Machine, make_nice
from services.trainer.manners import NOT_MEASURED
from services.trainer.obstacles import CLOSED, NEXT_ROUND, OTHER_TASK, POT_EMPTY, Obstacle, obstacle
from services.trainer.pace import Pace, pause_s
from services.trainer.privacy import PRIVATE_SCOPE, Privacy, ProtectedRound
from services.trainer.recipe import Recipe
from services.trainer.turns import ASKED, Turns, bid

MAX_REQUEST_ID = 128
STALE_BASE = "StaleBase"
ALREADY_SUBMITTED = "AlreadySubmitted"
STATUS_UNKNOWN = "StatusUnknown"
FINAL_REFUSALS = (Refused, BaseMoved, InvalidInput, NotFound)
"""A gateway that answers one of these has not landed the update and never will under this submission id. Who may not ask is another
matter: the update may have landed when he still might."""
UNANSWERED = (Unavailable, TimedOut, Exhausted, Unauthenticated, PermissionDenied)
"""Errors that say nothing about what was asked for; every other error about a round is one about other people's data in it."""
FINAL_OBSTACLES = (CLOSED, BUDGET_SPENT)
"""What ends the work of a trainer that contributes by itself: waiting does not help."""
MAX_ROUNDS_SEARCHED = 10_000
"""Dropped rounds in a row through which a held update is looked for in one go; a gateway may describe as many as it likes."""

LOOK_AGAIN_S = 15.0
"""Seconds between two looks at the open round while no new version is announced: a dropped round makes no version."""
REFUSED_AGAIN_S = 300.0
"""Seconds after which a refused contribution is tried again in the same round: stake or coin may have come in."""
RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
"""First and longest pause before trying again after an error; each pause is twice the last."""
LONGEST_DOUBT_S = 3600.0
"""The same where nobody can tell what became of an update: another's in its round may be such as no gateway reads, today or ever."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """Where this trainer contributes, and as whom."""

    account: bytes
    scope: str
    """Chain, pool, task and account: what an entry of the journal holds for; and whether it comes from noised numbers only."""
    place: str
    """Chain, pool and task: what a privacy budget holds for, whoever contributes."""


@dataclass(frozen=True, slots=True, eq=False)
class Awaited:
    """An update whose verdict by rule evidence is not known yet. weights: (N,) int16, its base. record: E of the account before it."""

    round: int
    weights: NDArray[np.int16]
    update: Update
    record: int


class UpdateStatus(Enum):
    """What the chain's record says of an update that is held."""

    MERGED = "in a settled round"
    ACCEPTED = "accepted in the open round"
    LOST = "refused, too late, or in a round that was dropped"
    UNSENT = "not on the chain, and its round is still open"


_DONE = object()
"""The last of a training's events; before it come progress, what it waits for, and None when it waits no more."""


@dataclass(slots=True)
class _Doing:
    """What is done, why, and since when; changed from the event loop's thread only."""

    activity: Activity
    since_s: int = field(default_factory=lambda: int(time.time()))
    reason: str = ""
    detail: str = ""
    again_s: int = 0

    def becomes(self, activity: Activity, why: Obstacle | None = None, again_s: float = 0) -> None:
        """The same activity for the same reason goes on since it began. again_s: Unix seconds of the next look."""
        reason, detail = ("", "") if why is None else (why.reason, why.detail)
        if (self.activity, self.reason) != (activity, reason):
            self.since_s = int(time.time())
        self.activity, self.reason, self.detail, self.again_s = activity, reason, detail, int(again_s)


@dataclass(slots=True)
class _Steps:
    """Of one training; written by its thread, read by others."""

    made: int = 0
    of: int = 0


class Contributor:
    """One private data set contributing to one task through one account, one round at a time."""

    def __init__(
        self,
        gateway: GatewayClient,
        journal: Journal,
        samples: Samples,
        *,
        task: int,
        account: bytes | None,
        recipe: Recipe,
        encoding: Encoding,
        seed: int,
        allow_range: bool = False,
        only_paid: bool = False,
        frozen_folder: Path = Path(),
        state_dir: Path,
        machine: Machine,
        turns: Turns | None = None,
        by_pay: bool = False,
        privacy: Privacy | None = None,
        last_update: LastUpdate | None = None,
        held_out: Samples | None = None,
    ) -> None:
        """frozen_folder: the one of tensors that nobody trains. state_dir: for checkpoints. turns: of all contributors of one trainer,
        which work one after the other; None: there is no other. by_pay: bid for a turn what the round pays a processor second. privacy:
        None: updates leave as they are trained. last_update: where a copy is kept; None: nowhere. held_out: by which it says beforehand
        what rule `evidence` will probably make of an update; None: it does not.
        """
        self._gateway = gateway
        self._journal = journal
        self._samples = samples
        self._task = task
        self._wanted = account
        self._account: bytes | None = None
        self._recipe = recipe
        self._encoding = encoding
        self._seed = seed
        self._allow_range = allow_range
        self._only_paid = only_paid
        self._frozen = frozen_folder
        self._state_dir = state_dir
        self._machine = machine
        self._turn = asyncio.Lock()
        self._turns = turns or Turns()
        self._by_pay = by_pay
        self._privacy = privacy
        self._last_update = last_update
        self._held_out = held_out
        self._awaited: Awaited | None = None
        self._request_id = ""
        self._data_digest: bytes | None = None
        self._follows = _Doing(Activity.IDLE)
        self._works: _Doing | None = None
        self._steps = _Steps()
        self._round = 0
        self._cpu_seconds = 0.0
        self._worker = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="training",
            initializer=make_nice,
            initargs=(machine.conditions.nice,),
        )

    def close(self) -> None:
        """Waits for the worker thread; a training that nobody waits for ends after the step that it makes."""
        self._worker.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        """A round is being trained right now."""
        return self._turn.locked()

    @property
    def activity(self) -> TaskActivity:
        """What it does just now: a contribution under way, or else what it waits for between two."""
        now, steps = self._works or self._follows, self._steps
        return TaskActivity(
            task=self._task,
            activity=now.activity,
            since_s=now.since_s,
            reason=now.reason,
            detail=now.detail,
            again_s=now.again_s,
            round=self._round,
            step=steps.made,
            step_count=max(steps.made, steps.of),
            cpu_seconds=self._cpu_seconds,
        )

    async def identity(self) -> Identity:
        """Asks the gateway where and as whom. Raises InvalidConfig if it does not hold the account."""
        chain = await self._gateway.chain()
        if self._account is None:
            held = await self._gateway.accounts()
            self._account = accounts.chosen(held, self._wanted, self._gateway.address)
        place = f"{chain.chain_id}/{chain.pool.hex()}/{self._task}"
        # Under privacy nothing is read that was kept without: neither a residual, nor an update that was not sent yet, nor a checkpoint.
        scope = f"{place}/{self._account.hex()}" + (PRIVATE_SCOPE if self._privacy else "")
        return Identity(self._account, scope, place)

    async def privacy(self) -> PrivacySpent | None:
        """What is spent of the task's privacy budget; None without one. Raises Unavailable, DataLoss."""
        if self._privacy is None:
            return None
        identity = await self.identity()
        return await asyncio.to_thread(self._privacy.spent, identity.place, self._recipe)

    async def contribute(
        self,
        request_id: str,
        encoding: Encoding | None,
        step_count: int,
        allow_range: bool = False,
        *,
        bid: float = ASKED,
    ) -> AsyncGenerator[TrainingEvent, None]:
        """One update, streamed step by step; the last event is Submitted. Nothing is on the chain before UpdateQuantised.

        Trains only while the machine's owner has no objection, and from a checkpoint if one is left of the very same training. bid: for
        a turn among the trainer's tasks.

        encoding None, step_count 0 and allow_range False: the trainer's own settings. The same request_id again answers the recorded
        outcome, or takes up an update that was prepared before a crash; a new request_id takes up such an update too, instead of
        training the same round twice. Raises Exhausted while another request is being served, RequestIdReused, OutOfRange for the
        settings, InvalidInput for samples that do not fit the task or (reason NothingToLearn) leave its weights as they are, Exhausted
        (reason PrivacyBudgetSpent) where one more update would give away more than the samples' owner allows, BaseMoved if the weights
        moved on, Refused with the chain's reason; after Unavailable or TimedOut, repeat the same request_id.
        """
        if not 1 <= len(request_id) <= MAX_REQUEST_ID:
            raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, not {len(request_id)}")
        contents = f"encoding={encoding.code if encoding else 0} steps={step_count}"
        # who asks for a number of steps asks for no time budget
        recipe = replace(self._recipe, step_count=step_count, seconds=0.0) if step_count else self._recipe
        if self._privacy is not None:
            self._privacy.check_steps(recipe, self._recipe)
        async with self._one_at_a_time(request_id, bid) as doing:
            identity = await self.identity()
            state = await self._gateway.task(self._task)
            newest, spec, self._round = state.newest, state.spec, state.round.round
            # a budget is counted for the trainer's own steps and batches
            keep = {"steps", "batch_size"} if self._privacy is not None else {"steps"} if step_count else set()
            recipe = recipe.advised(spec.advice, keep=keep)
            if state.closed:
                raise Refused(f"task {self._task} is closed: no round opens any more", reason=CLOSED)
            await self._hear_verdict(identity, state)
            finished = await self._resume(identity, state, request_id, contents)
            if finished is not None:
                yield finished
                return

            # Before a byte of weights is asked for: what does not fit this model cannot be trained on, however large the model says it is.
            # In a thread: the first look at many samples takes a second, and this loop answers others.
            await asyncio.to_thread(self._samples.check, spec, range_too=not (allow_range or self._allow_range))
            chosen = encoding or self._encoding
            most = most_pages(state.shape, chosen)  # of a model larger than a transaction: those where most moves
            if not most:
                raise InvalidInput(
                    f"no transaction holds an update of task {self._task}, not even one of a single page: it was opened with too many "
                    "tensors or groups",
                    reason="NoUpdateFits",
                )
            version, weights = await self._gateway.weights(state, newest.version)
            yield ModelPulled(version)
            base = dequantise_weights(weights, state.shape)
            carried = self._journal.residual(identity.scope, state.shape.weight_count)
            data = await asyncio.to_thread(self._data)
            protected: ProtectedRound | None = None
            if self._privacy is not None:
                # counted before the first noised number is made, and whatever becomes of the training
                labels = self._samples.targets_of(spec) if spec.loss is Loss.CROSS_ENTROPY else None
                counts = None if labels is None else np.bincount(labels, minlength=len(spec.labels))
                protected = await asyncio.to_thread(
                    self._privacy.begin, identity.place, counts, recipe, version.version
                )
            # under another privacy it is another training: steps that were counted with other noise are not gone on from
            noise = None if protected is None else protected.kind
            key = key_of(identity.scope, version.version, version.digest, state.model, recipe, self._seed, data, noise)
            checkpoint = Checkpoint.at(self._state_dir, identity.scope, key)
            events: asyncio.Queue[Any] = asyncio.Queue()
            stop = threading.Event()
            loop = asyncio.get_running_loop()

            def put(event: object) -> None:
                loop.call_soon_threadsafe(events.put_nowait, event)

            pace = Pace(self._machine, stop, put)
            steps = self._steps = _Steps()
            now: training.LocalTraining | None = None

            def between(running: training.LocalTraining) -> None:
                nonlocal now
                now, steps.of, steps.made = running, running.step_count, running.step
                if checkpoint.due(running.step):
                    checkpoint.write(running.state())
                if not running.done:
                    pace.between(lambda: checkpoint.write(running.state(), durably=True))

            def progress(step: int, loss: float) -> None:
                # a loss is a question about the samples, too, and whoever called sees the answer
                put(TrainingProgress(step, now.step_count if now else step, loss if protected is None else math.nan))

            def learn() -> tuple[Quantised, float]:
                fixed = frozen.read(self._frozen, spec.graph.frozen)
                kept = checkpoint.read(len(base))
                if kept is not None:
                    log.info("training_resumed", task=self._task, version=version.version, step=kept.step)
                spent = time.thread_time()
                gradient_of = None
                if protected is not None and protected.steps is not None:
                    gradient_of = private_gradient(spec, self._samples, protected.steps, fixed)
                delta = training.train(
                    spec,
                    base,
                    self._samples,
                    recipe,
                    (self._seed, version.version),
                    progress,
                    fixed,
                    gradient_of=gradient_of,
                    state=kept,
                    between=between,
                )
                self._spent(time.thread_time() - spent, steps.made - (kept.step if kept else 0), steps.made)
                if protected is not None:
                    delta = protected.protected(delta)
                wanted = delta + carried
                quantised = quantise_delta(wanted, state.shape, self._task, version.version, chosen, most)
                length = float(np.linalg.norm(wanted))
                return quantised, float(np.linalg.norm(quantised.residual)) / length if length else 0.0

            def work_on() -> tuple[Quantised, float]:
                try:
                    return learn()
                except LinkLearnerError:  # the same training would come to the same end
                    checkpoint.drop()
                    raise
                finally:
                    checkpoint.close()

            doing.becomes(Activity.TRAINING)
            work = loop.run_in_executor(self._worker, work_on)
            work.add_done_callback(lambda _: events.put_nowait(_DONE))
            try:
                while (event := await events.get()) is not _DONE:
                    if isinstance(event, Obstacle):
                        again_s, known = _in(pause_s(event, time.time())), doing.reason
                        doing.becomes(Activity.WAITING, event, again_s)
                        if event.reason != known:
                            yield TrainingWaits(event.reason, event.detail, again_s)
                    elif event is None:
                        doing.becomes(Activity.TRAINING)
                        await self._check_base(version.version)
                    else:
                        yield event
                quantised, residual_ratio = await work
                taken = steps.made
            finally:  # also when nobody listens any more: the thread ends after its step, and nothing has changed
                stop.set()
                work.cancel()
                self._steps = _Steps()
            if not quantised.update.pages:
                await asyncio.to_thread(checkpoint.drop)
                raise InvalidInput(
                    f"there is nothing to learn: {taken} steps on {len(self._samples)} samples leave the weights as they are, "
                    "so nothing is submitted. More steps, a higher learning rate (LINKLEARNER_TRAINER_STEPS, "
                    "LINKLEARNER_TRAINER_LEARNING_RATE) or other data may move them",
                    reason=NOTHING_TO_LEARN,
                )
            if state.examples is not None and self._held_out is not None and protected is None:
                expected = await self._forecast(identity, state, weights, quantised.update)
                if expected is not None:  # nothing is held yet: who leaves now has sent nothing, and will not
                    self._awaited = Awaited(state.round.round, weights, quantised.update, expected.record)
                    yield expected
            payload = quantised.update.encode(state.shape)
            digest = quantised.update.digest(state.shape)
            held = Held(
                request_id=request_id,
                contents=contents,
                submission_id=secrets.token_hex(16),
                round=state.round.round,
                base_version=version.version,
                payload=payload,
                digest=digest,
                residual=quantised.residual,
            )
            doing.becomes(Activity.SUBMITTING)
            await asyncio.to_thread(self._journal.hold, identity.scope, held)
            if self._privacy is not None and protected is not None:
                # held first: where that fails, the round's share is still good for another training
                await asyncio.to_thread(self._privacy.close, protected, digest)
            await asyncio.to_thread(checkpoint.drop)
            if self._last_update is not None:
                await asyncio.to_thread(self._last_update.keep, payload)
            yield UpdateQuantised(
                encoding=quantised.update.encoding,
                update_bytes=len(payload),
                page_count=len(quantised.update.pages),
                pages_total=state.shape.page_count,
                residual_ratio=residual_ratio,
                digest=digest,
                privacy=protected.spent if protected else None,
            )
            yield await self._send(identity, held)

    async def follow(self, rounds: int | None) -> None:
        """Contributes to every round by itself; None: without end, otherwise returns after contributions to that many rounds. Returns, too,
        when the task is closed or its privacy budget is spent. Where the open round takes nothing of this account, it waits, and says for
        what.

        Outlives every error of our tree, whoever caused it: a round that cannot be read, a gateway that talks nonsense, a full disk and
        data that the task cannot use are logged, each once until it changes, and tried again, ever less often. Anything else is a bug and
        ends it.
        """
        contributed, last, pause = 0, 0, RETRY_S
        said, trouble = "", ("", "")

        def waits_for(obstacle: Obstacle, again_s: float = 0.0) -> None:
            nonlocal said
            self._follows.becomes(Activity.WAITING, obstacle, again_s)
            if obstacle.reason not in (said, NOT_MEASURED):
                log.info("contribution_waits", task=self._task, reason=obstacle.reason, detail=obstacle.detail)
                said = obstacle.reason

        while rounds is None or contributed < rounds:
            try:
                state = await self._gateway.task(self._task)
                self._round = state.round.round
                stake = await self._stake(state)
                under_way, waits = await self._under_way(state), None
                if not under_way:
                    waits = await self._budget_spent() or obstacle(state, stake, time.time(), only_paid=self._only_paid)
                if waits is not None:
                    waits_for(waits, waits.from_s or time.time() + LOOK_AGAIN_S)
                    if waits.reason in FINAL_OBSTACLES:
                        return
                    await self._patiently(state, waits)
                    pause, trouble = RETRY_S, ("", "")
                    continue
                if not under_way and await self._until_free(waits_for):
                    continue  # the round may be another by now
                if not state.pot and said != POT_EMPTY:
                    log.info(
                        "works_unpaid", task=self._task, detail="the task's pot is empty: this round earns nothing"
                    )
                said = "" if state.pot else POT_EMPTY
                patience: float | None = None
                try:
                    with of_round(self._task, state.round.round):
                        price = bid(state, stake, self._cpu_seconds) if self._by_pay else 0.0
                        work = self.contribute(f"auto-{state.round.round}", None, 0, bid=price)
                        async with aclosing(work) as events:
                            async for event in events:
                                _log_event(event)
                    # the same round again, after an error in waiting for the next, is no other one
                    if state.round.round != last:
                        contributed, last = contributed + 1, state.round.round
                except Refused as refusal:
                    log.warning(
                        "contribution_refused",
                        round=state.round.round,
                        reason=refusal.reason,
                        detail=refusal.message,
                    )
                    patience = REFUSED_AGAIN_S
                    self._follows.becomes(Activity.WAITING, Obstacle(refusal.reason, refusal.message), _in(patience))
                except Exhausted as spent:
                    if spent.reason != BUDGET_SPENT:
                        raise
                    waits_for(Obstacle(spent.reason, spent.message))
                    return
                except InvalidInput as error:  # this data and this task: the next round may bring other weights
                    log.warning(
                        "contribution_impossible", round=state.round.round, reason=error.reason, detail=error.message
                    )
                    patience = REFUSED_AGAIN_S
                    self._follows.becomes(Activity.WAITING, Obstacle(error.reason, error.message), _in(patience))
                else:
                    done = f"round {state.round.round} has an update of this account: the next one can follow when it is settled"
                    self._follows.becomes(Activity.WAITING, Obstacle(NEXT_ROUND, done))
                pause, trouble = RETRY_S, ("", "")
                if rounds is None or contributed < rounds:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(patience):
                            await self._round_after(state)
            except LinkLearnerError as error:
                longest = LONGEST_DOUBT_S if error.reason == STATUS_UNKNOWN else LONGEST_RETRY_S
                if trouble != (trouble := (error.reason, error.message)):
                    log.warning(
                        "contribution_waits", reason=error.reason, detail=error.message, longest_retry_s=longest
                    )
                pause = min(pause, longest)
                self._follows.becomes(Activity.WAITING, Obstacle(error.reason, error.message), _in(pause))
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        self._follows.becomes(Activity.IDLE)

    async def _forecast(
        self, identity: Identity, state: Task, weights: NDArray[np.int16], update: Update
    ) -> MergeForecast | None:
        """None where it cannot be said, which keeps nobody from contributing."""
        assert self._held_out is not None
        try:
            earnings = await self._gateway.earnings(identity.account, state.task)
            opened = await self._gateway.examples(state)
            generator = np.random.default_rng((self._seed, update.base_version))
            return await asyncio.to_thread(
                forecast, state, weights, update, earnings.record or 0, opened, self._held_out, generator
            )
        except LinkLearnerError as error:
            log.info("no_forecast", task=self._task, reason=error.reason, detail=error.message)
            return None

    async def _hear_verdict(self, identity: Identity, state: Task) -> None:
        """Says what rule evidence made of the last update, and computes the gain anew: a gateway's word is not enough for it."""
        awaited = self._awaited
        if awaited is None or state.round.round <= awaited.round:
            return
        self._awaited = None
        try:
            found = await self._gateway.round(state.task, awaited.round)
            own = next((one for one in found.contributions if one.contributor == identity.account), None)
            if own is None or own.verdict is None or found.examples is None:
                return
            opened = await self._gateway.examples(state)
            expected = await asyncio.to_thread(
                ruled, state, awaited.weights, awaited.update, awaited.record, opened, awaited.round
            )
        except LinkLearnerError as error:
            log.info("verdict_unknown", round=awaited.round, reason=error.reason, detail=error.message)
            return
        log.info("update_judged", round=awaited.round, verdict=own.verdict.text(found.examples.examples), paid=own.paid)
        if own.digest == awaited.update.digest(state.shape) and expected != (own.verdict.gain, own.verdict.record):
            log.error(
                "verdict_differs",
                round=awaited.round,
                told=(own.verdict.gain, own.verdict.record),
                computed=expected,
                detail="the gateway tells another verdict than the rule gives on the examples that the task's creator committed to: ask "
                "another gateway, or the chain (`linklearner verify`)",
            )

    async def _under_way(self, state: Task) -> bool:
        """Whether an update is on its way: it is looked after whatever keeps this trainer from training another."""
        identity = await self.identity()
        open_round = not state.closed and state.round.round
        return bool(open_round and self._journal.held(identity.scope, state.shape.weight_count))

    async def _budget_spent(self) -> Obstacle | None:
        """That no further round fits into the privacy budget."""
        if self._privacy is not None:
            identity = await self.identity()
            try:
                await asyncio.to_thread(self._privacy.check, identity.place, self._recipe)
            except Exhausted as spent:
                return Obstacle(spent.reason, spent.message)
        return None

    async def _stake(self, state: Task) -> StakeStatus:
        identity = await self.identity()
        stake = (await self._gateway.balance(identity.account, state.task)).stake
        assert stake is not None  # of a task that was named
        return stake

    async def _until_free(self, waits_for: Callable[[Obstacle, float], None]) -> bool:
        """Waits, without a look at the chain, until the machine's owner has no objection to a training; whether it had to."""
        waiting = ""
        while (why := await asyncio.to_thread(self._machine.obstacle, waiting)) is not None:
            waiting = why.reason
            pause = pause_s(why, time.time())
            waits_for(why, time.time() + pause)
            await asyncio.sleep(pause)
        return bool(waiting)

    async def _check_base(self, version: int) -> None:
        """After a wait in the middle of a training. Raises BaseMoved if its round is over; a gateway that is away says nothing."""
        with suppress(*UNANSWERED):
            newest = (await self._gateway.task(self._task)).version
            if newest != version:
                raise BaseMoved(
                    f"the weights moved on from version {version} while the training waited: it begins anew from version {newest}",
                    reason=STALE_BASE,
                    facts={"base": version, "newest": newest},
                )

    def _spent(self, cpu_seconds: float, made: int, of: int) -> None:
        """So many processor seconds of this thread went into `made` of a training's steps, of which it took `of`; torch's other threads
        are taken to have been as busy."""
        if made:
            self._cpu_seconds = cpu_seconds * training.thread_count() * of / made

    def _data(self) -> bytes:
        """32 bytes: which samples these are."""
        if self._data_digest is None:
            self._data_digest = digest_of(self._samples)
        return self._data_digest

    async def _patiently(self, state: Task, waits: Obstacle) -> None:
        """Until another round is open, or the obstacle may be gone, or for LOOK_AGAIN_S."""
        away = waits.from_s - time.time() if waits.from_s else LOOK_AGAIN_S
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(away, RETRY_S), LOOK_AGAIN_S)):
                await self._round_after(state)

    async def _round_after(self, state: Task) -> None:
        """Waits until a later round than the one seen in `state` is open."""
        settle = (
            RETRY_S / 10
        )  # an announcement may be ahead of the gateway's view of the task, and a bad gateway's for good
        while (await self._gateway.task(self._task)).round.round <= state.round.round:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._gateway.next_version(self._task, state.version)
            await asyncio.sleep(settle)
            settle = min(2 * settle, LOOK_AGAIN_S)

    @asynccontextmanager
    async def _one_at_a_time(self, request_id: str, bid: float) -> AsyncIterator[_Doing]:
        if self._turn.locked() and self._request_id != request_id:
            raise Exhausted("this trainer is busy with another round: call again when it is done, or see GetTrainer")
        # The same request again waits for the first and then finds its outcome; another task's contributor comes before or after.
        async with self._turn:
            self._request_id = request_id
            doing = self._works = _Doing(Activity.WAITING)
            doing.becomes(Activity.WAITING, Obstacle(OTHER_TASK, "this trainer works for another of its tasks"))
            try:
                async with self._turns.turn(bid):
                    doing.becomes(Activity.SUBMITTING)
                    yield doing
            finally:
                self._works = None
                if self._follows.activity is Activity.IDLE:
                    self._follows = _Doing(Activity.IDLE)  # since now

    async def _resume(self, identity: Identity, state: Task, request_id: str, contents: str) -> Submitted | None:
        """Decides over the update that is held, from the chain's record; the answer to this request if it has one without training."""
        known = self._journal.outcome(identity.scope, request_id)
        held = self._journal.held(identity.scope, state.shape.weight_count)
        first = known.contents if known else held.contents if held and held.request_id == request_id else contents
        if first != contents:
            raise RequestIdReused(
                f"request_id {request_id!r} stands for a request with {first}, not {contents}: choose a new one"
            )
        if known is not None:
            return known.submitted
        if held is None:
            return None
        status, submitted = await self._status(identity, held, state.round.round)
        log.info("held_update", status=status.name, round=held.round, digest=held.digest.hex())
        if status is UpdateStatus.UNSENT:
            if self._privacy is not None and not await asyncio.to_thread(
                self._privacy.may_leave, identity.place, held.digest
            ):  # the end came between holding it and counting it: its share is still there, for another one
                self._journal.discard(identity.scope)
                return None
            try:
                submitted = await self._send(identity, held)
            except (Refused, BaseMoved) as refusal:
                log.info("held_update_refused", reason=refusal.reason, detail=refusal.message)
                return None
            if held.request_id != request_id:
                self._journal.accept(identity.scope, request_id, RecordedOutcome(contents, submitted))
            return submitted
        if submitted is not None:
            self._journal.accept(identity.scope, held.request_id, RecordedOutcome(held.contents, submitted))
        if status is UpdateStatus.MERGED:
            await asyncio.to_thread(self._journal.promote, identity.scope)
        elif status is UpdateStatus.LOST:
            self._journal.discard(identity.scope)
        if held.request_id == request_id:
            return submitted
        if status is UpdateStatus.ACCEPTED:
            raise Refused(
                f"round {state.round.round} holds an update of this account already: the next one can follow when it is settled",
                reason=ALREADY_SUBMITTED,
                facts={"round": state.round.round},
            )
        return None

    async def _status(self, identity: Identity, held: Held, newest: int) -> tuple[UpdateStatus, Submitted | None]:
        """Looks through the rounds that started from the held update's base: a dropped round is followed by another from the same.

        newest: the open round. The outcome, read from the chain's record, if the update was accepted and its round was not dropped.
        Raises Unavailable while the gateway cannot say: another's update in the round that it cannot read decides nothing about ours.
        """
        for round in range(held.round, min(newest, held.round + MAX_ROUNDS_SEARCHED) + 1):
            try:
                record = await self._gateway.round(self._task, round)
            except UNANSWERED:
                raise
            except LinkLearnerError as error:
                raise Unavailable(
                    f"what became of this trainer's update in round {round} is unknown, because the gateway cannot tell the round "
                    f"({error.reason}: {error.message}): ask again later, or another gateway",
                    reason=STATUS_UNKNOWN,
                    facts={"round": round},
                ) from error
            submitted = record.accepted(identity.account, held.digest)
            settled = record.version is not None
            if record.base_version > held.base_version:
                return UpdateStatus.LOST, None
            if record.base_version == held.base_version:
                if settled:
                    return (UpdateStatus.LOST if submitted is None else UpdateStatus.MERGED), submitted
                if record.dropped and submitted is not None:
                    return UpdateStatus.LOST, None
                if not record.dropped:
                    return (UpdateStatus.UNSENT if submitted is None else UpdateStatus.ACCEPTED), submitted
            elif not settled and not record.dropped:
                break
        raise Unavailable(
            f"the gateway is behind: it shows no round from {held.round} on that decides over this trainer's update of version "
            f"{held.base_version}; ask again later. If the chain was begun anew, start the trainer with another state folder "
            "(LINKLEARNER_TRAINER_STATE_DIR)",
            reason=STATUS_UNKNOWN,
        )

    async def _send(self, identity: Identity, held: Held) -> Submitted:
        """Submits the held update and records the outcome; what can never land is forgotten, what might have is not."""
        try:
            submitted = await self._gateway.submit(held.submission_id, identity.account, held.payload, held.digest)
        except FINAL_REFUSALS as refusal:
            self._journal.discard(identity.scope)
            if refusal.reason == STALE_BASE:
                raise BaseMoved(
                    f"the weights moved on from version {held.base_version} before the update was accepted: call again",
                    reason=STALE_BASE,
                    facts=refusal.facts,
                ) from refusal
            raise
        self._journal.accept(identity.scope, held.request_id, RecordedOutcome(held.contents, submitted))
        return submitted


def _in(seconds: float) -> int:
    """Unix seconds, so many from now."""
    return int(time.time() + seconds)


def _log_event(event: TrainingEvent) -> None:
    match event:
        case TrainingWaits(reason=reason, detail=detail):
            log.info("training_waits", reason=reason, detail=detail)
        case TrainingProgress(step=step, step_count=step_count, loss=loss) if step == step_count:
            log.info("trained", steps=step, **({} if math.isnan(loss) else {"loss": round(loss, 4)}))
        case MergeForecast():
            log.info("expected", verdict=event.text())
        case UpdateQuantised(update_bytes=update_bytes, residual_ratio=residual_ratio, privacy=spent):
            log.info("update_prepared", bytes=update_bytes, residual_ratio=round(residual_ratio, 3), **_in_log(spent))
        case Submitted() as submitted:
            log.info(
                "update_accepted",
                round=submitted.round,
                weight_units=submitted.weight,
                gas=submitted.mined.gas_used,
                transaction=submitted.mined.transaction.hex(),
            )


def _in_log(spent: PrivacySpent | None) -> dict[str, Any]:
    if spent is None:
        return {}
    return {
        "privacy": spent.mechanism,
        "epsilon": round(spent.epsilon, 3),
        "epsilon_budget": spent.epsilon_budget,
        "delta": spent.delta,
        "rounds_left": spent.rounds_left,
    }
