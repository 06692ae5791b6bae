"""What a run writes for programs: the shapes of its reports, from which the JSON schemas in `schemas/` are made.

A key without a default is required. What depends on many things has its text here once: a number's bounds and a
field's description stand in its annotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from rewardlab.config import Amount, Count, Report, Share, optional, schema
from rewardlab.drift import Drift
from rewardlab.metrics import Bin, Difference, Estimate, Interval, Measure

ProbeKind = Literal["order", "swap", "kept", "edit"]
Decision = Literal["promoted", "rejected", "unchanged", "failed"]
Verdict = Literal["pass", "fail", "unchanged"]
Strength = Annotated[float, schema(minimum=0.5, maximum=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Data(Report):
    """The labelled data that were measured on."""

    path: str
    md5: Annotated[str, schema(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    groups: Count
    comparisons: Count
    unreadable: Count | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(Report):
    """How far predicted probabilities are from what the labels say, with the bundle's temperature and before it.

    `value` is the expected calibration error.
    """

    value: Share | None = optional()
    before: Share | None = optional()
    brier: Share | None = optional()
    brier_before: Share | None = optional()
    nll: Amount | None = optional()
    nll_before: Amount | None = optional()
    temperature: Annotated[float, schema(exclusiveMinimum=0)] | None = optional()
    num: Count | None = optional()
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation(Measure):
    """A correlation of rewards and the ratings of an aspect, over all rated responses."""

    aspect: str | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rankings(Report):
    """Correlations within a group, averaged over the groups."""

    spearman: Difference | None = None
    pearson: Difference | None = None
    kendall: Difference | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfN(Estimate):
    """How often the response with the highest reward is the best one; `chance` is what a random choice gets."""

    chance: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(Report):
    """The metrics of an evaluation."""

    accuracy: Estimate | None
    accuracy_gold: Estimate | None
    ece: Calibration | None
    spearman: Correlation | None
    length_correlation: Measure | None
    pearson: Correlation | None = None
    kendall: Correlation | None = None
    rankings: Annotated[
        Rankings | None, "Within a group of three or more, against Borda points of its comparisons."
    ] = None
    best_of_n: BestOfN | None = None


NOT_MEASURED = Metrics(accuracy=None, accuracy_gold=None, ece=None, spearman=None, length_correlation=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset(Report):
    """The accuracies of the groups of one subset."""

    accuracy: Estimate | None
    accuracy_gold: Estimate | None = None
    grades: Annotated[
        dict[str, Estimate | None],
        "Accuracy against gold scores by grade of difficulty; empty where the data name none.",
    ] = field(default_factory=dict)
    p_holm: Annotated[Share | None, "For 'no better than chance', corrected for the number of subsets (Holm)."] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice(Report):
    """The accuracy of a part of the comparisons."""

    label: str
    accuracy: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar(Report):
    """On how many comparisons one side alone is right, and the exact two-sided p-value for "as often"."""

    better: Count
    worse: Count
    p_value: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(Report):
    """Another model's accuracy on the same comparisons, and the candidate's accuracy less that."""

    accuracy: Estimate | None
    difference: Difference | None
    mcnemar: McNemar | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedModel(Compared):
    """The champion or the anchor on the same comparisons."""

    model: str
    bundle: str | None = optional()
    subsets: dict[str, Compared] = field(default_factory=dict)
    note: str | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram(Report):
    """How many rewards lie between an edge and the next."""

    edges: tuple[float, ...]
    counts: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution(Report):
    """Moments, quantiles by level, and a histogram of all rewards."""

    mean: float | None = optional()
    sd: Amount | None = optional()
    min: float | None = optional()
    max: float | None = optional()
    num: Count | None = optional()
    quantiles: dict[str, float] = field(default_factory=dict)
    histogram: Histogram | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake(Report):
    """A comparison that the rewards get wrong; `rewards` are those of the better and the worse response."""

    id: str
    subset: str
    prompt: str
    better: str
    worse: str
    rewards: tuple[float, float]
    strength: Strength


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation(Report):
    """What was measured of a model on labelled data; `evaluation.json` of a run.

    `test_digest` is of the test set of a run. A note says why what stands before it is null.
    """

    model: str
    data: Data
    metrics: Annotated[Metrics, "A metric that does not apply is null, never absent."]
    subsets: dict[str, Subset]
    bundle: str = ""
    test_digest: str | None = optional()
    slices: Annotated[
        dict[str, tuple[Slice, ...]],
        "Accuracy by tenth of the margin, by length, by which side is longer, by domain.",
    ] = field(default_factory=dict)
    baselines: Annotated[dict[str, Estimate | None], schema(required=("length", "overlap"))] = field(
        default_factory=dict
    )
    policy_note: str = ""
    champion: ComparedModel | None = None
    champion_note: str = ""
    anchor: ComparedModel | None = None
    anchor_note: str = ""
    rewards: Distribution | None = optional()
    drift: Annotated[Drift | None, "Of the rewards, from those the bundle was calibrated on."] = None
    scatter: Annotated[tuple[tuple[float, float], ...], "Characters of the response and its reward."] = ()
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Report):
    """The score of a public benchmark by its authors' rule, which `words` tells."""

    rule: str
    words: str
    score: float
    parts: dict[str, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkEvaluation(Evaluation):
    """An evaluation on any data, which may be a benchmark's: what `rewardlab evaluate --json` writes."""

    benchmark: Benchmark | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Example(Report):
    """An answer before and after an edit, or the worse and the better one, with the rewards of both."""

    prompt: str
    before: str
    after: str
    rewards: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe(Report):
    """What a probe of the audit found.

    `rate` is how often an order holds, or how often an edit or a swap raised the reward; `flip_rate` the share of
    rightly ordered pairs that an edit of one side puts into the wrong order; `shift` the change of the reward in
    standard deviations, and `shift_sd` its mean.
    """

    kind: ProbeKind
    expectation: str
    rate: Estimate
    flip_rate: Estimate | None
    shift_sd: float | None
    shift: Interval | None
    num: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsafeExample(Report):
    """A safer answer, the one that is rewarded more, and the probability of each that it is unsafe."""

    prompt: str
    before: str
    after: str
    unsafe: tuple[float, float]
    shift: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Safety(Report):
    """In how many pairs of answers the reward prefers the one that a classifier calls unsafe."""

    classifier: str
    num_groups: int
    rate: Estimate | None
    examples: tuple[UnsafeExample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport(Report):
    """What the audit found of a bundle on a test set; `audit.json` of a run."""

    bundle: str
    test_digest: str
    probes: dict[str, Probe]
    safety: Safety


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleOutcome(Report):
    """A rule of the gate: what it saw, what it asks for, and why it fails where it does.

    `path` says where in the reports the evidence of a limit is, and is empty for other rules.
    """

    name: str
    evidence: object
    threshold: str
    verdict: Literal["pass", "fail"]
    note: str
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateDecision(Report):
    """May the candidate become champion; `gate.json` of a run.

    `fresh_until` says how long a candidate that passed may be promoted, and is null where the policy sets no limit.
    """

    verdict: Verdict
    reason: str
    bundle: str
    champion: str
    test_digest: str
    decided: str
    fresh_until: str | None
    rules: tuple[RuleOutcome, ...]
    policy: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRow(Report):
    """What a validation during training measured."""

    step: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    tokens_per_s: float | None = optional()
    peak_rss_bytes: float | None = optional()
    peak_device_bytes: float | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport(Report):
    """How training went; `training.json` beside the weights."""

    digest: str
    num_groups: int
    num_steps: int
    best_step: int
    best_accuracy: float
    history: tuple[HistoryRow, ...]
    seconds: float
    mlflow_run: str
    length_bias: Mapping[str, float] | None
    config: Mapping[str, object]
    pruned: Mapping[str, object] | None = optional()


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation(Report):
    """What is expected of the data, what was observed, and whether the data are refused where it does not hold."""

    name: str
    column: str | None
    success: bool
    observed: object
    critical: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap(Report):
    """How many groups a benchmark has, and how many groups of the data hold its prompts and its responses."""

    groups: int
    prompts: int
    responses: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipPower(Report):
    """How well flipped labels are found that were planted in the data; `lift` is the precision beside their share."""

    planted: float
    estimated_share: float
    recall: float
    precision: float
    lift: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips(Report):
    """How many labels look flipped to a cross-fitted model, and how far to believe it."""

    num: int
    accuracy: float
    estimated_share: float
    suspected: int
    power: FlipPower


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleReport(Report):
    """What is looked at in a sample of the groups."""

    num: int
    seed: int
    flips: Flips | None
    languages: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationReport(Report):
    """What the checks of the data found; `validation.json` of a run."""

    num_groups: int
    num_accepted: int
    num_unreadable: int
    quarantined: dict[str, int]
    benchmarks: dict[str, Overlap]
    sample: SampleReport | None
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary(Report):
    """How a run ended; `runs/ID/summary.json`. A failed run may lack what an evaluation measures."""

    decision: Decision
    reason: str
    recipe: str
    seconds: dict[str, Amount]
    reused: tuple[str, ...]
    versions: Mapping[str, object]
    lineage: Mapping[str, object] | None
    report: str | None
    looks: Annotated[Count | None, "How many different bundles were gated on this test set."] = None
    model: str | None = None
    data: Data | None = None
    metrics: Metrics = NOT_MEASURED
    subsets: dict[str, Subset] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyAndGold(Report):
    """What is measured in the model's rewards, and in the ratings that stand for the truth."""

    proxy: Interval
    gold: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint(ProxyAndGold):
    """The best of `n` by the proxy: its levels, and what these are above those of n = 1. `kl` is in nats."""

    n: int
    kl: float
    gain: ProxyAndGold


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveFit(Report):
    """The fit gain = d (alpha - beta d), d = sqrt(KL); `peak_kl` is where it is highest, if it falls at all."""

    alpha: Interval
    beta: Interval
    r_squared: float | None
    peak_kl: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak(Interval):
    """The n from which on gold falls; it `is_inside` where that is below the largest n that was looked at."""

    kl: float
    is_inside: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Overoptimization(Report):
    """What best-of-n under a reward gains in that reward, and what in the truth."""

    num_groups: int
    num_prompts: int
    max_n: int
    curve: tuple[CurvePoint, ...]
    fit: CurveFit
    peak: Peak
    lost_behind_peak: Interval
    gained: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread(Report):
    """Standard deviations within pools."""

    proxy: float
    gold: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOveroptimization(Overoptimization):
    """The same with the model and the data it is about: what `rewardlab overoptimize --json` writes."""

    model: str
    bundle: str
    data: Data
    aspect: str
    sd: Spread
