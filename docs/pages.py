"""What mkdocs makes while it builds: the command line's reference, the list of decisions, and tables from the code.

It also reads the examples in docstrings.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from commands.cli import app
from pipelines.profiles import PROFILES
from rewardlab.readers import READERS
from serving.admission import OverloadPolicy
from serving.protocols import load_protocols
from steps.audit.edits import EDITS, Edit
from steps.audit.orders import ORDERS, SWAPS, FixedProbe

_INTRODUCTION = """# Command line

What `rewardlab COMMAND --help` says, command by command.
[Exit codes](files.md#exit-codes) and [references to a model](files.md#references) are the same for all of them.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the two pages to those that lie in `docs/`."""
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    decisions_page = decisions(Path(config.docs_dir) / "adr")
    files.append(File.generated(config, "explanation/decisions.md", content=decisions_page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the rows of a table where a page has a line such as `<!-- rows: formats -->`.

    Raises:
        KeyError: there are no rows of that name.
    """
    return re.sub(r"^<!-- rows: (.+) -->$", lambda line: ROWS[line[1]](), markdown, flags=re.MULTILINE)


def format_rows() -> str:
    """Return a row for each format of preference data, as Markdown."""
    return "\n".join(f"| `{reader.name}` | `{reader.form.replace(' | ', ' or ')}` |" for reader in READERS)


def policy_rows() -> str:
    """Return a row for each protocol's overload policy, and for the native protocol's stream, as Markdown."""
    rows = []
    for name, protocol in load_protocols().items():
        rows.append(_policy_row(name, protocol.policy))
        if protocol.stream_policy is not None:
            rows.append(_policy_row("stream", protocol.stream_policy))
    return "\n".join(rows)


def _policy_row(name: str, policy: OverloadPolicy) -> str:
    waits = f"is held {policy.hold_seconds:g} s" if policy.hold_seconds else "is sent away"
    cells = (name, waits, policy.full_status, f"{policy.deadline_seconds:g} s", policy.refusal_status, policy.why)
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def probe_rows(probes: Mapping[str, FixedProbe | Edit]) -> str:
    """Return a row for each probe of the audit, as Markdown."""
    return "\n".join(f"| `{name}` | {probe.expectation} |" for name, probe in probes.items())


def placement_rows() -> str:
    """Return a row for each step of each profile that asks for something of its own, as Markdown."""
    rows = []
    for profile in (make() for make in PROFILES.values()):
        placements = {**profile.steps, **({"the others": profile.others} if profile.others else {})}
        for step, each in placements.items():
            devices = f"{each.nodes} x {each.devices} GPUs" if each.nodes > 1 else f"{each.devices or 'no'} GPU"
            tries = f"{1 + each.retries} of {_duration(each.seconds)}"
            cells = (
                f"`{profile.name}`",
                step,
                each.cpu,
                each.memory,
                devices,
                tries,
                _duration(each.all_tries_seconds),
            )
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _duration(seconds: int) -> str:
    return f"{seconds / 3600:.3g} h"


def edits(kind: str) -> dict[str, Edit]:
    """Return the edits of a kind."""
    return {name: edit for name, edit in EDITS.items() if edit.kind == kind}


ROWS: Mapping[str, Callable[[], str]] = {
    "formats": format_rows,
    "overload policies": policy_rows,
    "placements": placement_rows,
    "probes of known order": lambda: probe_rows({**ORDERS, **edits("broken")}),
    "probes that might please": lambda: probe_rows(edits("gaming")),
    "probes that keep": lambda: probe_rows({**edits("kept"), **SWAPS}),
}


def command_line() -> str:
    """Return the reference of the command line as Markdown."""
    overview = said("--help")
    commands = re.findall(r"^│ ([a-z][a-z-]+) ", overview, re.MULTILINE)
    sections = [f"## rewardlab {name}\n\n```text\n{said(name, '--help')}\n```\n" for name in commands]
    return "\n".join([_INTRODUCTION, f"```text\n{overview}\n```\n", *sections])


def said(*arguments: str) -> str:
    """Return what the command line prints, without the blanks around it."""
    out = StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        app(arguments, prog_name="rewardlab", standalone_mode=False)
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def decisions(folder: Path) -> str:
    """Return a list of the architecture decision records, by number, as Markdown."""
    titles = {path.name: path.read_text(encoding="utf-8").partition("\n")[0] for path in sorted(folder.glob("*.md"))}
    rows = [f"- [{title.removeprefix('# ')}](../adr/{name})" for name, title in titles.items()]
    lead = "Why things are as they are, half a page each: context, decision, and what was measured.\n"
    return "\n".join(["# Decisions", "", lead, *rows, ""])


class Examples(griffe.Extension):
    """Reads what a docstring has under `Example:` as doctests; to griffe that word alone would be plain text."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the heading of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
