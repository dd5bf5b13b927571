"""How our state machines are run: seldom enough for every run of the tests, as often as the environment says otherwise."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run(machine: type[RuleBasedStateMachine], name: str, *, examples: int, steps: int) -> None:
    """NAME_EXAMPLES and NAME_STEPS in the environment take the place of these numbers."""
    checks = settings(
        max_examples=int(os.environ.get(f"{name}_EXAMPLES", examples)),
        stateful_step_count=int(os.environ.get(f"{name}_STEPS", steps)),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=checks)
