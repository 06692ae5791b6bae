"""All rules there are, held against objects."""

from pathlib import Path

from deploy.rules.access import ACCESS
from deploy.rules.links import LINKS
from deploy.rules.manifests import Object, Rule
from deploy.rules.operations import OPERATIONS
from deploy.rules.pods import PODS
from deploy.rules.shapes import shapes

OVERLAYS = tuple(sorted(path.parent for path in Path(__file__).parents[1].glob("overlays/*/kustomization.yaml")))
SHAPE = "an API server would not take it as it stands"
RULES: dict[str, Rule] = {**PODS, **ACCESS, **LINKS, **OPERATIONS}


def problems(objects: list[Object]) -> dict[str, list[str]]:
    """Return where which rule is broken; nothing where all hold. What has no shape is not looked at further."""
    if found := list(shapes(objects)):
        return {SHAPE: found}
    broken = {rule: list(holds(objects)) for rule, holds in RULES.items()}
    return {rule: places for rule, places in broken.items() if places}
