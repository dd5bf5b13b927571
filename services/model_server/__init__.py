"""The model server: follows a task's versions through a gateway and serves the newest one by the Open Inference Protocol, behind a gate."""
