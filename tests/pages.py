"""Run a page of docs/ from top to bottom in one folder, as somebody who follows it would.

A fence says what is done with it: `console` runs each line behind `$ ` (`> ` goes on with it) and holds the lines under
it against what is printed, `...` standing for anything; `python` runs as a script; `title="NAME"` is a file of that
name; `text` and `json` are only shown, and show no command.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if path != DOCS / "log.md" and not {"adr", "benchmarks"} & {*path.parts}
)
_FENCE = re.compile(r"^```(?P<head>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="(?P<name>[^"]+)"')
_COMMAND = re.compile(r"^ *(\$|rewardlab|python|pip|make|curl|git|dvc|kubectl|docker|export|cd) ", re.MULTILINE)
_MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    """A fence: its language, the file it is (or nothing), and its text."""

    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Command:
    """What is run, and what the page says it prints (nothing: whatever it likes)."""

    code: str
    shown: str = ""


def blocks(page: str) -> list[Block]:
    """Return the fences of a page.

    Raises:
        ValueError: a fence has a language that nothing is done with, or shows a command that nobody runs.
    """
    found = []
    for match in _FENCE.finditer((DOCS / page).read_text(encoding="utf-8")):
        language, _, rest = match["head"].partition(" ")
        title = _TITLE.search(rest)
        block = Block(language, title["name"] if title else "", match["body"])
        if language not in ("console", "python", "text") and not (block.title or language == "json"):
            raise ValueError(f"{page}: a fence is console, python, json, text or a file, got {match['head']!r}")
        if language in ("text", "json") and (command := _COMMAND.search(block.text)):
            raise ValueError(f"{page}: {command[0]!r} looks like a command: put it into a console fence, which is run")
        found.append(block)
    return found


def commands(block: Block) -> Iterator[Command]:
    """Yield what is run for a block.

    Raises:
        ValueError: a console block does not begin with a command.
    """
    if block.title:
        yield Command(f"printf %s {shlex.quote(block.text)} > {shlex.quote(block.title)}")
    elif block.language == "python":
        yield Command(f"python - <<'END OF PYTHON'\n{block.text}END OF PYTHON")
    elif block.language == "console":
        before, *entries = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        if before or not entries:
            raise ValueError(f"a console block begins with `$ `, got {block.text!r:.80}")
        for entry in entries:
            lines = entry.splitlines()
            end = next((at for at, line in enumerate(lines) if at and not line.startswith("> ")), len(lines))
            code = [lines[0], *(line.removeprefix("> ") for line in lines[1:end])]
            yield Command("\n".join(code), "\n".join(lines[end:]))


def follow(page: str, place: Path, environment: Mapping[str, str], *, port: int, timeout: float) -> None:
    """Run a page's commands in a folder and check that each succeeds and prints what is shown.

    Args:
        page: its path in docs/.
        place: the folder.
        environment: what is added to this process's own.
        port: stands in for 8080, which may be taken.
        timeout: seconds for the whole page.
    """
    wanted = [command for block in blocks(page) for command in commands(block)]
    script = "".join(f"{command.code}\nprintf '{_MARK}%d{_MARK}' $?\n" for command in wanted)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", f"trap 'kill $(jobs -p) 2> /dev/null' EXIT\n{script}".replace("8080", str(port))],
        cwd=place,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    parts = said.replace(str(port), "8080").split(_MARK)
    for command, out, code in zip(wanted, parts[::2], parts[1::2], strict=False):
        assert code == "0", f"{page}: {command.code}\nexit code {code}:\n{out}"
        assert agrees(out, command.shown), f"{page}: {command.code}\nshown:\n{command.shown}\nprinted:\n{out}"
    assert len(parts) == 2 * len(wanted) + 1, f"{page} stopped early:\n{said}"


def agrees(printed: str, shown: str) -> bool:
    """Say whether what was printed is what a page shows; blanks at the ends of lines do not count.

    `...` stands for any text in a line, and a line of its own for any lines or none.
    """
    lines = "".join(f"{line.rstrip()}\n" for line in printed.strip().splitlines())
    pattern = "".join(
        "(?:.*\n)?" if line.strip() == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
        for line in shown.strip().splitlines()
    )
    return not shown or re.fullmatch(pattern, lines, re.DOTALL) is not None
