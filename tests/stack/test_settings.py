"""What a stack is told, and what it refuses to begin with."""

import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tools.stack.settings import ROOT, Port, StackSettings, Trouble, build_files, check_ports

FEW = {"PATH": "/usr/bin"}


def settings(**environment: str) -> StackSettings:
    return StackSettings.read({**FEW, **environment})


def test_the_defaults_are_those_of_the_file() -> None:
    read = settings()
    assert (read.project, read.profile, read.contributors, read.rounds) == ("linklearner", "devchain", 3, 5)
    assert [port.number for port in read.ports()] == [15080, 8545, 15051, 15052, 15053, 15061, 9461]


def test_the_environment_wins_over_the_file() -> None:
    read = settings(CONTRIBUTORS="5", RPC_PORT="8546", GATEWAY_PORT="16000")
    assert read.contributors == 5
    assert [port.number for port in read.ports()][1:7] == [8546, 16000, 16001, 16002, 16003, 16004]
    filled = read.compose_environment()
    assert (filled["RPC_PORT"], filled["GATEWAY_PORT_5"], filled["CONTRIBUTORS"]) == ("8546", "16004", "5")


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        ("CONTRIBUTORS", ("1", "20"), ("0", "21", "many")),
        ("RPC_PORT", ("1", "65535"), ("0", "65536", "http")),
        ("ROUNDS", ("-1", "0"), ("-2", "1.5")),
        ("COMPOSE_PROFILES", ("devchain",), ("chain",)),
    ],
)
def test_values_without_meaning_are_refused_by_the_name_of_their_variable(
    variable: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    for value in good:
        settings(**{variable: value})
    for value in bad:
        with pytest.raises(Trouble, match=variable):
            settings(**{variable: value})


def test_the_profile_artela_takes_a_node_and_a_key_and_publishes_no_chain() -> None:
    with pytest.raises(Trouble, match="needs RPC_URL"):
        settings(COMPOSE_PROFILES="artela", RPC_URL="http://host.docker.internal:8545")
    read = settings(COMPOSE_PROFILES="artela", RPC_URL="http://host.docker.internal:8545", KEY_FILE="/some/key")
    assert read.project == "linklearner-artela"
    assert "devchain" not in {port.service for port in read.ports()}


def test_a_port_in_use_is_named_with_the_setting_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Port(number=other.getsockname()[1], variable="RPC_PORT", service="devchain")
        with pytest.raises(Trouble, match=rf"port {taken.number}, wanted for devchain, .* RPC_PORT="):
            check_ports((taken,), frozenset())
        check_ports((taken,), frozenset({taken.number}))  # this stack's own containers hold it
    check_ports((taken,), frozenset())


def test_two_services_on_one_port_are_noticed() -> None:
    with pytest.raises(Trouble, match="gateway-2 and model_server would both take port 15052"):
        check_ports(settings(MODEL_SERVER_PORT="15052").ports(), frozenset({8545, 15051, 15052, 15080}))


def test_passwords_are_random_private_and_made_once(tmp_path: Path) -> None:
    three = settings(STACK_HOME=str(tmp_path))
    three.make_secrets()
    paths = [tmp_path / "secrets" / f"contributor-{index}" for index in (1, 2, 3)]
    passwords = [path.read_text() for path in paths]
    assert len(set(passwords)) == 3
    assert all(len(password.strip()) == 64 for password in passwords)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert {path.stat().st_uid for path in paths} == {three.uid}
    settings(STACK_HOME=str(tmp_path), CONTRIBUTORS="4").make_secrets()
    assert [path.read_text() for path in paths] == passwords
    assert (tmp_path / "secrets" / "contributor-4").exists()


def test_services_never_run_as_root() -> None:
    assert settings().uid != 0


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no-key"
    artela = settings(
        COMPOSE_PROFILES="artela", RPC_URL="http://node:8545", KEY_FILE=str(missing), STACK_HOME=str(tmp_path)
    )
    with pytest.raises(Trouble, match="no-key cannot be read"):
        artela.make_secrets()


def test_builds_reach_what_pip_here_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, wheels = tmp_path / "ca.pem", tmp_path / "wheels"
    authority.write_text("a certificate")
    wheels.mkdir()
    for variable, value in {
        "PIP_CERT": str(authority),
        "PIP_FIND_LINKS": str(wheels),
        "PIP_INDEX_URL": "https://me:secret@packages.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "file:///only/on/this/machine https://more.invalid/simple",
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(variable, value)
    found = build_files(tmp_path / "home")
    assert found["BUILD_CA"] == str(authority)
    assert found["WHEELS"] == str(wheels)
    written = Path(found["PIP_CONF"])
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "index-url = https://me:secret@packages.invalid/simple" in written.read_text()
    assert "extra-index-url = https://more.invalid/simple\n" in written.read_text()


def test_make_targets_reach_the_tool() -> None:
    for target in ("up", "down", "logs", "demo-stack", "stack-test"):
        told = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "-m tools.stack" in told.stdout
