"""What documents and comments point to is there, and is in the repository."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from linklearner.cli import app

ROOT = Path(__file__).resolve().parent.parent
TOP = "aspects|bench|contracts|deploy|devchain|docs|examples|protos|services|src|tests|tools"
PLACE = re.compile(rf"(?<![\w./-])(?:\.ci/run|(?:{TOP})/[A-Za-z0-9_./-]*[A-Za-z0-9_/])")
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
SECTION = re.compile(r"([\w/]*\b(?:artela|protocol|architecture)\.md)`?\s*§\s*(\d+(?:\.\d+)?)")
GENERATED = ("src/linklearner/v1/", "src/linklearner/oip/", "src/linklearner/artifacts/")
WRITTEN = (
    ".py",
    ".ts",
    ".mjs",
    ".sol",
    ".proto",
    ".yml",
    ".toml",
    ".md",
    ".svg",
    "Makefile",
    "Dockerfile",
    "run",
    ".sh",
)


NODE = ROOT / "docs" / "artela.md"
"""Names files of other repositories: the node's."""


def files() -> list[Path]:
    """What git tracks or would track, without generated code and data."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip
    names = [name for name in listed if name.endswith(WRITTEN) and not name.startswith((*GENERATED, "tests/data/"))]
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


PLACEHOLDER = re.compile(r"/(?:NAME|Name)\.\w+$")
"""The name of a file that a recipe has its reader write: its folder is there."""


def is_there(place: str) -> bool:
    """A file, a folder, or a module without its .py."""
    path = ROOT / PLACEHOLDER.sub("", place)
    return path.exists() or path.with_name(path.name + ".py").exists()


DOCUMENTS = [path for path in files() if path.suffix == ".md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    places = PLACE.findall(" ".join(CODE.findall(text)))
    missing = [place for place in places if not is_there(place) and document != NODE]
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing += [link for link in links if not (document.parent / link).exists()]
    assert not missing
    assert all((document.parent / link).resolve().is_relative_to(ROOT) for link in links)


def test_every_file_that_a_comment_names_is_there() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {place}"
        for path in files()
        if path.suffix in (".py", ".ts", ".mjs", ".sol", ".proto")
        for place in re.findall(
            rf"(?<![\w./\"'-])(?:{TOP})/[\w./-]*\w\.(?:py|md|ts|mjs|sol|proto|json|svg)\b", path.read_text()
        )
        if not is_there(place)
    }
    assert not missing


def test_every_section_that_is_cited_is_there() -> None:
    headings = {
        f"docs/{path.name}": set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\b", path.read_text(), re.MULTILINE))
        for path in (ROOT / "docs").glob("*.md")
    }
    cited = [(path, *found) for path in files() for found in SECTION.findall(path.read_text())]
    assert cited
    wrong = [
        f"{path.relative_to(ROOT)}: {document} §{section}"
        for path, document, section in cited
        if section not in headings.get(document, ())
    ]
    assert not wrong


def test_nothing_points_outside_of_the_repository() -> None:
    outside = re.compile(r"(?<![\w.-])(?:shared/|/work/|/home/\w|/Users/)|\b(?:serving|style|peers|page)\.md\b")
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        if path != Path(__file__)
        for match in outside.finditer(path.read_text())
    }
    assert not found


TYPED = re.compile(r"(?<![\w./-])linklearner((?: +[^`\n#|]+)?)")


def blocks(text: str) -> str:
    """What a document shows as typed: code blocks, and code within the lines."""
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL) + CODE.findall(text))


def unknown(typed: str) -> list[str]:
    """The words of a command line that no command or option of ours has."""
    command: Any = typer.main.get_command(app)
    words = typed.split()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        if found is None:
            return words[:1]
        command, words = found, words[1:]
    options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    passed_on = command.context_settings.get("ignore_unknown_options")
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in options and not passed_on]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_option_that_a_document_types_is_there(document: Path) -> None:
    typed = [found.split("…")[0] for found in TYPED.findall(blocks(document.read_text()))]
    assert not [(one, unknown(one)) for one in typed if unknown(one)]


def test_every_setting_that_a_document_names_is_there() -> None:
    known = set(re.findall(r"LINKLEARNER_[A-Z0-9_]+", (ROOT / "docs/settings.md").read_text()))
    for path in (ROOT / "src/linklearner").rglob("*.py"):
        known |= set(re.findall(r'"(LINKLEARNER_[A-Z0-9_]+)"', path.read_text()))
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in DOCUMENTS
        for name in re.findall(r"\bLINKLEARNER_[A-Z0-9_]*[A-Z0-9]\b", path.read_text())
    }
    assert not {
        (path, name)
        for path, name in named
        if name not in known and not any(one.startswith(name + "_") for one in known)
    }
