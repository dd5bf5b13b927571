from collections.abc import Iterator

import pytest

from bench.pool import PoolChain


@pytest.fixture(scope="session")
def deployed_pool() -> Iterator[PoolChain]:
    world = PoolChain.deployed()
    yield world
    world.chain.close()


@pytest.fixture
def world(deployed_pool: PoolChain) -> Iterator[PoolChain]:
    """A pool with its Aspect bound, 23 contributors with 10,000 LL each; what a test does is undone."""
    head = deployed_pool.chain.head.number
    yield deployed_pool
    deployed_pool.chain.rewind(head)
