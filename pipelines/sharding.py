"""A step over several shards: as many tasks as there are shards, and one that puts together what they found."""

from typing import Any

from kfp import dsl


def over(shards: int, step: Any, piece: Any, whole: Any, **inputs: Any) -> Any:
    """Return the outputs of a step, done as one task or by shards.

    Args:
        shards: how many; with 1 there is nothing but the step.
        step: the component that does all at once.
        piece: the component that does a shard's part, and gives `part` and its digest.
        whole: the component that makes the step's outputs of all `parts` and their `digests`.
        inputs: of the step; piece and whole take those they have.
    """
    if shards == 1:
        return step(**inputs).outputs
    with dsl.ParallelFor(list(range(shards)), name=f"{step.name}-shards") as shard:
        part = piece(shard=shard, shards=shards, **_taken(piece, inputs)).outputs
    digests, parts = dsl.Collected(part["Output"]), dsl.Collected(part["part"])
    return whole(digests=digests, parts=parts, **_taken(whole, inputs)).outputs


def _taken(component: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name in component.component_spec.inputs}
