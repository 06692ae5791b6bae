"""TRL trains against our reward functions: two steps of GRPO in an environment that has TRL beside what is here."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import rewardlab
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from tests.served import build_app, running

TRL = "trl==0.24.0"  # the newest that takes the transformers that are locked
GRPO = """
import json, sys
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
import rewardlab

backbone, bundle, url = sys.argv[1:]
questions = [[{"role": "user", "content": text}] for text in ("Name a fruit.", "What is 2 + 2?")]
sizes = dict(max_steps=2, per_device_train_batch_size=4, num_generations=4, max_completion_length=8)
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(backbone),
    processing_class=AutoTokenizer.from_pretrained(backbone),
    reward_funcs=[rewardlab.reward_function(rewardlab.load(bundle)), rewardlab.RemoteReward(url)],
    args=GRPOConfig(output_dir="out", logging_steps=1, report_to=[], use_cpu=True, bf16=False, seed=0, **sizes),
    train_dataset=Dataset.from_list([{"prompt": question} for question in questions]),
)
trainer.train()
print(json.dumps([entry for entry in trainer.state.log_history if "reward" in entry]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment of its own that has TRL and sees the packages of this one."""
    place = tmp_path_factory.mktemp("trl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", place, "install", "--quiet", "--no-deps", TRL]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{TRL} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    (site,) = place.glob("lib/*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin" / "python"


@pytest.mark.slow
def test_trl_trains_on_rewards_of_this_process_and_of_a_server(
    python: Path, tiny_folder: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    home = str(Path(rewardlab.__file__).parent.parent)
    (tmp_path / "grpo.py").write_text(GRPO)
    with running(build_app(Engine(Bundle.open(tiny_bundle)), name="reward-model", version="1")) as url:
        command = [python, "grpo.py", tiny_folder, tiny_bundle, url]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"PATH": "", "PYTHONPATH": home, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(done.stdout.splitlines()[-1])
    names = [key for key in steps[0] if key.startswith("rewards/") and key.endswith("/mean")]
    assert (len(steps), len(names)) == (2, 2)
    for step in steps:
        local, remote = (step[name] for name in names)
        assert abs(local - remote) < 1e-4
        assert step["reward_std"] > 0
