"""How a command ends: in words, whatever its user, the disk or the memory did to it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from traiNNer.registry import ConfigError
from traiNNer.runtime.console import accept_any_output, report_config_errors
from traiNNer.runtime.os_errors import with_remedy

Main: TypeAlias = Callable[[Sequence[str] | None], int]

FAILED = 1
INTERRUPTED = 130
"""As shells say it of a command that was stopped by Ctrl-C."""


def ends_in_words(main: Main) -> Callable[..., int]:
    """A decorator for what a command does, from its arguments to its exit status.

    ConfigError: its lines, 2. Files that cannot be read or written, memory that does not suffice, and networks
    whose output is no number: a line, 1.
    Ctrl-C: a line, 130. A reader that has gone (`| head`): silence, 1. Text that the console cannot encode is
    written with escapes.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        accept_any_output()
        try:
            return main(arguments)
        except ConfigError as error:
            return report_config_errors(error)
        except FloatingPointError as error:
            return _say(str(error))
        except BrokenPipeError:
            _discard_output()
            return FAILED
        except OSError as error:
            return _say(with_remedy(error))
        except (MemoryError, RuntimeError) as error:
            return _say_of_memory(error)
        except KeyboardInterrupt:
            _say("stopped")
            return INTERRUPTED

    return run


def _say_of_memory(error: MemoryError | RuntimeError) -> int:
    """Raises an error that means something else again."""
    from traiNNer.models.out_of_memory import is_out_of_memory  # torch, which not every command needs

    if not is_out_of_memory(error):
        raise error
    return _say("out of memory: a smaller --tile, another --device or closing other programs may help")


def _say(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return FAILED


def _discard_output() -> None:
    """Or Python would complain once more when it flushes what nobody reads."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # no real stream
        return
