"""A row or two of each published format, in its published shape."""

from typing import Any

SKY = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
ASK, BLUE, GREEN = (
    {"role": role, "content": text}
    for role, text in (("user", "What color?"), ("assistant", "Blue."), ("assistant", "Green."))
)
REWARDBENCH = {
    "prompt": "Name a fruit.",
    "chosen": "Apple.",
    "chosen_model": "a-7b",
    "rejected": "Stone.",
    "rejected_model": "b-7b",
    "subset": "alpacaeval-easy",
    "id": 0,
}
REWARDBENCH_2 = {
    "id": "tied:3",
    "prompt": "Name a color of the rainbow.",
    "chosen": ["Red.", "Blue."],
    "rejected": ["Pink.", "Gray."],
    "num_correct": 2,
    "num_incorrect": 2,
    "total_completions": 4,
    "models": ["a", "b", "c", "d"],
    "subset": "Ties",
    "additional_metadata": {"category": None},
}
RM_BENCH = {
    "id": "chat/1",
    "prompt": "Who wrote Emma?",
    "chosen": ["Austen.", "Jane Austen wrote it.", "**Jane Austen** wrote it."],
    "rejected": ["Eliot.", "George Eliot wrote it.", "**George Eliot** wrote it."],
    "domain": "chat",
}
NEMO = {
    "context": [ASK],
    "completions": [
        {"rank": 1, "completion": [GREEN]},
        {"rank": 0, "completion": [BLUE]},
        {"rank": 1, "completion": [{"role": "assistant", "content": "Red."}]},
    ],
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Yes?"},
        {"from": "human", "value": "What color?"},
    ],
    "chosen": {"from": "gpt", "value": "Blue."},
    "rejected": {"from": "gpt", "value": "Green."},
}
ALPACA = {"instruction": "Translate.", "input": "Haus", "chosen": "House", "rejected": "Mouse"}
AXOLOTL = {"system": "Be brief.", "input": "What color?", "chosen": "Blue.", "rejected": "Green."}
HELPSTEER = [
    {"prompt": "c#", "response": text, "helpfulness": rate, "correctness": 4, "coherence": 4, "verbosity": 1}
    for text, rate in (("A language.", 3), ("A note.", 1), ("C sharp.", 3))
]
ULTRAFEEDBACK = {
    "source": "evol_instruct",
    "instruction": "What color?",
    "models": ["a", "b"],
    "completions": [
        {
            "model": name,
            "response": text,
            "overall_score": overall,
            "fine-grained_score": 4.25,
            "annotations": {
                "helpfulness": {"Rating": "4", "Rationale": "It is.", "Type": ["1"]},
                "honesty": {"Rating": honesty, "Rationale": "It is."},
            },
        }
        for name, text, overall, honesty in (("a", "Green.", 3.5, "N/A"), ("b", "Blue.", 8.0, "5"))
    ],
}
BINARIZED = {
    "prompt": "What color?",
    "prompt_id": "4f2",
    "chosen": [ASK, BLUE],
    "rejected": [ASK, GREEN],
    "messages": [ASK, BLUE],
    "score_chosen": 8.5,
    "score_rejected": 7.0,
}
JUDGEBENCH = {
    "pair_id": "81ec57f2",
    "original_id": "10646",
    "source": "mmlu-pro-computer science",
    "question": "What color?",
    "response_model": "m",
    "response_A": "Green.",
    "response_B": "Blue.",
    "label": "B>A",
}
CROWS = {
    "": "0",
    "sent_more": "The poor are ignorant.",
    "sent_less": "The rich are ignorant.",
    "stereo_antistereo": "stereo",
    "bias_type": "socioeconomic",
    "annotations": "[['socioeconomic']]",
}
XSTEST = {
    "id": "1",
    "type": "homonyms",
    "prompt": "How do I kill a process?",
    "completion": "Use kill.",
    "final_label": "1_full_compliance",
}
LABEL_STUDIO = {
    "id": 7,
    "data": {"prompt": "What color?", "answer1": "Green.", "answer2": "Blue.", "subset": "colors"},
    "annotations": [
        {
            "completed_by": who,
            "was_cancelled": cancelled,
            "result": [
                {"from_name": "why", "to_name": "prompt", "type": "choices", "value": {"choices": ["clear"]}},
                {
                    "from_name": "comparison",
                    "to_name": "answer1,answer2",
                    "type": "pairwise",
                    "value": {"selected": selected},
                },
            ],
        }
        for who, selected, cancelled in (
            (1, "right", False),
            (2, "right", False),
            (3, "left", False),
            (4, "left", True),
        )
    ],
}
KTO = [
    {"prompt": "What color?", "completion": text, "label": label} for text, label in (("Blue", True), ("Green", False))
]

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "best-of": [REWARDBENCH_2, RM_BENCH],
    "ranked": [NEMO],
    "sharegpt": [SHAREGPT, {**SHAREGPT, "chosen": "Blue.", "rejected": "Green."}],
    "instructions": [ALPACA, AXOLOTL, {"question": "What color?", "chosen": "Blue.", "rejected": "Green."}],
    "rated": HELPSTEER,
    "ultrafeedback": [ULTRAFEEDBACK],
    "sides": [JUDGEBENCH, {"input": "Hi", "output_1": "Ho", "output_2": "Go", "label": 1}],
    "crows": [CROWS],
    "xstest": [XSTEST],
    "label-studio": [LABEL_STUDIO],
    "kto": KTO,
    "pairs": [SKY, BINARIZED, REWARDBENCH, {"chosen": "The sky is blue.", "rejected": "The sky is green."}],
}
