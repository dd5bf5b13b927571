"""What the command line says."""

from typer.testing import CliRunner

from linklearner.cli import app


def said(*arguments: str) -> tuple[int, str]:
    """Exit status and everything printed. Whatever escapes a command is raised here."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output
