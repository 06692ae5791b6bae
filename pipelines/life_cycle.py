"""The names and the order of the pipeline's steps."""

STEPS = (
    "resolve",
    "fetch",
    "ingest",
    "validate",
    "split",
    "tokenize",
    "train",
    "export",
    "evaluate",
    "audit",
    "gate",
    "register",
    "promote",
    "report",
)
"""The one list of the steps, which `pipelines/pipeline.py` connects.

A step's name is that of its task, its component, its module in `steps/` and, where a recipe configures it, its field of
`Recipe`. `tests/pipelines/test_life_cycle.py` checks them.
"""
