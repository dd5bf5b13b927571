"""Files that make an operating system keep a trainer running for one user: a systemd user unit, or a launchd agent.

What is written carries a digest of itself. A file that still has its digest is ours and may be replaced; one that somebody has changed is
his, and only replaced if he says so.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.domain.notation import shown

MOST_BYTES: Final = 1 << 20
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
RESTART_S: Final = 30
"""Seconds after which a trainer that failed is started again."""
_DIGEST: Final = re.compile(rb"linklearner-digest:([0-9a-f]{64})")


class Keeper(StrEnum):
    """Who keeps it running."""

    SYSTEMD = "systemd"
    LAUNCHD = "launchd"


@dataclass(frozen=True, kw_only=True)
class Program:
    """What is to run. arguments: the program's absolute path, then what follows it. folder: where, absolute. nice: 0 to 19."""

    name: str
    description: str
    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    nice: int

    def __post_init__(self) -> None:
        check_name(self.name)
        for text in (*self.arguments, str(self.folder), *self.environment, *self.environment.values()):
            if not text.isprintable():
                raise InvalidConfig(
                    f"{shown(text)} cannot be written into a unit: it has a character that is not printable"
                )


def check_name(name: str) -> None:
    """Raises InvalidConfig for what is no name of a unit."""
    if not NAME.fullmatch(name):
        raise InvalidConfig(f"--name is small letters, digits and hyphens, 32 at most, not {shown(name)}")


def path(keeper: Keeper, name: str, home: Path, config: str = "") -> Path:
    """home: the user's folder. config: XDG_CONFIG_HOME, if it is set. Raises InvalidConfig."""
    check_name(name)
    if keeper is Keeper.LAUNCHD:
        return home / "Library" / "LaunchAgents" / f"{label(name)}.plist"
    base = Path(config) if config.startswith("/") else home / ".config"
    return base / "systemd" / "user" / f"{unit(name)}.service"


def unit(name: str) -> str:
    return f"linklearner-{name}"


def label(name: str) -> str:
    return f"io.linklearner.{name}"


def text(keeper: Keeper, program: Program, home: Path) -> bytes:
    """The file's contents; the same program gives the same."""
    return (
        _signed(systemd(program).encode(), b"# %s\n")
        if keeper is Keeper.SYSTEMD
        else _signed_plist(launchd(program, home))
    )


def systemd(program: Program) -> str:
    """A user unit. Exit status 2 means that no other start would succeed (`linklearner.process`): it is not tried again."""
    environment = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(program.environment.items())
    )
    command = " ".join(_quoted(part).replace("$", "$$") for part in program.arguments)
    return f"""\
[Unit]
Description={program.description.replace("%", "%%")}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
WorkingDirectory={str(program.folder).replace("%", "%%")}
{environment}Restart=on-failure
RestartSec={RESTART_S}
RestartPreventExitStatus=2
Nice={program.nice}
IOSchedulingClass=idle
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


def launchd(program: Program, home: Path) -> bytes:
    """An agent's property list. launchd knows no exit status after which it would not start a program again."""
    log = str(home / "Library" / "Logs" / f"{unit(program.name)}.log")
    return plistlib.dumps(
        {
            "Label": label(program.name),
            "ProgramArguments": list(program.arguments),
            "WorkingDirectory": str(program.folder),
            "EnvironmentVariables": dict(program.environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART_S,
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "Nice": program.nice,
            "Umask": 0o077,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
    )


def start_commands(keeper: Keeper, name: str, file: Path) -> tuple[str, ...]:
    """What to type after the file is written."""
    if keeper is Keeper.LAUNCHD:
        return (
            f"launchctl bootout gui/$(id -u)/{label(name)} 2>/dev/null",
            f"launchctl bootstrap gui/$(id -u) '{file}'",
        )
    return (
        "systemctl --user daemon-reload",
        f"systemctl --user enable {unit(name)}",
        f"systemctl --user restart {unit(name)}",
        "loginctl enable-linger   # to train also while you are not logged in",
    )


def stop_commands(keeper: Keeper, name: str) -> tuple[str, ...]:
    """What to type after the file is removed."""
    if keeper is Keeper.LAUNCHD:
        return (f"launchctl bootout gui/$(id -u)/{label(name)}",)
    return (f"systemctl --user stop {unit(name)}", "systemctl --user daemon-reload")


def write(file: Path, contents: bytes, *, replace: bool) -> bool:
    """Puts it there in one step: a reader sees the old file or the new one. False if it was there already, to the byte.

    Raises InvalidConfig for a file that is not ours to replace, unless `replace` says that it is, OSError for a folder that cannot be
    written.
    """
    if _present(file):
        if not file.is_symlink() and _read(file) == contents:
            return False
        if not (replace or _ours(file)):
            raise InvalidConfig(
                f"{file} was changed, or made by something else: look at it, then say --replace to write over it",
                reason="FileChanged",
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(contents)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def remove(file: Path, *, replace: bool) -> None:
    """Raises NotFound if there is none, InvalidConfig for one that is not ours to remove, unless `replace` says that it is."""
    if not _present(file):
        raise NotFound(f"there is no {file}: nothing is installed under this name")
    if not (replace or _ours(file)):
        raise InvalidConfig(
            f"{file} was changed, or made by something else: look at it, then say --replace to remove it all the same",
            reason="FileChanged",
        )
    file.unlink()


def _present(file: Path) -> bool:
    return file.is_symlink() or file.exists()


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES)


def _ours(file: Path) -> bool:
    """Whether it is as it was written, by this version or another."""
    if file.is_symlink() or not file.is_file():
        return False
    found = _read(file)
    said = _DIGEST.search(found)
    if said is None:
        return False
    line_start, line_end = found.rfind(b"\n", 0, said.start()) + 1, found.find(b"\n", said.end()) + 1
    rest = found[:line_start] + found[line_end:]
    return hashlib.sha256(rest).hexdigest().encode() == said.group(1)


def _signed(contents: bytes, comment: bytes) -> bytes:
    return comment % _mark(contents) + contents


def _signed_plist(contents: bytes) -> bytes:
    """After the document's type, where a comment may stand."""
    head, before, body = contents.partition(b"<plist")
    return head + b"<!-- " + _mark(contents) + b" -->\n" + before + body


def _mark(contents: bytes) -> bytes:
    return b"linklearner-digest:" + hashlib.sha256(contents).hexdigest().encode()


def _quoted(part: str) -> str:
    """One word of a unit's line: its quotes and escapes, and the specifiers that begin with a percent sign."""
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
