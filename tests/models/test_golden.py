import json
from pathlib import Path

import pytest

from tests.golden_values import GOLDEN, measure


def test_numbers_are_those_recorded(cache: Path) -> None:
    golden, found = json.loads(GOLDEN.read_text()), measure(cache)
    assert found["ids"] == golden["ids"]
    assert found["losses"] == pytest.approx(golden["losses"], abs=1e-5)
    assert found["rewards"] == pytest.approx(golden["rewards"], abs=1e-5)
