"""The expectations: the one definition of a bad row and of data that must not be trained on."""

from typing import Any

MANY = 100
"""From this many groups on, a share says something; below, biases are reported and do not fail the data."""
_LONGEST = 1_000_000
_RATING = 1e6


def row_expectations(max_responses: int, *, benchmarks: bool) -> list[Any]:
    """Return what must hold for every row; a row that fails is quarantined, the name is its reason.

    Only where there are `benchmarks` to look in is it said that a row is in none.
    """
    return [
        _between("id_is_given", "id_characters", 1, 1000),
        _between("has_2_or_more_responses", "num_responses", 2, None),
        _between("has_not_too_many_responses", "num_responses", None, max_responses),
        _between("prompt_is_given", "prompt_characters", 1, _LONGEST),
        _between("no_turn_is_empty", "shortest_turn", 1, None),
        _between("no_response_is_empty", "shortest_response", 1, None),
        _between("no_response_is_too_long", "longest_response", None, _LONGEST),
        _in_set("roles_alternate", "roles_alternate", [True]),
        _in_set("prompt_ends_with_user", "last_role", ["user", "tool"]),
        _in_set("responses_differ", "responses_distinct", [True]),
        _between("text_is_clean", "unclean_characters", 0, 0),
        _between("responses_hold_no_turn_marker", "turn_markers", 0, 0),
        _in_set("has_a_label", "labelled", [True]),
        _between("strength_is_at_least_half", "lowest_strength", 0.5, 1.0),
        _between("strength_is_at_most_one", "highest_strength", 0.5, 1.0),
        _between("scores_are_not_too_low", "lowest_score", -_RATING, None),
        _between("scores_are_not_too_high", "highest_score", None, _RATING),
        _between("no_pair_is_compared_twice", "repeated_pairs", 0, 0),
        _between("is_no_copy_of_an_earlier_row", "copies_before", 0, 0),
        *([_in_set("is_in_no_benchmark", "in_benchmark", [False])] if benchmarks else []),
    ]


def table_expectations(*, min_groups: int, max_quarantine_share: float, num_groups: int) -> list[Any]:
    """Return what must hold for the data as a whole, measured over the rows that are not quarantined."""
    enough = num_groups >= MANY
    return [
        _expect(
            "ExpectColumnSumToBeBetween", "enough_groups_are_left", "accepted", critical=True, min_value=min_groups
        ),
        _expect("ExpectColumnValuesToBeUnique", "ids_are_unique", "id", critical=True),
        _mean("few_rows_are_quarantined", "quarantined", 0.0, max_quarantine_share, critical=True),
        _mean("ties_are_not_most_labels", "tie_share", 0.0, 0.8, critical=enough),
        _mean("length_does_not_decide", "longer_wins", 0.1, 0.9, critical=enough),
        _mean("rows_agree_with_one_another", "contradicts", 0.0, 0.1),
        _mean("few_rows_go_round_in_a_circle", "cycles", 0.0, 0.1),
        _mean("few_annotators_contradict_themselves", "turncoats", 0.0, 0.02),
        _mean("annotators_agree_beyond_chance", "agreement", 0.1, 1.0),
        _mean("few_rows_hold_personal_data", "personal", 0.0, 0.01),
        _mean("responses_per_prompt", "num_responses", 2, None),
        _expect("ExpectColumnUniqueValueCountToBeBetween", "prompts_differ", "prompt_key", min_value=2),
    ]


def sample_expectations() -> list[Any]:
    """Return what should hold for a sample; what could not be told of any row does not count against it."""
    return [
        _mean("few_labels_look_flipped", "suspected", 0.0, 0.15),
        _mean("texts_are_in_the_languages_given", "foreign", 0.0, 0.01),
        _mean("responses_are_in_the_prompts_language", "mixed", 0.0, 0.02),
        _mean("few_preferred_responses_are_offensive", "toxic", 0.0, 0.02),
        _mean("offensive_responses_do_not_win", "toxic_wins", 0.0, 0.5),
    ]


def _between(name: str, column: str, low: float | None, high: float | None) -> Any:
    return _expect("ExpectColumnValuesToBeBetween", name, column, min_value=low, max_value=high)


def _in_set(name: str, column: str, values: list[Any]) -> Any:
    return _expect("ExpectColumnValuesToBeInSet", name, column, value_set=values)


def _mean(name: str, column: str, low: float | None, high: float | None, *, critical: bool = False) -> Any:
    return _expect("ExpectColumnMeanToBeBetween", name, column, critical=critical, min_value=low, max_value=high)


def _expect(kind: str, name: str, column: str, *, critical: bool = False, **limits: Any) -> Any:
    """Return an expectation of the library's, under a name of ours."""
    import great_expectations.expectations as gxe

    return getattr(gxe, kind)(column=column, meta={"name": name, "critical": critical}, **limits)
