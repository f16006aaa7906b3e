"""Agents on the Hugging Face hub: fetched by name, and pushed. Needs the optional package huggingface_hub, imported when it is used.

Only weights in safetensors, their JSON description and the model card travel; nothing that is fetched is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from hrm_gym.envs.errors import CheckpointError

PREFIX = "hub:"  # says that a name is one of the hub's, whatever folders there are here; puzzle sources have the same
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def hub_name(name: str) -> str | None:
    """The hub's OWNER/NAME that `name` means: `hub:OWNER/NAME`, or OWNER/NAME where no file or folder here is called OWNER; else None.

    So a slip in the name of a run folder, as in `runs/sudoku-4x4-sed0`, asks no server.
    """
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    if not HUB_NAME.fullmatch(name) or Path(name).exists() or Path(name.partition("/")[0]).exists():
        return None
    return name


def fetch_agent(repo_id: str, files: Sequence[str], revision: str | None = None, token: str | None = None) -> Path:
    """A folder with `files` of a model on the hub, downloaded once and then kept by the hub's own cache.

    Args:
        repo_id: OWNER/NAME.
        files: the only ones that are fetched; those that the model lacks are left out.
        revision: a branch, tag or commit; None: the newest.
        token: of a private model; None: what `hf auth login` stored, if anything.

    Raises:
        CheckpointError: huggingface_hub is not installed, there is no such model or revision, or no network.
    """
    what = f"agent {repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    hub = _library(what)
    with _one_line(hub, f"{what} could not be fetched from the Hugging Face hub"):
        return Path(hub.snapshot_download(repo_id, revision=revision, token=token, allow_patterns=list(files)))


def push_agent(folder: Path, repo_id: str, files: Sequence[str], private: bool | None = None, token: str | None = None) -> str:
    """Upload `files` of `folder` in one commit to the model OWNER/NAME, which is made if it is not there.

    Args:
        private: of a model that is made; None: as the owner's settings say.
        token: one that may write; None: what `hf auth login` stored.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: huggingface_hub is not installed, no right to write there, or no network.
    """
    what = f"agent {repo_id!r}"
    hub = _library(what)
    with _one_line(hub, f"{what} could not be pushed to the Hugging Face hub"):
        api = hub.HfApi(token=token)
        made = api.create_repo(repo_id, private=private, exist_ok=True)  # where repo_id is NAME alone, the owner is the token's
        commit = api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, allow_patterns=list(files), commit_message="Agent of hrm-gym"
        )
    return str(commit.commit_url)


def _library(what: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise CheckpointError(
            f'{what} is on the Hugging Face hub, which needs a package: pip install "hrm-gym[hub]"; '
            "or give a folder on this machine"
        ) from None
    return huggingface_hub


@contextmanager
def _one_line(hub: ModuleType, failed: str) -> Iterator[None]:
    """Whatever the library, its HTTP client and the system raise, as one line that says what to do about it."""
    errors = hub.errors
    try:
        yield
    except Exception as error:
        if isinstance(error, errors.GatedRepoError):
            remedy = "its owner has to grant access first: ask on its page, then log in with: hf auth login"
        elif isinstance(error, errors.RevisionNotFoundError):
            remedy = "it has no such revision; leave it out for the newest"
        elif isinstance(error, errors.RepositoryNotFoundError):
            remedy = "there is no such model, or it is private; check the name, or log in with: hf auth login"
        elif isinstance(error, errors.HFValidationError):
            remedy = "that is no name of the hub; expected OWNER/NAME"
        elif isinstance(error, errors.LocalEntryNotFoundError):
            remedy = "it cannot be reached and the model was not fetched before; check the network"
        else:  # no network, no right to write, a full disk: in the library's own words
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
            remedy = f"{reason}; check the network, and for a private model or to push: hf auth login"
        raise CheckpointError(f"{failed}: {remedy}") from error
