"""How the tests call the command line."""

from click import Command, Context
from click.testing import CliRunner, Result

from dfq.cli import main

SMALL = ("--images", "16", "--steps", "3", "--no-flip", "--method", "zeroq-kd")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def find_command(name: str) -> Command:
    command = main.get_command(Context(main), name)
    assert command is not None
    return command


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: object, exit_code: int = 2) -> str:
    """The message of a command that must fail with found, needed and way out, and without a traceback."""
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    for part in ("found: ", "needed: ", "way out: "):
        assert part in result.stderr, result.output
    assert "Traceback" not in result.output
    return result.stderr
