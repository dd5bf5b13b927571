"""A demo that fails leaves what explains the failure, and nothing that opens anything."""

from pathlib import Path

import pytest

from linklearner.demo.play import play
from linklearner.demo.start import DemoPlan
from linklearner.domain.errors import Unavailable
from linklearner.output import Format
from linklearner.v1 import model_pb2 as model

BREAKS = """
import pathlib, sys

home = pathlib.Path(sys.argv[sys.argv.index("--home") + 1])
(home / "password").write_text("secret")
sys.exit("what really happened")
"""


@pytest.mark.parametrize("keep", [False, True])
async def test_the_services_logs_outlive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep: bool
) -> None:
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    (checkout / "services").mkdir(parents=True)
    (checkout / "services" / "__main__.py").write_text(BREAKS)
    monkeypatch.setenv("LINKLEARNER_HOME", str(home))
    plan = DemoPlan(root=checkout, chain=(), rounds=1, encoding=model.ENCODING_TWO_BITS, seed=1, keep=keep)
    with pytest.raises(Unavailable, match="what really happened"):
        await play(plan, Format.JSON)
    [folder] = home.iterdir()
    assert (folder / "suite.log").read_text().strip() == "what really happened"
    assert (folder / "password").exists() == keep
    assert f"{folder}/*.log" in capsys.readouterr().err
