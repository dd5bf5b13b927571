import pytest

from devchain.aspect.runtime import AspectRuntime


@pytest.fixture(scope="session")
def runtime() -> AspectRuntime:
    """Stateless between calls but for its compiled modules, so one serves all tests."""
    return AspectRuntime()
