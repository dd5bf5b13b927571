"""`linklearner service`: units for systemd and launchd that say what they should, and files of others that nobody overwrites."""

import json
import os
import plistlib
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from linklearner import autostart
from linklearner.autostart import Keeper, Program
from linklearner.cli import app, service
from linklearner.domain.errors import InvalidConfig

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Program(
    name="trainer",
    description="100 % polite",
    arguments=("/opt/a folder/python", "-m", "services.trainer"),
    folder=Path("/srv/ann/my data"),
    environment={"LINKLEARNER_TRAINER_HOURS": "22-7", "LINKLEARNER_TRAINER_DATA": 'npz:a "b" \\ %h $HOME.npz'},
    nice=5,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("LINKLEARNER_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def said(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["service", *arguments])
    return done.exit_code, " ".join(done.output.split()) if "--format" not in arguments else done.output


def unit_of(home: Path, name: str = "trainer") -> Path:
    return home / ".config" / "systemd" / "user" / f"linklearner-{name}.service"


def test_a_unit_is_as_it_should_be() -> None:
    assert autostart.systemd(PROGRAM).splitlines() == [
        "[Unit]",
        "Description=100 %% polite",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        'ExecStart="/opt/a folder/python" "-m" "services.trainer"',
        "WorkingDirectory=/srv/ann/my data",
        'Environment="LINKLEARNER_TRAINER_DATA=npz:a \\"b\\" \\\\ %%h $HOME.npz"',
        'Environment="LINKLEARNER_TRAINER_HOURS=22-7"',
        "Restart=on-failure",
        "RestartSec=30",
        "RestartPreventExitStatus=2",
        "Nice=5",
        "IOSchedulingClass=idle",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]


@given(st.lists(st.characters(min_codepoint=32, max_codepoint=0x2FF).filter(str.isprintable), max_size=20).map("".join))
def test_an_agent_reads_back_as_it_was_meant(value: str) -> None:
    odd = Program(
        name="b",
        description="",
        arguments=("/python", value),
        folder=Path("/x"),
        environment={"LINKLEARNER_TRAINER_DATA": value},
        nice=19,
    )
    found = plistlib.loads(autostart.text(Keeper.LAUNCHD, odd, Path("/macs/ann")))
    assert found["ProgramArguments"] == ["/python", value]
    assert found["EnvironmentVariables"] == {"LINKLEARNER_TRAINER_DATA": value}
    assert (found["Label"], found["WorkingDirectory"], found["Nice"]) == ("io.linklearner.b", "/x", 19)
    assert found["KeepAlive"] == {"SuccessfulExit": False} and found["ProcessType"] == "Background"
    assert found["StandardErrorPath"] == "/macs/ann/Library/Logs/linklearner-b.log"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    real = Program(
        name="trainer",
        description="100 % polite",
        arguments=(sys.executable, "-m", "services.trainer"),
        folder=tmp_path,
        environment=PROGRAM.environment,
        nice=5,
    )
    file = tmp_path / "linklearner-trainer.service"
    file.write_bytes(autostart.text(Keeper.SYSTEMD, real, tmp_path))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(file)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "linklearner" in line]
    assert not complaints, done.stderr


@pytest.mark.parametrize("text", ["a\nEnvironment=LD_PRELOAD=x", "\x00", "\x1b[31m", "a\u2028b"])
def test_nothing_smuggles_a_line_into_a_unit(text: str) -> None:
    for changed in (
        {"environment": {"A": text}},
        {"environment": {text: "a"}},
        {"arguments": ("/python", text)},
        {"folder": Path("/") / text},
    ):
        given = {
            "name": "a",
            "description": "",
            "arguments": ("/p",),
            "folder": Path("/"),
            "environment": {},
            "nice": 0,
        }
        with pytest.raises(InvalidConfig, match=r"not printable"):
            Program(**{**given, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "-a", "a-", "a" * 33, "a.service"])
def test_a_name_is_no_path(name: str, home: Path) -> None:
    for command in ("install", "remove", "show"):
        code, output = said(command, "--name", name)
        assert code == 2 and "--name" in output
    assert not home.exists()


def test_install_writes_a_polite_unit_and_says_what_to_type(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKLEARNER_TRAINER_NICE", "10")
    monkeypatch.setenv("LINKLEARNER_TRAINER_STEPS", "50")
    code, output = said(
        "install", "--keeper", "systemd", "--set", "HOURS=22-7", "--set", "linklearner_trainer_steps=60"
    )
    assert code == 0, output
    assert f"{unit_of(home)} written" in output and "systemctl --user enable linklearner-trainer" in output
    lines = unit_of(home).read_text().splitlines()
    settings = dict(
        shlex.split(line.removeprefix("Environment="))[0].split("=", 1) for line in lines if line.startswith("Env")
    )
    assert {name.removeprefix("LINKLEARNER_TRAINER_"): value for name, value in settings.items() if name.startswith("LINK")} == {
        "ROUNDS": "-1", "ON_BATTERY": "false", "OTHERS_CPU": "25", "NICE": "10", "STEPS": "60", "HOURS": "22-7",
    }  # fmt: skip
    assert settings["PYTHONPATH"] == str(ROOT) and f"WorkingDirectory={Path.cwd()}" in lines
    assert stat.S_IMODE(unit_of(home).stat().st_mode) == 0o600
    assert [one.name for one in unit_of(home).parent.iterdir()] == [unit_of(home).name]


def test_what_show_prints_is_what_install_writes(home: Path) -> None:
    shown = CliRunner().invoke(app, ["service", "show", "--keeper", "systemd"]).output
    assert not home.exists()
    assert said("install", "--keeper", "systemd")[0] == 0
    assert unit_of(home).read_text() == shown


def test_installing_again_replaces_what_nobody_has_changed(home: Path) -> None:
    assert said("install", "--keeper", "systemd")[0] == 0
    before = unit_of(home).stat().st_mtime_ns
    code, output = said("install", "--keeper", "systemd", "--format", "json")
    assert code == 0 and json.loads(output)["written"] is False and unit_of(home).stat().st_mtime_ns == before
    assert said("install", "--keeper", "systemd", "--set", "HOURS=1-2")[0] == 0
    assert "HOURS=1-2" in unit_of(home).read_text()


@pytest.mark.parametrize("keeper", ["systemd", "launchd"])
def test_a_file_that_somebody_changed_is_left_alone_until_he_says_so(home: Path, keeper: str) -> None:
    assert said("install", "--keeper", keeper)[0] == 0
    file = autostart.path(Keeper(keeper), "trainer", home)
    changed = file.read_bytes().replace(b"Nice", b"Mean")
    file.write_bytes(changed)
    for command in ("install", "remove"):
        code, output = said(command, "--keeper", keeper)
        assert code == 2 and "was changed" in output and "--replace" in output and file.read_bytes() == changed
    assert said("install", "--keeper", keeper, "--replace")[0] == 0 and b"Mean" not in file.read_bytes()
    code, output = said("remove", "--keeper", keeper)
    assert code == 0 and not file.exists() and ("systemctl --user stop" in output or "launchctl bootout" in output)
    code, output = said("remove", "--keeper", keeper)
    assert code == 1 and "nothing is installed" in output


def test_a_file_of_others_and_a_link_are_not_ours(home: Path, tmp_path: Path) -> None:
    unit_of(home).parent.mkdir(parents=True)
    unit_of(home).write_text("[Service]\nExecStart=/bin/true\n")
    assert said("install", "--keeper", "systemd")[0] == 2
    unit_of(home).unlink()
    assert said("install", "--keeper", "systemd")[0] == 0
    kept = unit_of(home).rename(tmp_path / "dotfile")
    unit_of(home).symlink_to(kept)
    contents = kept.read_bytes()
    assert said("install", "--keeper", "systemd")[0] == said("remove", "--keeper", "systemd")[0] == 2
    assert said("install", "--keeper", "systemd", "--replace")[0] == 0
    assert kept.read_bytes() == contents and not unit_of(home).is_symlink()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("HOURS=late", "LINKLEARNER_TRAINER_HOURS must be hours of the day"),
        ("HORS=1-2", "LINKLEARNER_TRAINER_HORS is no setting here"),
        ("DATA=npz:/nowhere.npz", "cannot read /nowhere.npz"),
        ("HOURS", "--set takes NAME=VALUE"),
        ("=1", "--set takes NAME=VALUE"),
    ],
)
def test_settings_that_a_trainer_refuses_are_refused_before_anything_is_written(
    home: Path, setting: str, complaint: str
) -> None:
    code, output = said("install", "--keeper", "systemd", "--set", setting)
    assert code == 2 and complaint in output
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(home: Path) -> None:
    home.mkdir()
    (home / ".config").write_text("a file")
    code, output = said("install", "--keeper", "systemd")
    assert code == 2 and "the system refuses" in output


def test_a_trainer_that_does_not_say_whether_its_settings_hold_is_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHECK_S", 0.01)
    code, output = said("install", "--keeper", "systemd")
    assert code == 1 and "TimedOut: the trainer did not say within 0.01 s" in output and "Traceback" not in output
    assert not home.exists()
