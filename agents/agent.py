"""`HRMAgent`: a trained network that plays the environments (`predict`) and solves many puzzles at once (`solve`)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.device_puzzles import DevicePuzzles, GridCode
from hrm_gym.agents.devices import choose_device
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.hub import fetch_agent, hub_name, push_agent
from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork
from hrm_gym.agents.published import load_weights, read_state_dict
from hrm_gym.agents.retry import Retry, as_retry
from hrm_gym.agents.solutions import RetrySolutions, Solutions, SolvingInterrupted, scattered
from hrm_gym.agents.solving import OuterLoop, as_tensor, solvable_puzzles, solve_in_slots
from hrm_gym.agents.thinking import Carry, think_one_step
from hrm_gym.envs.errors import CheckpointError, ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.whole_files import replacing

FORMAT = 1
DESCRIPTION_FILE = "agent.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "README.md"
AGENT_FILES = (DESCRIPTION_FILE, WEIGHTS_FILE, CARD_FILE)  # all that goes to the hub and comes from it
WEIGHTS_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRETRAINED = Path(__file__).parent / "pretrained"


class HRMAgent:
    """An agent for one family of puzzles.

    Args:
        network: any backbone; it is moved to `device` and set to evaluation.
        family: the puzzles it knows.
        max_steps: it halts at this step at the latest.
        halting: a strategy or its text, such as "q" or "fixed(8)"; used by `predict`, and by `solve` unless given there.
        device: "auto", "cpu", "cuda" or "mps".
        description: what `save` writes beside the weights (how the family is made, where the agent comes from).

    Raises:
        ConfigError: unknown strategy, or a network of another size than the family's grids.
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        network: RecursiveNetwork,
        family: Family,
        max_steps: int = 16,
        halting: str | HaltingStrategy = "q",
        device: str | torch.device = "auto",
        description: Mapping[str, Any] | None = None,
    ) -> None:
        if network.config.cells != family.cells or network.config.vocabulary != family.vocabulary:
            raise ConfigError(
                f"the network is for {network.config.cells} cells and {network.config.vocabulary} tokens; "
                f"{family.name} {family.shape[0]} x {family.shape[1]} has {family.cells} and {family.vocabulary}"
            )
        self.device = choose_device(device) if isinstance(device, str) else device
        self.network = network.to(self.device).eval()
        self.family = family
        self.max_steps = max_steps
        self.halting = halting_strategy(halting)
        self.description = dict(description or {})
        self.code = GridCode(family, self.device)
        self.ids_per_task = int(self.description.get("ids_per_task", 1))

    # -- one step in an environment ------------------------------------------------------------------------------------

    def predict(
        self,
        observation: Mapping[str, Any],
        state: Carry | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Carry]:
        """One step of thought, with the signature of a recurrent policy of Stable-Baselines3.

        Args:
            observation: of one environment (`question` uint8[H, W]) or of B (`question` uint8[B, H, W]).
            state: what the last call returned; None at the start.
            episode_start: bool[B], environments that have just been reset. Where None, an observation at step 0 is a start.
            deterministic: the agent always is; the argument stands for the signature's sake.

        Returns:
            Actions int64[cells + 1] (or [B, cells + 1]), and the state for the next call. `state.values` holds the values of halting
            and continuing, for `env.unwrapped.note_values`.

        Raises:
            PuzzleError: questions that do not fit the family.
        """
        question = np.asarray(observation["question"])
        single = question.ndim == 2
        questions = self.family.check_grids(question)
        count = len(questions)
        starts = np.atleast_1d(np.asarray(observation["step"] if episode_start is None else episode_start))
        starts = starts == 0 if episode_start is None else starts.astype(bool)
        if starts.shape != (count,):
            raise PuzzleError(f"episode_start has shape {starts.shape}; expected ({count},), one for each observation")

        flat = as_tensor(questions.reshape(count, -1), self.device)
        ids = (
            as_tensor(np.atleast_1d(np.asarray(observation.get("task", np.zeros(count)))).astype(np.int64), self.device)
            * self.ids_per_task
        )
        if state is None or len(state.step) != count:
            state = Carry.start(
                self.network, self.code, flat, ids, torch.arange(count, device=self.device), self.halting.memory_size
            )
        elif starts.any():
            # a new episode counts as a new puzzle, so that random strategies do not repeat themselves
            state.restart(self.network, self.code, as_tensor(starts, self.device), flat, ids, state.puzzle + count)
        solved = self._solved_by_rules(questions) if self.halting.needs & {"verified", "correct"} else None
        thought = think_one_step(self.network, self.code, state, self.halting.needs, self.max_steps, solved)
        halt = self.halting.halt(thought) | (state.step >= self.max_steps)
        state.values = torch.sigmoid(torch.stack((thought.q_halt, thought.q_continue), dim=1)).cpu().numpy()
        actions = torch.cat((state.draft.long(), halt.long().unsqueeze(1)), dim=1).cpu().numpy()
        return (actions[0] if single else actions), state

    def _solved_by_rules(self, questions: np.ndarray) -> Callable[[Tensor, Tensor], Tensor]:
        """Verification of drafts for questions that come without an answer."""
        if not self.family.has_rules:
            raise ConfigError(
                f"halting {self.halting} needs rules to check a draft by; {self.family.name} has none in an episode"
            )
        puzzles = self.family.puzzles_from_questions(questions)

        def solved(_: Tensor, drafts: Tensor) -> Tensor:
            grids = drafts.cpu().numpy().reshape(-1, *self.family.shape)
            return as_tensor(self.family.verify(puzzles, grids), self.device)

        return solved

    # -- many puzzles --------------------------------------------------------------------------------------------------

    @overload
    def solve(
        self,
        questions: np.ndarray | Puzzles,
        halting: str | HaltingStrategy | None = None,
        max_steps: int | None = None,
        slots: int = 256,
        progress: Callable[[int], None] | None = None,
        retry: None = None,
        others: Sequence[HRMAgent] = (),
        unsolvable: str = "error",
    ) -> Solutions: ...

    @overload
    def solve(
        self,
        questions: np.ndarray | Puzzles,
        halting: str | HaltingStrategy | None = None,
        max_steps: int | None = None,
        slots: int = 256,
        progress: Callable[[int], None] | None = None,
        *,
        retry: Retry | str,
        others: Sequence[HRMAgent] = (),
        unsolvable: str = "error",
    ) -> RetrySolutions: ...

    def solve(
        self,
        questions: np.ndarray | Puzzles,
        halting: str | HaltingStrategy | None = None,
        max_steps: int | None = None,
        slots: int = 256,
        progress: Callable[[int], None] | None = None,
        retry: Retry | str | None = None,
        others: Sequence[HRMAgent] = (),
        unsolvable: str = "error",
    ) -> Solutions:
        """Solve many puzzles in a pool of slots that are refilled when a puzzle halts.

        Args:
            questions: uint8[N, H, W], or `Puzzles` (which saves solving them again for their facts).
            halting: a strategy or its text; None: the agent's own.
            max_steps: None: the agent's own.
            slots: puzzles in thought at once; no result depends on it.
            progress: called with the number of finished puzzles.
            retry: try again what is not accepted: a `Retry`, or its text, such as "verifier(32)" or "vote(16)". None: a single pass.
            others: agents for the perturbation "ensemble", of the same family and with latent states of the same shape.
            unsolvable: of bare questions without exactly one solution: "error", or "mark": they come back unsolved, with no step spent.

        Returns:
            `RetrySolutions` with `retry`, which say which attempt won, at what cost, and whether the draft is accepted.

        Raises:
            PuzzleError: questions that do not fit the family, or that have no or several solutions.
            ConfigError: unknown strategy, or a retry that does not go with the family or the agents.
            SolvingInterrupted: Ctrl-C. It is a KeyboardInterrupt whose `solutions` hold the finished puzzles.
        """
        strategy = self.halting if halting is None else halting_strategy(halting)
        loop = self.outer_loop(strategy, max_steps, slots, None if retry is None else as_retry(retry), others)
        if unsolvable not in ("error", "mark"):
            raise ConfigError(f"unsolvable is {unsolvable!r}; expected 'error' or 'mark'")
        if isinstance(questions, Puzzles):
            self.family.check_grids(questions.questions)
            return solve_in_slots(loop, questions, self.on_device, progress)
        grids = self.family.check_grids(questions)
        if unsolvable == "error":
            return solve_in_slots(loop, self.family.puzzles_from_questions(grids), self.on_device, progress)
        puzzles, rows = solvable_puzzles(self.family, grids)
        whole: Callable[[Solutions], Solutions] = partial(scattered, rows=rows, questions=grids, names=loop.names)
        try:
            return whole(solve_in_slots(loop, puzzles, self.on_device, progress))
        except SolvingInterrupted as interruption:
            raise SolvingInterrupted(whole(interruption.solutions)) from None

    def outer_loop(
        self,
        strategy: HaltingStrategy,
        max_steps: int | None = None,
        slots: int = 256,
        retry: Retry | None = None,
        others: Sequence[HRMAgent] = (),
        keep: bool = False,
    ) -> OuterLoop:
        """What `solve` does with each puzzle; arguments as there, `keep` as in `OuterLoop`.

        Raises:
            ConfigError: a value outside its range, or a retry that does not go with the family or the agents.
        """
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}; expected at least 1")
        if slots < 1:
            raise ConfigError(f"slots is {slots}; expected at least 1")
        if others and retry is None:
            raise ConfigError("others are given without a retry; give retry=Retry(perturb=('ensemble',)) with them")
        for other in others:
            mine, theirs = ((a.family.name, a.family.shape, a.ids_per_task, str(a.device)) for a in (self, other))
            if mine != theirs:
                raise ConfigError(
                    f"an agent of the ensemble is for {theirs}, this one for {mine} (family, grid, ids of a task, device); "
                    "give agents alike"
                )
        networks = [self.network, *(other.network for other in others)]
        return OuterLoop(networks, self.code, strategy, max_steps or self.max_steps, slots, retry, keep)

    def on_device(self, puzzles: Puzzles) -> DevicePuzzles:
        """`puzzles` on the agent's device, with the puzzle ids that its network knows them by."""
        return DevicePuzzles(self.family, puzzles, self.device, self.ids_per_task)

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path, weights_type: str = "float32") -> Path:
        """Write `agent.json` and `weights.safetensors` into `folder`, each whole or not at all.

        Args:
            weights_type: "float32", or "bfloat16" for half the size; read back, the weights are float32 again, rounded.

        Raises:
            ConfigError: another type.
        """
        weights = weights_as(self.network.state_dict(), weights_type)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "format": FORMAT,
            "max_steps": self.max_steps,
            "network": self.network.config.to_dict(),
            "weights_type": weights_type,
            **self.description,
        }
        description |= {"family": self.family.name, "size": self.family.shape[0]}
        write_whole(folder / WEIGHTS_FILE, save(weights))
        write_whole(folder / DESCRIPTION_FILE, json.dumps(description, indent=2).encode())
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        private: bool | None = None,
        token: str | None = None,
        card: str | None = None,
        weights_type: str = "float32",
    ) -> str:
        """Upload the agent to the Hugging Face hub, where `from_pretrained(repo_id)` finds it.

        Args:
            repo_id: OWNER/NAME; it is made if it is not there.
            private: of a model that is made; None: as the owner's settings say.
            token: one that may write; None: what `hf auth login` stored.
            card: the model card's text, as `hrm_gym.train.model_card` writes it; None: a card that is there already stays.
            weights_type: as in `save`.

        Returns:
            The commit's address.

        Raises:
            CheckpointError: huggingface_hub is not installed, no right to write there, or no network.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder, weights_type)
            if card is not None:
                write_whole(Path(folder) / CARD_FILE, card.encode())
            return push_agent(Path(folder), repo_id, AGENT_FILES, private, token)

    @staticmethod
    def from_pretrained(
        name_or_path: str | Path,
        device: str = "auto",
        halting: str | HaltingStrategy | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> HRMAgent:
        """An agent from a folder that `save` or a training run wrote, one that comes with the package, or one on the Hugging Face hub.

        Args:
            name_or_path: the folder, the name, or OWNER/NAME on the hub (see `find_agent`).
            device: "auto", "cpu", "cuda" or "mps".
            halting: a strategy or its text; None: what the agent was trained with.
            revision: of a model on the hub: a branch, tag or commit; None: the newest.
            token: of a private model on the hub; None: what `hf auth login` stored, if anything.

        Raises:
            CheckpointError: no such agent, a broken file, or the hub cannot be reached.
            ConfigError: a revision of what is not on the hub.
            DeviceError: the device is not there.
        """
        folder = find_agent(name_or_path, revision, token)
        try:
            description = json.loads((folder / DESCRIPTION_FILE).read_text())
            network = build_network(NetworkConfig.from_dict(description["network"]))
            family = make_family(description["family"], int(description["size"]))
            max_steps = int(description["max_steps"])
            halting = str(description.get("halting", "q")) if halting is None else halting
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise CheckpointError(f"{folder / DESCRIPTION_FILE}: {error}") from None
            raise CheckpointError(
                f"{folder / DESCRIPTION_FILE} is not an agent's description ({type(error).__name__}: {error})"
            ) from None
        load_weights(network, read_state_dict(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
        extra = {
            key: value for key, value in description.items() if key not in ("format", "max_steps", "network", "weights_type")
        }
        return HRMAgent(network, family, max_steps, halting, device, extra)


def weights_as(weights: Mapping[str, Tensor], weights_type: str) -> dict[str, Tensor]:
    """The weights on the CPU, as safetensors wants them, numbers with a point as "float32" or "bfloat16".

    Raises:
        ConfigError: another type.
    """
    if weights_type not in WEIGHTS_TYPES:
        raise ConfigError(f"weights type {weights_type!r} is unknown; expected one of {', '.join(WEIGHTS_TYPES)}")
    kind = WEIGHTS_TYPES[weights_type]
    return {
        name: tensor.detach().to("cpu", kind if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in weights.items()
    }


def weights_type_of(folder: Path) -> str:
    """How the weights of the agent in `folder` are written; a description from before there was a choice says nothing."""
    return str(json.loads((folder / DESCRIPTION_FILE).read_text()).get("weights_type", "float32"))


def find_agent(name_or_path: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """The folder that holds the agent called so: a folder with `agent.json`, a run folder, the name of one in the package, or, where
    none of these is there, OWNER/NAME on the Hugging Face hub, which is then fetched. `hub:OWNER/NAME` is always the hub's.

    Raises:
        CheckpointError: there is none, or the hub cannot be reached.
        ConfigError: a revision of what is not on the hub.
    """
    name, given = str(name_or_path), Path(name_or_path)
    for folder in (given, given / "agent", PRETRAINED / name):
        if (folder / DESCRIPTION_FILE).is_file():
            if revision is not None:
                raise ConfigError(
                    f"revision {revision!r} was asked for, but {name!r} is {folder}; for the hub write hub:OWNER/NAME"
                )
            return folder
    on_hub = hub_name(name)
    if on_hub is not None:
        folder = fetch_agent(on_hub, AGENT_FILES, revision, token)
        if not (folder / DESCRIPTION_FILE).is_file():
            raise CheckpointError(
                f"model {on_hub!r} on the hub has no {DESCRIPTION_FILE}, so it is no agent of hrm-gym; "
                "for published HRM and TRM weights see hrm-gym model import"
            )
        return folder
    known = sorted(path.parent.name for path in PRETRAINED.glob(f"*/{DESCRIPTION_FILE}"))
    raise CheckpointError(
        f"no agent at {name!r}; expected a run folder, a folder with {DESCRIPTION_FILE}, "
        f"one of {', '.join(known) or 'none'}, or OWNER/NAME on the Hugging Face hub"
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees either the old content or all of the new one."""
    with replacing(path) as part:
        part.write_bytes(content)
