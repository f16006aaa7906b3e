"""Several processes train like one, survive the loss of one, and a run survives being killed at any moment."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
import torch

from hrm_gym.envs.errors import ConfigError, DeviceError
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.loop import CHECKPOINT_FILE, CONFIG_FILE, METRICS_FILE, Trainer, load_checkpoint, train
from hrm_gym.train.processes import Processes, join_processes, shares

CONFIG = TrainConfig(
    name="shared",
    family="maze",
    puzzles={"size": 5, "recipe": "tree"},
    train_puzzles=64,
    validation_puzzles=7,
    test_puzzles=16,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    max_steps=4,
    batch_size=9,  # five slots for one process, four for the other
    accumulate=2,
    optimiser_steps=50,
    warmup_steps=4,
    log_every=1,
    evaluate_every=25,
    checkpoint_every=10,
    device="cpu",
)

# what torchrun does for two processes on one machine, with one import of torch instead of three
TWO_PROCESSES = """
import os, signal, sys, threading
import torch
from pathlib import Path
from hrm_gym.train.loop import read_config, train
from hrm_gym.train import loop

torch.set_num_threads(1)
folder, port, die_at, resume = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "resume"
config = read_config(Path(sys.argv[5]))
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
child = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "1" if child == 0 else "0"
if child == 0 and die_at:
    step = loop.Trainer.train_step
    def dying(trainer):
        step(trainer)
        if trainer.optimiser_step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    loop.Trainer.train_step = dying
try:
    train(config, folder, resume=resume, show_progress=False)
except RuntimeError as error:  # gloo: the other process is gone
    print("lost:", str(error).splitlines()[0])
    os._exit(7)
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def with_two(folder, config_folder, die_at=0, resume=False):
    command = [
        sys.executable,
        "-c",
        TWO_PROCESSES,
        folder,
        str(free_port()),
        str(die_at),
        "resume" if resume else "new",
        config_folder,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def losses(folder):
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [line["loss"] for line in lines if line["group"] == "train"], [
        {name: value for name, value in line.items() if name != "group"} for line in lines if line["group"] == "validation"
    ]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    return train(CONFIG, folder, show_progress=False)


def test_two_processes_train_like_one(one_process, tmp_path):
    done = with_two(tmp_path / "two", one_process)
    assert done.returncode == 0, done.stderr
    (alone, alone_validated), (together, together_validated) = losses(one_process), losses(tmp_path / "two")
    assert len(alone) == 50
    assert together == pytest.approx(alone, abs=1e-4)
    assert [line["accuracy"] for line in together_validated] == pytest.approx([line["accuracy"] for line in alone_validated])
    one, two = (load_checkpoint(folder / CHECKPOINT_FILE) for folder in (one_process, tmp_path / "two"))
    assert torch.equal(one["slots"]["rows"], two["slots"]["rows"])
    assert torch.equal(one["slots"]["steps"], two["slots"]["steps"])


def test_a_run_that_lost_a_process_resumes_to_the_same_numbers(one_process, tmp_path):
    """And with another number of processes: the checkpoint is nobody's in particular."""
    lost = with_two(tmp_path / "run", one_process, die_at=33)
    assert lost.returncode == 7, lost.stderr
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT_FILE)["optimiser_step"] == 30
    train(CONFIG, tmp_path / "run", resume=True, show_progress=False)
    assert losses(tmp_path / "run")[0] == pytest.approx(losses(one_process)[0], abs=1e-4)


KILLED = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from hrm_gym.train.loop import Trainer, read_config, train

torch.set_num_threads(1)
folder, config = Path(sys.argv[1]), read_config(Path(sys.argv[2]))
moments, killed = random.Random(5), 0
Trainer(config)  # what is compiled is compiled before the first fork
while True:
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        step = Trainer.train_step
        Trainer.train_step = lambda trainer: (step(trainer), os.write(told, b"s"))
        try:
            train(config, folder, resume=(folder / "checkpoint.safetensors").exists(), show_progress=False)
        except BaseException as error:
            print("failed:", repr(error), flush=True)
            os._exit(9)
        os._exit(0)
    os.close(told)
    if killed < 20:
        for _ in range(moments.randint(0, 8)):
            os.read(heard, 1)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(heard)
    code = os.waitstatus_to_exitcode(status)
    if code != -signal.SIGKILL:
        print(killed, flush=True)
        sys.exit(code)
    killed += 1
    if not (folder / "checkpoint.safetensors").exists():
        (folder / "config.json").unlink(missing_ok=True)
"""


def test_a_run_killed_twenty_times_ends_with_the_same_numbers(one_process, tmp_path):
    """kill -9 at random moments, often while something is being written: a checkpoint is written at every other step."""
    config = CONFIG.replace(optimiser_steps=250, checkpoint_every=2, log_every=50, evaluate_every=0)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / CONFIG_FILE).write_text(json.dumps(config.to_dict()))
    command = [sys.executable, "-c", KILLED, tmp_path / "run", tmp_path / "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["20"]
    state = load_checkpoint(tmp_path / "run" / CHECKPOINT_FILE)
    assert state["optimiser_step"] == 250
    trainer = Trainer(config)
    for _ in range(250):
        trainer.train_step()
    for name, values in trainer.network.state_dict().items():
        assert torch.equal(values, state["network"][name])


@pytest.mark.parametrize(("total", "count"), [(0, 1), (7, 3), (3, 3), (2, 5), (1000, 7)])
def test_shares_cover_everything_once_and_evenly(total, count):
    parts = shares(total, count)
    assert [row for part in parts for row in range(total)[part]] == list(range(total))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert Processes(1, count).share(total) == parts[1] if count > 1 else True


def test_accumulated_gradients_are_those_of_the_whole_batch():
    whole, pieces = Trainer(CONFIG.replace(accumulate=1)), Trainer(CONFIG.replace(accumulate=4))
    assert [len(slots) for slots in pieces.parts] == [3, 2, 2, 2]
    for _ in range(12):
        whole.train_step()
        pieces.train_step()
    one, other = whole.state_dict(), pieces.state_dict()
    assert torch.equal(one["slots"]["rows"], other["slots"]["rows"])
    for name, values in one["network"].items():
        torch.testing.assert_close(other["network"][name], values, rtol=1e-4, atol=1e-5)
    assert whole.read_metrics() == pytest.approx(pieces.read_metrics(), rel=1e-4)


def test_more_pieces_than_slots():
    with pytest.raises(ConfigError, match=r"leaves 9 slots to process 0; expected at least accumulate = 10 for each"):
        Trainer(CONFIG.replace(accumulate=10))


def test_mps_is_not_shared(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DeviceError, match="cannot be shared by 2 processes"):
        join_processes("mps", {"WORLD_SIZE": "2", "RANK": "0"})
