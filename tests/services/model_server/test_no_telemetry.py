import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_inference_library_reports_to_nobody() -> None:
    code = (
        "import sys, builtins, os\n"
        "real = builtins.__import__\n"
        "def watched(name, *rest):\n"
        "    if name == 'onnxruntime': assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1', 'imported too early'\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = watched\n"
        "import services.model_server.__main__\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)
