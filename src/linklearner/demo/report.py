"""What is said before the first round and after the last one."""

from collections.abc import Sequence
from pathlib import Path

from linklearner.demo.screen import Screen
from linklearner.domain.notation import shown_urls
from linklearner.domain.tasks import Task
from linklearner.domain.training import Evaluation, TrainerStatus
from linklearner.output import ll
from linklearner.suite import Suite

NEXT_STEPS = """
Next:  make demo KEEP=1                    leave it running, then
       .venv/bin/linklearner task show     what the chain knows
       .venv/bin/linklearner earnings      who earned what, --claim pays it out
       .venv/bin/linklearner train         one more round of yours
       .venv/bin/linklearner watch         see it happen
       .venv/bin/linklearner report        all of it on one page
       .venv/bin/linklearner verify        the audit again"""


def introduce(
    suite: Suite,
    task: Task,
    people: Sequence[TrainerStatus],
    first: Evaluation,
    screen: Screen,
) -> None:
    spec, shape = task.spec, task.shape
    screen.event(
        "introduced", task=task.task, creator=suite.creator, sponsor=suite.sponsor, owner=suite.owner,
        pot_wei=str(task.pot), weights=shape.weight_count, accuracy=first.value, chain_id=suite.chain_id, pool=suite.pool,
        token=suite.token, aspect=suite.aspect, samples=[person.samples for person in people],
    )  # fmt: skip
    screen.say(
        f"\n  chain {suite.chain_id} at {shown_urls(suite.rpc_url)}\n"
        f"  pool   {suite.pool}\n  $LL    {suite.token}\n  Aspect {suite.aspect}\n"
        f"  task {task.task}: {spec.name}, {spec.graph}, {shape.weight_count:,} int16 weights in "
        f"{shape.page_count} pages, rule mean\n"
        f"  opened by  {suite.creator}, an account like any other\n"
        f"  pot        {ll(task.pot)} $LL, filled by the sponsor {suite.sponsor}; a round of {task.terms.round_seconds} s takes "
        f"{ll(task.terms.reward)}, a shorter one as much less\n"
        f"  before training: accuracy {first.value:.3f} on {first.samples} held-out digits"
    )


def farewell(suite: Suite, root: Path, screen: Screen) -> None:
    screen.event(
        "kept",
        **{
            name: getattr(suite, name)
            for name in ("page", "rpc_url", "gateway", "trainers", "model_server", "metrics", "pid")
        },
    )
    screen.say(
        f"\nStill running (process {suite.pid}):\n"
        f"  page          [bold]{suite.page}[/bold]   (draw, train, earn, ask)\n"
        f"  chain         {shown_urls(suite.rpc_url)}   (chain id {suite.chain_id})\n"
        f"  gateway       {suite.gateway}\n"
        f"  trainers      {', '.join(suite.trainers)}\n"
        f"  model server  {suite.model_server}   (Open Inference Protocol)\n"
        f"  metrics       http://{suite.metrics}/metrics\n"
        f"\nTry:   .venv/bin/linklearner task show | earnings | balance | train | watch | report | verify\n"
        f"Stop:  .venv/bin/linklearner down"
    )
