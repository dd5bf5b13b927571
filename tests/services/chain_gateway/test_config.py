import re
from pathlib import Path

import pytest

from linklearner.domain.errors import InvalidConfig
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deployment import Deployment


def test_settings_come_from_the_environment_with_their_types() -> None:
    config = GatewayConfig.from_environment(
        {
            "LINKLEARNER_GATEWAY_RPC_URL": "https://example.org",
            "LINKLEARNER_GATEWAY_KEYSTORE": "/keys",
            "LINKLEARNER_GATEWAY_AUTO_SETTLE": "false",
            "LINKLEARNER_GATEWAY_MAX_HEAD_AGE_S": "60",
            "LINKLEARNER_TRAINER_TASK": "7",
        }
    )
    assert config == GatewayConfig(
        rpc_url="https://example.org", keystore=Path("/keys"), auto_settle=False, max_head_age_s=60.0
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RPC", "http://x"),
        ("RPC_URL", ""),
        ("RPC_URL", "ws://x"),
        ("WITNESS_RPC_URL", "x"),
        ("AUTO_SETTLE", "perhaps"),
        ("POLL_S", "often"),
        ("POLL_S", "0.009"),
        ("POLL_S", "61"),
        ("POLL_S", "nan"),
        ("RECEIPT_S", "0.09"),
        ("MAX_HEAD_AGE_S", "-1"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_settings_that_mean_nothing_are_named(variable: str, text: str) -> None:
    with pytest.raises(InvalidConfig, match=re.compile(variable, re.IGNORECASE)):
        GatewayConfig.from_environment({f"LINKLEARNER_GATEWAY_{variable}": text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("poll_s", 0.01),
        ("poll_s", 60.0),
        ("receipt_s", 0.1),
        ("max_gas_price_gwei", 0.001),
        ("max_gas_price_gwei", 1e6),
        ("max_head_age_s", 0.0),
    ],
)
def test_bounds_belong_to_what_is_allowed(name: str, value: float) -> None:
    assert getattr(GatewayConfig(**{name: value}), name) == value  # type: ignore[arg-type]


def test_a_setting_out_of_bounds_says_what_they_are() -> None:
    with pytest.raises(InvalidConfig, match=r"poll_s must be between 0\.01 and 60, got 61\.0"):
        GatewayConfig(poll_s=61.0)


def test_a_deployment_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    deployment = Deployment(
        chain_id=11820, pool=b"\1" * 20, token=b"\2" * 20, aspect=b"\3" * 20, block=7, owner=b"\4" * 20
    )
    deployment.save(tmp_path / "d.json")
    assert Deployment.load(tmp_path / "d.json") == deployment
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "chain_id": 1, "block": 1, "pool": "0x12"}']
)
def test_a_file_that_is_no_deployment_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"d\.json"):
        Deployment.load(tmp_path / "d.json")
    with pytest.raises(InvalidConfig, match="deploy"):
        Deployment.load(tmp_path / "nowhere.json")
