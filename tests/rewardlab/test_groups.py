import pytest

from rewardlab.groups import Comparison, Message, PreferenceGroup, messages

PROMPT = (Message("user", "Hi"),)


def test_dict_round_trip() -> None:
    group = PreferenceGroup(
        id="1",
        prompt=(Message("system", "Be kind."), *PROMPT),
        responses=("Hello", "Go away"),
        comparisons=(Comparison(better=0, worse=1, strength=0.75, margin=1.0, aspect="helpful"),),
        votes=(Comparison(better=0, worse=1, annotator="a"),),
        scores={"gold": (1.0, 0.0)},
        family="greeting",
        subset="chat",
        weight=2.5,
        meta={"lang": "en"},
    )
    assert PreferenceGroup.from_dict(group.to_dict()) == group


@pytest.mark.parametrize("strength", [0.49, 1.01, float("nan")])
def test_strength_outside_half_to_one_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        Comparison(better=0, worse=1, strength=strength)


def test_index_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="index 2 is out of range: 2 responses"):
        PreferenceGroup(id="1", prompt=PROMPT, responses=("a", "b"), comparisons=(Comparison(better=0, worse=2),))


def test_a_response_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="itself"):
        Comparison(better=1, worse=1)


@pytest.mark.parametrize("scores", [(1.0,), (1.0, float("nan"))])
def test_scores_are_one_finite_number_a_response(scores: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scores"):
        PreferenceGroup(id="1", prompt=PROMPT, responses=("a", "b"), scores={"gold": scores})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan"), "2"])
def test_a_weight_is_positive_and_finite(weight: float) -> None:
    with pytest.raises(ValueError, match="weight is positive and finite"):
        PreferenceGroup(id="1", prompt=PROMPT, responses=("a", "b"), weight=weight)


def test_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="'robot'"):
        Message("robot", "beep")


@pytest.mark.parametrize("prompt", [[], None, 3, [{"role": "user"}], [{"role": "user", "content": "x", "name": "y"}]])
def test_a_prompt_is_text_or_messages(prompt: object) -> None:
    with pytest.raises(ValueError, match=r"prompt is|a message is"):
        messages(prompt)


def test_a_string_prompt_is_taken_as_it_is() -> None:
    assert messages("\n\nHuman: Hi\n\nAssistant:")[0].content == "\n\nHuman: Hi\n\nAssistant:"
