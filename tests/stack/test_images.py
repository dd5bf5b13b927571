"""What goes into the images."""

import asyncio
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from linklearner.rpc.server import RpcServer

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((*ROOT.glob("services/*/Dockerfile"), ROOT / "devchain" / "Dockerfile"))


def loaded(name: str) -> ModuleType:
    """A script of deploy/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_service_has_an_image_of_its_own() -> None:
    services = {path.parent for path in ROOT.glob("services/*/__main__.py")}
    assert {path.parent for path in DOCKERFILES} == {*services, ROOT / "devchain"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_runs_one_service_as_nobody_special(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    folder = dockerfile.parent.relative_to(ROOT)
    module = ".".join(folder.parts)
    assert "syntax=" not in text, "a frontend would have to be fetched"
    assert text.rstrip().endswith(f'ENTRYPOINT ["python", "-m", "{module}"]')
    assert re.findall(r"^USER (.*)$", text, re.M) == ["${UID}:${UID}"]
    assert re.findall(r"^ARG UID=(\d+)$", text, re.M) == ["10001"]
    assert f"COPY {folder} /app/{folder}" in text
    assert "://" not in text, "where packages come from is the builder's business"
    assert text.index("install -c /pins/constraints.txt") < text.index("COPY src src"), "code comes after what it needs"


def test_requirements_are_those_of_pyproject() -> None:
    def printed(wanted: str) -> list[str]:
        script = [sys.executable, str(ROOT / "deploy" / "requirements.py"), wanted]
        return subprocess.run(script, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]

    assert any(line.startswith("web3==") for line in printed("chain-gateway"))
    assert [line.split("==")[0] for line in printed("core:coincurve,structlog")] == ["coincurve", "structlog"]
    assert set(printed("core:numpy")) < set(printed("core"))
    assert [line.split("==")[0] for line in printed("build-system")] == ["hatchling"]
    with pytest.raises(subprocess.CalledProcessError):
        printed("no-such-extra")


def test_the_chain_needs_nothing_that_its_image_leaves_out() -> None:
    left_out = ("grpc", "httpx", "numpy", "rich", "typer", "web3", "onnx", "torch")
    code = f"import sys; sys.modules.update(dict.fromkeys({left_out}))\nimport devchain.__main__"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_library_without_its_symbols_still_loads(tmp_path: Path) -> None:
    found = next(Path(np.__file__).parent.glob("random/_common.*.so"))
    library = tmp_path / found.name
    shutil.copy(found, library)
    library.chmod(0o755)
    with library.open("ab") as file:
        file.write(b"debug data " * 1000)
    before = library.stat().st_size
    loaded("slim").unload(library)
    assert library.stat().st_size <= before - 11_000
    code = f"import ctypes; ctypes.CDLL({str(library)!r}).PyInit__common"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_slimming_leaves_what_runs_and_takes_what_does_not(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in (
        "pkg/core.py",
        "pkg/tests/test_core.py",
        "pkg/include/core.h",
        "pkg/core.pyi",
        "pygments/lexers/ada.py",
    ):
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("A = 1\n")
    (packages / "pygments" / "lexers" / "__init__.py").write_text("")
    loaded("slim").slim(tmp_path)
    left = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert left == {"pkg/core.py", "pygments/lexers/__init__.py"}


async def test_the_health_check_tells_ready_from_up_and_from_gone() -> None:
    async def asked(target: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "deploy" / "ready.py"), target, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    async with RpcServer("127.0.0.1:0", lambda server: None, ()) as server:
        await server.set_ready(False)
        assert await asked(server.address) == 1
        await server.set_ready(True)
        assert await asked(server.address) == 0
        # alive, and no JSON-RPC node
        assert await asked(f"http://{server.address}") == 1
    assert await asked(server.address) == 1
