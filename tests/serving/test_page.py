"""The page at `/`, in a real headless Chromium: it scores, it says what went wrong, it asks nobody else."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.app import app_of
from serving.auth import Token
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.served import running, settled

CHROMIUM = shutil.which("chromium")
PAGE = Path(__file__).parents[2] / "serving" / "page.html"
SUBMIT = "<script>addEventListener('load', () => document.getElementById('form').requestSubmit())</script>"


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> LoadedModel:
    return LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="small", version="3")


@pytest.fixture
def app(model: LoadedModel, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """Return a server whose page sends its form as soon as it is loaded."""
    monkeypatch.setattr("serving.app._PAGE", PAGE.read_text(encoding="utf-8") + SUBMIT)
    return app_of(Scorer(model, Limits()), tokens=getattr(request, "param", None))


@pytest.fixture
def url(app: Starlette) -> Iterator[str]:
    with running(app) as url:
        settled(url)
        yield url


def browse(url: str, folder: Path, *options: str) -> str:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: install Debian's package to test the page")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=20000", "--timeout=60000", *options, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
def test_a_browser_scores_the_two_responses(url: str, model: LoadedModel, tmp_path: Path) -> None:
    dom = browse(url, tmp_path, "--dump-dom")
    first, second = model.engine.score("What is 2 + 2?", ["It is 4.", "It is 5."]).rewards
    rows = re.findall(r"<tr>(<td.*?)</tr>", dom, re.DOTALL)
    shown = [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    best, other = (("It is 4.", first), ("It is 5.", second))[:: 1 if first >= second else -1]
    assert [row[1:3] for row in shown] == [[best[0], f"{best[1]:.4f}"], [other[0], f"{other[1]:.4f}"]]
    assert shown[0][3].endswith("%")
    assert "Scored 2 responses." in dom
    assert "By small/3" in dom


@pytest.mark.slow
@pytest.mark.parametrize("app", [{"me": Token(token="secret")}], indirect=True)
def test_a_browser_is_told_why_there_are_no_rewards(url: str, tmp_path: Path) -> None:
    assert "No rewards: a known bearer token is needed" in browse(url, tmp_path, "--dump-dom")


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_nobody_else_and_labels_what_it_asks_for(url: str) -> None:
    answer = httpx.get(url)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'; connect-src 'self'" in answer.headers["Content-Security-Policy"]
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"https?://|url\(|@import", page) == []
    elements = Elements()
    elements.feed(page)
    labelled = {values.get("for") for tag, values in elements.found if tag == "label"}
    asked = {values["id"] for tag, values in elements.found if tag in ("textarea", "input")}
    assert asked <= labelled
    assert ("html", {"lang": "en"}) in elements.found
    assert "prefers-color-scheme: dark" in page
