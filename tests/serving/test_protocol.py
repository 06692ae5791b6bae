"""A protocol is one object in one module: routes, command line, description and overload policy follow from it."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving import protocols
from serving.__main__ import _parser
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.openapi import openapi
from serving.protocols import load_protocols
from serving.scorer import Scorer
from tests.served import running, settled

ROOT = Path(__file__).parents[2]
MODULE = """
from starlette.responses import JSONResponse

from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.fields import STRING, object_of, string
from serving.protocol import Endpoint, ErrorForm, Protocol, StatusRoute, json_reply
from serving.loaded_model import Group
from serving.scorer import rewards


async def answer(context, values):
    response = string(values, "text", context.limits)
    (scored,) = await context.score([Group(messages("Hi"), [response])])
    return {"points": rewards(scored)}


async def state(request, scorer):
    return JSONResponse({"model": scorer.model.name})


PROTOCOL = Protocol(
    name="throwaway",
    policy=OverloadPolicy(hold_seconds=0, deadline_seconds=7, full_status=429, refusal_status=418, why="is a test"),
    endpoints=(Endpoint("/points", json_reply(answer), body=object_of(["text"], text=STRING)),),
    status_routes=(StatusRoute("/state", state, described=True),),
    error_form=ErrorForm(lambda reason: {"oops": reason}, object_of(["oops"], oops=STRING)),
)
"""


@pytest.fixture
def throwaway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Add a module to the folder of protocols, and nothing anywhere else."""
    (tmp_path / "throwaway.py").write_text(MODULE)
    monkeypatch.setattr(protocols, "__path__", [*protocols.__path__, str(tmp_path)])
    load_protocols.cache_clear()
    yield "throwaway"
    load_protocols.cache_clear()
    sys.modules.pop("serving.protocols.throwaway", None)
    vars(protocols).pop("throwaway", None)


def scorer_of(bundle: Path, limits: Limits | None = None) -> Scorer:
    return Scorer(LoadedModel.of(Engine(Bundle.open(bundle), threads=1), name="small", version="1"), limits or Limits())


def test_a_new_module_is_served_and_described(throwaway: str, tiny_bundle: Path) -> None:
    with running(app_of(scorer_of(tiny_bundle), protocol=throwaway)) as url:
        settled(url)
        native = httpx.post(f"{url}/v1/rewards", json={"prompt": "Hi", "responses": ["a"]}).json()["rewards"]
        for path in ("/throwaway/points", "/points"):
            assert httpx.post(url + path, json={"text": "a"}).json() == {"points": native}
        assert httpx.get(f"{url}/throwaway/state").json() == {"model": "small"}
        refused = httpx.post(f"{url}/throwaway/points", json={"text": 1})
        assert (refused.status_code, list(refused.json())) == (418, ["oops"])
        metrics = httpx.get(f"{url}/metrics").text
        assert 'rewardlab_requests_total{dialect="throwaway",status="418"} 1.0' in metrics
        paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    operation = paths["/throwaway/points"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["text"]
    assert {"418", "429"} <= set(operation["responses"])
    assert operation["responses"]["418"]["content"]["application/json"]["schema"]["required"] == ["oops"]
    assert "get" in paths["/throwaway/state"]


def test_a_new_modules_overload_policy_is_applied(throwaway: str, tiny_bundle: Path) -> None:
    with running(app_of(scorer_of(tiny_bundle, Limits(max_queue_seconds=0)))) as url:  # always full
        settled(url)
        reply = httpx.post(f"{url}/{throwaway}/points", json={"text": "a"})
    assert (reply.status_code, list(reply.json())) == (429, ["oops"])


def test_a_new_module_is_a_choice_of_the_command_line(throwaway: str) -> None:
    assert _parser().parse_args(["--bundle", "x", "--protocol", throwaway]).protocol == throwaway
    assert throwaway in _parser().format_help()


def test_a_module_of_the_folder_is_the_protocol_of_its_name() -> None:
    assert {name: protocol.name for name, protocol in load_protocols().items()} == {
        name: name for name in protocols.names()
    }
    assert len(protocols.names()) > 10


def test_protocols_at_the_root_share_no_path() -> None:
    at_root = [protocol for protocol in load_protocols().values() if protocol.at_root]
    paths = [endpoint.path for protocol in at_root for endpoint in protocol.endpoints]
    paths += [route.path for protocol in at_root for route in protocol.status_routes]
    assert len(set(paths)) == len(paths)


def test_no_protocol_is_named_outside_its_module() -> None:
    """A name that is typed again, or an import of one module, would be a second place to keep."""
    names = set(protocols.names())
    sources = [*(ROOT / "serving").rglob("*.py"), ROOT / "commands" / "cli.py", ROOT / "commands" / "serve.py"]
    outside = [path for path in sources if not {"protocols", "deployer"} & set(path.relative_to(ROOT).parts)]
    assert len(outside) > 15
    assert {path.name: named for path in outside if (named := names_in(path) & names)} == {}


def names_in(path: Path) -> set[str]:
    """Return the string constants of a module, paths by their parts, and the modules of protocols that it imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(node.value.split("/"))
        elif isinstance(node, ast.Import):
            names.update(alias.name.removeprefix("serving.protocols.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "serving.protocols":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).removeprefix("serving.protocols."))
    return names


def test_the_page_for_trainers_says_how_to_ask_in_each_protocol() -> None:
    page = (ROOT / "docs" / "how-to" / "scoring.md").read_text(encoding="utf-8")
    prefixed = [name for name, protocol in load_protocols().items() if not protocol.at_root]
    assert [name for name in prefixed if f":8080/{name}" not in page and f"--protocol {name}" not in page] == []


def test_the_old_name_of_the_option_still_works_and_is_not_shown() -> None:
    assert _parser().parse_args(["--bundle", "x", "--dialect", "tei"]).protocol == "tei"
    assert _parser().parse_args(["--bundle", "x"]).protocol is None
    assert "dialect" not in _parser().format_help()


def test_the_description_is_json_and_names_the_served_model() -> None:
    described = json.loads(json.dumps(openapi("small", load_protocols().values())))
    assert {"/v1/rewards", "/v2/models/small/infer", "/v1/models/small:predict"} <= set(described["paths"])
