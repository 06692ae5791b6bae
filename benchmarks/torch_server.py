"""A reward server as trainers bring one along, to measure ours beside it: torch in the request's handler.

`python -m benchmarks.torch_server --model FOLDER --port PORT` answers `POST /get_reward {"query": [..]}` as OpenRLHF's
`serve_rm` does: the texts of one request are one batch, padded to the longest, and nothing else is answered meanwhile.
"""

import argparse
from pathlib import Path

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tokenizers import Tokenizer

from models.checkpoint import load_model


def app_of(model: Path) -> Starlette:
    """Return the application around a checkpoint's folder."""
    scorer, _, readout = load_model(model)
    scorer.eval()
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(readout.max_tokens)
    tokenizer.enable_padding(pad_id=readout.pad_id)

    async def answer(request: Request) -> JSONResponse:
        encoded = tokenizer.encode_batch((await request.json())["query"])
        ids = torch.tensor([each.ids for each in encoded])
        lengths = torch.tensor([sum(each.attention_mask) for each in encoded])
        with torch.inference_mode():
            rewards = scorer(ids, lengths).tolist()
        return JSONResponse({"rewards": rewards})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({})

    return Starlette(routes=[Route("/get_reward", answer, methods=["POST"]), Route("/health", ready)])


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(app_of(arguments.model), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
