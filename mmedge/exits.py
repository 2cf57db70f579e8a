"""How the program ends: each way has its exit status and, for the user's errors, its two lines."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from typing import NoReturn, TextIO

import typer

from mmedge.errors import BUG, DONE, INTERRUPTED, USER, MmedgeError, MmedgeWarning
from mmedge.output import nobody_reads

MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE}
"""What the operating system refuses for reasons that are no bug: where no closer error was made of it, it is told as it is."""


def run_program(app: typer.Typer) -> NoReturn:
    """Run the command that was asked for: every way out has its exit status and, for the user's errors, its two lines."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped build cleans up like an interrupted one
    for name in ("stdout", "stderr"):  # None where the shell closed it; then print() would write errors to stdout
        setattr(sys, name, getattr(sys, name) or open(os.devnull, "w"))  # noqa: SIM115 (to the end of the process)
    _one_line_each()
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="mmedge", standalone_mode=False)
        if status == INTERRUPTED:  # Typer has taken the KeyboardInterrupt for itself
            raise KeyboardInterrupt
        sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest
        sys.exit(status if isinstance(status, int) else DONE)
    except MmedgeError as error:
        _fail(error.what, error.fix, error.status)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", "run it again: a build goes on from what was complete", INTERRUPTED)
    except MemoryError as error:
        _fail(f"not enough memory: {error}", "close other programs; a damaged or hostile file may also ask for too much: mmedge inspect", USER)
    except BrokenPipeError:
        _reader_left()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Typer's own way out of it has status 1
            _reader_left()
        raise
    except OSError as error:
        if error.errno not in MACHINE:
            traceback.print_exc()
            sys.exit(BUG)
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        _fail(said, "free some space there, or choose another disk" if error.errno == errno.ENOSPC else "see to that path, or name another", USER)
    except Exception as error:
        # Typer's usage errors: their base class is click's, or Typer's own copy of click, depending on Typer's version.
        if not hasattr(error, "format_message"):
            traceback.print_exc()
            sys.exit(BUG)
        context = getattr(error, "ctx", None)
        _fail(error.format_message().rstrip("."), f"see {context.command_path if context else 'mmedge'} --help", USER)


def _one_line_each() -> None:
    """Let our own warnings be one line on stderr, without the place in the program that others name; each is told once."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None) -> None:
        if issubclass(category, MmedgeWarning):
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            others(message, category, filename, lineno, file, line)

    warnings.simplefilter("default", MmedgeWarning)
    warnings.showwarning = show


def _reader_left() -> NoReturn:
    nobody_reads()
    sys.exit(DONE)


def _fail(what: str, fix: str, status: int) -> NoReturn:
    if "--json" in sys.argv:
        from mmedge.documents import Failure

        try:
            print(Failure(status=status, error=what, fix=fix).model_dump_json(by_alias=True), flush=True)  # one line, as those of run
        except OSError:  # stdout may be what failed
            nobody_reads()
    print(f"error: {what}\nfix: {fix}", file=sys.stderr)
    sys.exit(status)
