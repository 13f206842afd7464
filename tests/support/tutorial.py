"""Tutorials, read as a stranger does: what to type, where, what to save, and what then appears.

The info string of a fenced block says what it is:

    sh                      type it in the main terminal, and wait until it is done
    sh NAME                 type it in the terminal NAME, where it may run for ever
    sh not-run              not typed by the test, which knows why
    LANGUAGE folder/file    save it there
    text or json            what the block just above has printed, and nothing else
    text or json NAME       what the terminal NAME says next

`…` in what is printed stands for anything within a line.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import curl
from tests.support.eventually import wait_until
from tests.support.processes import environment_of_test

_FENCE = re.compile(r"^```(.*)\n((?:(?!```).*\n)*)```$", re.MULTILINE)
_COMMAND_SECONDS = 60
_APPEARS_SECONDS = 45  # a ping comes after 30
MAIN = "main"
NOT_RUN = "not-run"


@dataclass(frozen=True)
class Block:
    language: str
    where: str  # a terminal, a file, NOT_RUN, or nothing
    text: str
    line: int

    @property
    def is_command(self) -> bool:
        return self.language == "sh"

    @property
    def is_file(self) -> bool:
        return "/" in self.where

    @property
    def is_output(self) -> bool:
        return self.language in ("text", "json") and not self.is_file


def blocks_of(page: str) -> Iterator[Block]:
    for match in _FENCE.finditer(page):
        language, _, where = match[1].partition(" ")
        line = page.count("\n", 0, match.start()) + 1
        block = Block(language, where, match[2], line)
        assert block.is_command or block.is_file or block.is_output, f"line {line}: {match[1]!r}"
        yield block


def pattern_of(text: str) -> str:
    return ".*?".join(re.escape(part) for part in text.strip("\n").split("…"))


class Terminal:
    """A shell into which one pastes, and its screen."""

    def __init__(self, folder: Path, screen: Path, environment: Mapping[str, str]) -> None:
        self._screen = screen
        self._read = 0  # characters of the screen that were compared
        self._pasted = 0
        with screen.open("wb") as output:
            self._shell = subprocess.Popen(
                ["/bin/sh"],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def paste(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def run(self, text: str) -> tuple[str, int]:
        """To its end: what it printed, and the status of the last command."""
        self._pasted += 1
        end = re.compile(rf"\n@end {self._pasted} (\d+)\n")
        self.paste(f"{text}printf '\\n@end {self._pasted} %s\\n' $?\n")
        found = wait_until(
            lambda: end.search(self.screen(), self._read),
            seconds=_COMMAND_SECONDS,
            what=self.screen,
        )
        assert found is not None
        printed = self.screen()[self._read : found.start()]
        self._read = found.end()
        return printed, int(found[1])

    def shows(self, expected: str) -> None:
        """Soon, and after what was looked at before."""
        pattern = re.compile(rf"^{pattern_of(expected)}$", re.MULTILINE)
        found = wait_until(
            lambda: pattern.search(self.screen(), self._read),
            seconds=_APPEARS_SECONDS,
            what=lambda: f"not on the screen:\n{expected}\nbut:\n{self.screen()[self._read :]}",
        )
        assert found is not None
        self._read = found.end()

    def screen(self) -> str:
        return self._screen.read_text(encoding="utf-8", errors="replace").replace("\r", "")

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(10)
        assert self._shell.stdin is not None
        self._shell.stdin.close()


def terminal_environment(folder: Path) -> dict[str, str]:
    """With a stand-in for curl in `folder` where there is none."""
    path = os.environ["PATH"]
    if shutil.which("curl") is None:
        stand_in = folder / "bin" / "curl"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{curl.__file__}" "$@"\n')
        stand_in.chmod(0o700)
        path = f"{stand_in.parent}:{path}"
    return environment_of_test({"PATH": path, "no_proxy": "*"})


@dataclass
class Stranger:
    """Follows a page word by word, in `folder`, which looks like a checkout."""

    folder: Path
    screens: Path
    terminals: dict[str, Terminal] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        above: Block | None = None
        printed = ""
        for block in blocks_of(page):
            try:
                if block.is_file:
                    path = self.folder / block.where
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(block.text, encoding="utf-8")
                elif block.is_command and block.where == NOT_RUN:
                    pass
                elif block.is_command and block.where:
                    self._terminal(block.where).paste(block.text)
                elif block.is_command:
                    printed, status = self._terminal(MAIN).run(block.text)
                    assert status == 0, printed
                elif block.where:
                    self._terminal(block.where).shows(block.text)
                else:
                    assert above is not None
                    assert above.is_command
                    assert not above.where
                    assert re.fullmatch(pattern_of(block.text), printed.strip("\n")), (
                        f"expected:\n{block.text}\nprinted:\n{printed}"
                    )
            except AssertionError as error:
                raise AssertionError(f"line {block.line}: {error}") from None
            above = block

    def close(self) -> None:
        for terminal in self.terminals.values():
            terminal.close()

    def _terminal(self, name: str) -> Terminal:
        if name not in self.terminals:
            screen = self.screens / f"{name}.txt"
            environment = terminal_environment(self.screens)
            self.terminals[name] = Terminal(self.folder, screen, environment)
        return self.terminals[name]
