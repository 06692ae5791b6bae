"""All rules there are, held against objects."""

from pathlib import Path

from tests.manifests.access import ACCESS
from tests.manifests.links import LINKS
from tests.manifests.manifests import Object, Rule
from tests.manifests.operations import OPERATIONS
from tests.manifests.pods import PODS
from tests.manifests.shapes import shapes

OVERLAYS = tuple(sorted(path.parent for path in Path(__file__).parents[2].glob("deploy/overlays/*/kustomization.yaml")))
SHAPE = "an API server would not take it as it stands"
RULES: dict[str, Rule] = {**PODS, **ACCESS, **LINKS, **OPERATIONS}


def problems(objects: list[Object]) -> dict[str, list[str]]:
    """Return where which rule is broken; nothing where all hold. What has no shape is not looked at further."""
    if found := list(shapes(objects)):
        return {SHAPE: found}
    broken = {rule: list(holds(objects)) for rule, holds in RULES.items()}
    return {rule: places for rule, places in broken.items() if places}
