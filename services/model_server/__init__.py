"""The model server: follows a task's versions through a gateway and serves the newest one by the Open Inference Protocol, behind a gate."""

import os

# onnxruntime's official builds report usage to their maker, unless this is set before their first import; nobody here has agreed to that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
