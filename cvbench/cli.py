"""The command line: one group that loads a command when it is called, and the exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from cvbench import __version__
from cvbench.commands import COMMANDS
from cvbench.commands.codes import BROKEN, DONE, INCOMPLETE, INTERRUPTED, REGRESSION, USAGE
from cvbench.commands.console import echo
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.text import ERRORS, one_line

__all__ = ["BROKEN", "DONE", "INCOMPLETE", "INTERRUPTED", "REGRESSION", "USAGE", "cli", "main", "run_program"]


class Program(click.Group):
    """A group whose commands are modules of `cvbench.commands`, each imported when it is called or its help is read."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cvbench.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and what they do, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cvbench")
def cli() -> None:
    """Measure image and video autoencoders so that two numbers in one column mean the same thing.

    \b
      cvbench run                                  the demo: built-in models and data, offline
      cvbench run --models vae-sd21 --data clips/  your clips
      cvbench table reports/recon --format latex   the same scores for a paper
      cvbench list models                          what can be measured
      cvbench doctor                               what works on this machine

    Exit codes: 0 done, 1 a regression was found (check), 2 wrong usage, 3 something could not be evaluated (named),
    4 an error of cvbench itself (with the report to send), 130 interrupted.
    """


def main() -> None:
    """Run the program and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=ERRORS)
    sys.exit(run_program(sys.argv[1:]))


def run_program(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; every error is one message on stderr."""
    try:
        return _run(arguments)
    except click.ClickException as error:
        return _refuse(error)
    except (KeyboardInterrupt, click.Abort):
        echo("\ninterrupted; type the same line again to continue", err=True)
        return INTERRUPTED
    except CvbenchError as error:
        echo(f"Error: {error}", err=True)
        return USAGE if isinstance(error, UsageError) else INCOMPLETE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        echo(
            f"Error: {error.strerror or error}: {error.filename or 'a file'}; nothing already stored is lost", err=True
        )
        return INCOMPLETE


def _run(arguments: Sequence[str]) -> int:
    try:
        code = cli.main(list(arguments), prog_name="cvbench", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    return code if isinstance(code, int) else DONE


def _refuse(error: click.ClickException) -> int:
    """Say what is wrong with the command line, and how it is meant."""
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n" if context else ""
    echo(f"{usage}Error: {one_line(error.format_message())}", err=True)
    return USAGE
