"""The command line: one group that loads a command when it is called, and the exit codes."""

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from cvbench import __version__
from cvbench.commands import COMMANDS
from cvbench.commands.codes import BROKEN, DONE, INCOMPLETE, INTERRUPTED, REGRESSION, USAGE
from cvbench.commands.console import echo
from cvbench.commands.crash import summary, write_report
from cvbench.commands.defaults import with_profile
from cvbench.commands.processes import Invocation
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
        return with_profile(command, (cmd_name,))

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
      cvbench doctor                               what the next run will miss

    Exit codes: 0 done, 1 a regression was found (check), 2 wrong usage, 3 something could not be evaluated (named),
    4 an error of cvbench itself (with the report to send), 130 interrupted.
    """


def main() -> None:
    """Run the program and exit with its code."""
    if "_CVBENCH_COMPLETE" in os.environ:  # a shell asks what could be typed next
        cli.main(prog_name="cvbench")
    code = run_program(sys.argv[1:])
    with contextlib.suppress(OSError, ValueError):  # said already, and the interpreter would say it again
        if sys.stdout:
            sys.stdout.close()
    sys.exit(code)


def run_program(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; every error is one message on stderr.

    With CVBENCH_DEBUG=1 an error of cvbench itself is raised instead.
    """
    try:
        _let_streams_write_anything()
        code = _run(arguments)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except click.ClickException as error:
        return _refuse(error)
    except (KeyboardInterrupt, click.Abort):
        return _say("\ninterrupted; type the same line again to continue", INTERRUPTED)
    except UsageError as error:
        return _say(one_line(f"Error: {error}"), USAGE)
    except CvbenchError as error:
        return _say(one_line(f"Error: {error}"), INCOMPLETE)
    except BrokenPipeError:
        _drop_output()
        return DONE
    except OSError as error:
        return _say_of_machine(error) if error.errno in OF_THE_MACHINE else _confess(error, arguments)
    except (Exception, SystemExit) as error:
        return _confess(error, arguments)


def _let_streams_write_anything() -> None:
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=ERRORS)


def _run(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context(
            "cvbench", list(arguments), obj=Invocation(list(arguments), run_program)
        ) as context:  # `cli.main` makes of a closed pipe an exit code 1
            code = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return code if isinstance(code, int) else DONE


def _refuse(error: click.ClickException) -> int:
    """Say what is wrong with the command line, and how it is meant."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which click has since 8.2
        return _say(error.format_message(), USAGE)
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n" if context else ""
    return _say(f"{usage}Error: {one_line(' '.join(error.format_message().split()))}", USAGE)


def _say(text: str, code: int) -> int:
    """Print an error and return the exit code, also where nothing can be printed."""
    with contextlib.suppress(OSError, ValueError):
        echo(text, err=True)
    return code


def _drop_output() -> None:
    """Send what is still to be printed nowhere: nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


OF_THE_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EROFS,
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip
"""What a machine refuses or has run out of; every other error of the system is one that cvbench should have met."""


def _say_of_machine(error: OSError) -> int:
    name = error.filename or "a file or the output"
    shown = os.fsdecode(name) if isinstance(name, bytes) else name
    return _say(one_line(f"Error: {error.strerror}: {shown}; nothing already stored is lost"), INCOMPLETE)


def _confess(error: BaseException, arguments: Sequence[str]) -> int:
    """Write the report of an error of cvbench itself and say where it lies."""
    if os.environ.get("CVBENCH_DEBUG") == "1":
        raise error
    path = write_report(error, arguments)
    where = f"the report to send lies in {path}" if path else "no report could be written: CVBENCH_DEBUG=1 shows it"
    return _say(one_line(f"Error of cvbench itself: {summary(error)}; {where}"), BROKEN)
