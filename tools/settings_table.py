"""Writes docs/settings.md: every setting of every service, out of the dataclasses that are read.

python -m tools.settings_table            writes it
python -m tools.settings_table --check    fails if it is not what the dataclasses give
"""

import ast
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from linklearner.settings import OneOfKinds, Setting, Settings, described
from services.chain_gateway.config import GatewayConfig
from services.model_server.config import ModelServerConfig
from services.page.config import PageConfig
from services.trainer.config import TrainerConfig
from tools.written import ROOT, write

PATH = ROOT / "docs" / "settings.md"
SERVICES: tuple[tuple[str, type[Settings]], ...] = (
    ("Chain gateway", GatewayConfig),
    ("Trainer", TrainerConfig),
    ("Model server", ModelServerConfig),
    ("Page", PageConfig),
)
HEAD = """\
# Settings

Made by `tools/settings_table.py` out of the dataclasses that the services read; do not edit. Each is an environment variable. One that has
the prefix but is not in the table is refused at the start, and so is a value outside of its range: exit status 2.
"""


def documents(cls: type[Settings]) -> dict[str, str]:
    """The docstring under each field of a dataclass, in one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            found[field.target.id] = " ".join(after.value.value.split())
    return found


def _default(setting: Setting) -> str:
    value: Any = setting.default
    if isinstance(setting.rule, OneOfKinds):
        value = next(name for name, kind in setting.rule.kinds.items() if isinstance(value, kind))
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if str(value) else "empty"


def _allowed(setting: Setting) -> str:
    if setting.rule is not None:
        return str(setting.rule)
    return {bool: "true or false", str: "text", Path: "path"}.get(setting.kind, "number")


def rows(cls: type[Settings], prefix: str) -> list[str]:
    said = documents(cls)
    lines = ["", "| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for setting in described(cls):
        cells = (f"`{prefix}{setting.name.upper()}`", _default(setting), _allowed(setting), said[setting.name])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for setting in described(cls):
        if isinstance(setting.rule, OneOfKinds):
            for name, kind in setting.rule.kinds.items():
                if described(kind):
                    lines += ["", f"With `{prefix}{setting.name.upper()}={name}`:", *rows(kind, prefix)]
    return lines


def table() -> str:
    lines = [HEAD.rstrip()]
    for name, cls in SERVICES:
        lines += ["", f"## {name}", *rows(cls, cls.PREFIX)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    return write(PATH, table(), "tools.settings_table", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
