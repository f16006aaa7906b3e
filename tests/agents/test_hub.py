"""Agents on the hub, against a stand-in for the hub: a folder. There is no network in the tests."""

from __future__ import annotations

import builtins
import fnmatch
import json
import shutil
import types
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.errors
import numpy as np
import pytest
import torch

from hrm_gym.agents.agent import AGENT_FILES, PRETRAINED, HRMAgent, find_agent
from hrm_gym.agents.hub import hub_name
from hrm_gym.envs.errors import CheckpointError, ConfigError


class FolderHub:
    """What of huggingface_hub is used, with `folder`/OWNER/NAME in place of the server; `calls` says what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    def copy(self, source: Path, target: Path, patterns: list[str]) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
                shutil.copy(path, target)

    def snapshot_download(self, repo_id: str, *, revision: Any, token: Any, allow_patterns: list[str]) -> str:
        self.calls.append(("fetch", repo_id, revision, token))
        if self.failure is not None:
            raise self.failure
        target = self.folder / "cache" / repo_id
        self.copy(self.folder / repo_id, target, allow_patterns)
        return str(target)

    def api(self, token: Any = None) -> FolderHub:
        self.calls.append(("log in", token))
        return self

    def create_repo(self, repo_id: str, *, private: Any, exist_ok: bool) -> types.SimpleNamespace:
        self.calls.append(("create", repo_id, private))
        assert exist_ok
        if self.failure is not None:
            raise self.failure
        return types.SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> Any:
        self.copy(Path(folder_path), self.folder / repo_id, allow_patterns)
        return types.SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    stand_in = FolderHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", stand_in.api)
    return stand_in


@pytest.fixture(scope="module")
def agent() -> HRMAgent:
    return HRMAgent.from_pretrained("sudoku-4x4", device="cpu")


def test_pushed_and_fetched_is_the_same_agent(hub, agent):
    assert agent.push_to_hub("me/four", private=True, token="secret", card="# four") == "https://hub/me/four/commit/1"
    assert hub.calls == [("log in", "secret"), ("create", "me/four", True)]
    pushed = hub.folder / "me" / "four"
    assert sorted(path.name for path in pushed.iterdir()) == sorted(AGENT_FILES)
    assert (pushed / "README.md").read_text() == "# four"

    (pushed / "pytorch_model.bin").write_bytes(b"a pickle that nobody wants")
    fetched = HRMAgent.from_pretrained("me/four", device="cpu", revision="v1", token="secret")
    assert hub.calls[-1] == ("fetch", "me/four", "v1", "secret")
    assert sorted(path.name for path in (hub.folder / "cache" / "me" / "four").iterdir()) == sorted(AGENT_FILES)
    assert fetched.description == agent.description
    for name, tensor in agent.network.state_dict().items():
        assert torch.equal(fetched.network.state_dict()[name], tensor), name


def test_a_card_that_is_there_stays(hub, agent):
    agent.push_to_hub("me/four", card="# first")
    agent.push_to_hub("me/four")
    assert (hub.folder / "me" / "four" / "README.md").read_text() == "# first"
    assert agent.push_to_hub("four") == "https://hub/me/four/commit/1"  # the owner is the token's


def test_what_is_here_wins(hub, agent):
    agent.push_to_hub("me/four")
    hub.calls.clear()
    agent.save("me/four")
    assert find_agent("me/four") == Path("me/four")
    assert find_agent("sudoku-4x4") == PRETRAINED / "sudoku-4x4"
    assert hub.calls == []
    assert find_agent("hub:me/four") == hub.folder / "cache" / "me" / "four"
    with pytest.raises(ConfigError, match=r"revision 'v1' was asked for, but 'me/four' is me/four; .* hub:OWNER/NAME"):
        HRMAgent.from_pretrained("me/four", revision="v1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name", "owner/name"),
        ("hub:owner/name", "owner/name"),
        ("hub:runs/name", "runs/name"),
        ("runs/name", None),  # the folder runs is here
        ("name", None),
        ("./owner/name", None),
        ("../owner", None),
        ("owner/name/more", None),
        ("/owner/name", None),
        ("~/name", None),
    ],
)
def test_which_names_are_the_hubs(hub, name, expected):
    Path("runs").mkdir()
    assert hub_name(name) == expected


def test_a_slip_in_a_folders_name_asks_no_server(hub):
    Path("runs/one").mkdir(parents=True)
    for name in ("runs/two", "runs/one", "nobody"):
        with pytest.raises(CheckpointError, match=f"no agent at '{name}'; .* or OWNER/NAME on the Hugging Face hub"):
            find_agent(name)
    assert hub.calls == []


def error_of(kind: str) -> Exception:
    """One of huggingface_hub's errors as its client raises it, without the HTTP response that some want."""
    error = getattr(huggingface_hub.errors, kind)
    made = error.__new__(error)
    made.args = ("first line\nsecond line",)
    return made


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        ("RepositoryNotFoundError", "no such model, or it is private"),
        ("GatedRepoError", "grant access"),
        ("RevisionNotFoundError", "no such revision"),
        ("LocalEntryNotFoundError", "cannot be reached and the model was not fetched before; check the network"),
        ("HFValidationError", "expected OWNER/NAME"),
        (ConnectionError("\nno route to host\nand more"), "no route to host; check the network"),
        (TimeoutError(), "TimeoutError; check the network"),
    ],
)
def test_failures_are_one_line_with_a_remedy(hub, agent, failure, remedy):
    hub.failure = error_of(failure) if isinstance(failure, str) else failure
    with pytest.raises(CheckpointError) as caught:
        HRMAgent.from_pretrained("owner/name", revision="v2")
    assert str(caught.value).startswith("agent 'owner/name' at revision 'v2' could not be fetched from the Hugging Face hub: ")
    assert remedy in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        agent.push_to_hub("owner/name")
    assert "could not be pushed" in str(caught.value) and remedy in str(caught.value) and "\n" not in str(caught.value)


def test_library_missing_says_what_to_install(hub, agent, monkeypatch):
    real_import = builtins.__import__

    def without_hub(name: str, *arguments: Any, **settings: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real_import(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    for use in (lambda: HRMAgent.from_pretrained("owner/name"), lambda: agent.push_to_hub("owner/name")):
        with pytest.raises(CheckpointError, match=r"'owner/name' is on the .* pip install \"hrm-gym\[hub\]\"") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_model_that_is_no_agent(hub):
    (hub.folder / "owner" / "name").mkdir(parents=True)
    (hub.folder / "owner" / "name" / "README.md").write_text("something else")
    with pytest.raises(CheckpointError, match=r"model 'owner/name' on the hub has no agent.json"):
        find_agent("owner/name")


def test_bfloat16_weights_are_half_the_size_and_come_back_as_float32(agent, tmp_path):
    small, full = agent.save(tmp_path / "small", weights_type="bfloat16"), agent.save(tmp_path / "full")
    assert json.loads((small / "agent.json").read_text())["weights_type"] == "bfloat16"
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (small, full)]
    numbers = sum(tensor.numel() for tensor in agent.network.state_dict().values())
    assert sizes[1] - sizes[0] == pytest.approx(2 * numbers, rel=0.01)
    loaded = HRMAgent.from_pretrained(small, device="cpu")
    for name, tensor in agent.network.state_dict().items():
        there = loaded.network.state_dict()[name]
        assert there.dtype == torch.float32
        assert torch.equal(there, tensor.to(torch.bfloat16).to(torch.float32)), name
    # saved again as float32 it does not claim to be bfloat16
    again = loaded.save(tmp_path / "again")
    assert json.loads((again / "agent.json").read_text())["weights_type"] == "float32"
    questions = agent.family.parse(".234341221434321")[None].astype(np.uint8)
    assert loaded.solve(questions).verified.all()
    with pytest.raises(ConfigError, match="weights type 'int8' is unknown; expected one of float32, bfloat16"):
        agent.save(tmp_path / "no", weights_type="int8")
