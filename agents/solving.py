"""The fast road: many puzzles through a pool of slots. A step advances every slot; a halted puzzle leaves and the next enters.

With a `Retry` a puzzle that is not accepted stays in its slot and begins its next attempt at once, so that retries and fresh puzzles
share the slots and nobody waits for a round to end. Puzzles pass in chunks, so that memory on the device is bounded however many there
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import DevicePuzzles, GridCode
from hrm_gym.agents.halting import HaltingStrategy, hashed_integers
from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput
from hrm_gym.agents.perturbations import (
    NOISE_STREAM,
    START_STREAM,
    NumberTable,
    SymmetryTable,
    attempt_keys,
    noise_table,
    sample_distinct_symmetries,
    start_table,
)
from hrm_gym.agents.retry import LABEL_FREE_RULES, Attempt, Retry, planned_attempts
from hrm_gym.agents.selection import select
from hrm_gym.agents.solutions import RetrySolutions, Solutions, SolvingInterrupted, joined, without_retries
from hrm_gym.agents.thinking import Carry, think_one_step
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles

# On a device the host looks at the pool only every so many steps; between looks idle slots think in vain.
STEPS_BETWEEN_LOOKS = {"cpu": 1}
STEPS_BETWEEN_LOOKS_ELSEWHERE = 8
CHUNK_BYTES = 1 << 27  # of puzzles and their attempts on the device at once


@dataclass(frozen=True)
class Attempts:
    """The attempts at n puzzles of a chunk, at most K each.

    Attributes:
        steps: int64[n, K], steps of each attempt; 0: it was not made.
        halt_values, continue_values, residuals: float32[n, K] at the halts.
        verified: bool[n, K], the verifier's word on each attempt; all False where it was not asked.
        drafts: uint8[n, K, cells] where all are kept, else uint8[n, 1, cells], that of `winners`.
        winners: int64[n], where the verifier decides on the way, else 0.
        finished: bool[n].
    """

    steps: np.ndarray
    halt_values: np.ndarray
    continue_values: np.ndarray
    residuals: np.ndarray
    verified: np.ndarray
    drafts: np.ndarray
    winners: np.ndarray
    finished: np.ndarray

    def first(self, attempts: int) -> Attempts:
        """The first `attempts` of each puzzle, as if no more had been made; all drafts must have been kept."""
        whole = {name: getattr(self, name) for name in ("winners", "finished")}
        cut = {field.name: getattr(self, field.name)[:, :attempts] for field in fields(self) if field.name not in whole}
        return Attempts(**cut, **whole)


class OuterLoop:
    """The plan of the attempts and the tables they draw from, on the device; without `retry` a single pass.

    Args:
        networks: the agent's own, then those of the ensemble.
        code: of the agent's family.
        retry: None: one attempt.
        keep: make all attempts and keep their drafts, also where the verifier would stop.

    Raises:
        ConfigError: perturbations or a rule that do not go with the family, the strategy or the networks.
    """

    def __init__(
        self,
        networks: Sequence[RecursiveNetwork],
        code: GridCode,
        strategy: HaltingStrategy,
        max_steps: int,
        slots: int,
        retry: Retry | None = None,
        keep: bool = False,
    ) -> None:
        self.networks, self.code, self.strategy = networks, code, strategy
        self.max_steps, self.slots = max_steps, slots
        self.retry = retry
        self.rule = None if retry is None else retry.accept
        self.keep = keep or self.rule in ("vote", "residual")  # these choose any attempt's draft; of the others one is enough
        self.device = code.token_of_value.device
        self.symmetries: SymmetryTable | None = None
        self.noise: NumberTable | None = None
        self.starts: NumberTable | None = None
        self.plan = [Attempt()]
        self.needs = strategy.needs
        self.stop_when_verified = self.rule == "verifier" and not keep
        if retry is not None:
            self._prepare(retry)
        self.names = tuple(attempt.name for attempt in self.plan)
        # what an attempt is, by its number; one row more for "after the last", which no slot begins
        rows = [*self.plan, self.plan[-1]]
        self.symmetry_use = self._tensor([attempt.symmetry for attempt in rows])
        self.member = self._tensor([attempt.member for attempt in rows])
        self.noisy = self._tensor([attempt.noise for attempt in rows])
        self.random_start = self._tensor([attempt.initial_state for attempt in rows])
        deepest = max_steps if retry is None else int(np.ceil(max_steps * retry.depth))
        self.most_steps = self._tensor([deepest if attempt.deeper else max_steps for attempt in rows])
        self.least_steps = self._tensor([max_steps if attempt.deeper else 1 for attempt in rows])

    def _prepare(self, retry: Retry) -> None:
        family = self.code.family
        if retry.accept == "verifier" and not family.has_rules:
            raise ConfigError(
                f"accept='verifier' needs rules to check a draft by; {family.name} has none: use accept='vote', 'best-q' or 'residual'"
            )
        if retry.accept in LABEL_FREE_RULES and self.strategy.needs & {"verified", "correct"}:
            raise ConfigError(
                f"accept={retry.accept!r} selects without labels or rules, but halting {self.strategy} asks the verifier; "
                "halt by the network's own numbers, such as q or stable(2)"
            )
        if "ensemble" in retry.parts and len(self.networks) < 2:
            raise ConfigError("perturbation 'ensemble' needs other agents; give solve(..., others=[agent, ...])")
        if "ensemble" not in retry.parts and len(self.networks) > 1:
            raise ConfigError("others are given but no perturbation uses them; add 'ensemble' to perturb, or leave others out")
        shapes = [network.initial_state(1).z_h.shape for network in self.networks]
        if any(shape != shapes[0] for shape in shapes):
            raise ConfigError(
                f"the agents of an ensemble have latent states of {', '.join(f'{s[1]} x {s[2]}' for s in shapes)}; "
                "expected the same number of positions and the same hidden size"
            )
        distinct = 0
        if "symmetry" in retry.parts:
            table = sample_distinct_symmetries(family, retry.seed)
            self.symmetries, distinct = SymmetryTable(table, family, retry.seed, self.device), len(table)
        self.plan = planned_attempts(retry, distinct, len(self.networks) - 1)
        if any(attempt.noise for attempt in self.plan):
            self.noise = noise_table(retry.seed, 2 * int(np.prod(shapes[0])), self.device)
        if any(attempt.initial_state for attempt in self.plan):
            self.starts = start_table(retry.seed, self.device)
        self.needs = self.needs | {"residual"}

    def _tensor(self, values: list[int] | list[bool]) -> Tensor:
        return torch.tensor(values, device=self.device)

    def chunk_size(self, facts: int = 0) -> int:
        """Puzzles on the device at once."""
        attempts = len(self.plan)
        cells = self.code.family.cells
        each = cells * (2 + (attempts if self.keep else 1)) + 24 * attempts + 8 * facts + 32
        return max(self.slots, CHUNK_BYTES // each)


class _Slots:
    """B slots: which puzzle each is at, in which attempt, and the network's carry."""

    def __init__(self, loop: OuterLoop, on_device: DevicePuzzles, first: int, total: int) -> None:
        count = min(loop.slots, len(on_device))
        self.loop, self.on_device, self.first, self.total = loop, on_device, first, total
        device = loop.device
        self.row = torch.arange(count, device=device)  # of the puzzle in the chunk
        self.busy = torch.ones(count, dtype=torch.bool, device=device)
        self.attempt = torch.zeros(count, dtype=torch.int64, device=device)
        self.spent = torch.zeros(count, dtype=torch.int64, device=device)  # steps of the attempts before this one
        self.choose_symmetries()
        self.carry = Carry.start(
            loop.networks[0],
            loop.code,
            self.questions(),
            on_device.puzzle_ids[self.row],
            self.identity(),
            loop.strategy.memory_size,
        )

    def __len__(self) -> int:
        return len(self.row)

    @property
    def puzzle(self) -> Tensor:
        """Index of each slot's puzzle among all puzzles, int64[B]."""
        return self.row + self.first

    def identity(self) -> Tensor:
        """A number for puzzle and attempt, by which random strategies draw; for the first attempt the puzzle's index."""
        return self.puzzle + self.attempt * self.total

    def choose_symmetries(self) -> None:
        table = self.loop.symmetries
        self.symmetry = None if table is None else table.rows(self.puzzle, self.loop.symmetry_use[self.attempt])

    def questions(self) -> Tensor:
        """What each slot's network is shown, uint8[B, cells]."""
        plain = self.on_device.questions[self.row]
        table = self.loop.symmetries
        return plain if table is None or self.symmetry is None else table.apply(self.symmetry, plain)

    def undone(self, drafts: Tensor) -> Tensor:
        """Drafts, uint8[B, cells], as answers to the puzzles as they were given."""
        table = self.loop.symmetries
        return drafts if table is None or self.symmetry is None else table.undo(self.symmetry, drafts)

    def solved(self, _: Tensor, drafts: Tensor) -> Tensor:
        return self.on_device.solved(self.row, self.undone(drafts))

    # -- the network ---------------------------------------------------------------------------------------------------

    def step(self, state: State, tokens: Tensor, puzzle_ids: Tensor | None = None) -> tuple[State, StepOutput]:
        """One step of the network that each slot's attempt is for."""
        state = self.disturbed(state)
        networks = self.loop.networks
        if len(networks) == 1:
            return networks[0].step(state, tokens, puzzle_ids)
        member = self.loop.member[self.attempt]
        parts = []
        for number, network in enumerate(networks):
            rows = torch.nonzero(member == number).squeeze(1)
            if len(rows):
                some = State(state.z_h[rows], state.z_l[rows])
                parts.append((rows, network.step(some, tokens[rows], None if puzzle_ids is None else puzzle_ids[rows])))
        back = torch.argsort(torch.cat([rows for rows, _ in parts]))

        def joined(pieces: list[Tensor]) -> Tensor:
            return torch.cat(pieces)[back]

        new = State(joined([s.z_h for _, (s, _) in parts]), joined([s.z_l for _, (s, _) in parts]))
        outputs = [output for _, (_, output) in parts]
        logits = joined([output.logits for output in outputs])
        q_halt, q_continue = joined([o.q_halt for o in outputs]), joined([o.q_continue for o in outputs])
        return new, StepOutput(logits, q_halt, q_continue)

    def disturbed(self, state: State) -> State:
        """The state with the noise of this step, in the slots whose attempt has noise."""
        table, retry = self.loop.noise, self.loop.retry
        if table is None or retry is None:
            return state
        key = attempt_keys(retry.seed, NOISE_STREAM, self.puzzle, self.attempt)
        shape = (2, *state.z_h.shape[1:])  # one window holds the noise of both parts
        noise = table.windows(hashed_integers(NOISE_STREAM, key, self.carry.step), shape)
        noise = noise * (retry.sigma * self.loop.noisy[self.attempt]).view(-1, 1, 1, 1)
        noise = noise.to(state.z_h.dtype)
        return State(
            state.z_h + noise[:, 0] if retry.noise_on in ("z_h", "both") else state.z_h,
            state.z_l + noise[:, 1] if retry.noise_on in ("z_l", "both") else state.z_l,
        )

    # -- coming and going ----------------------------------------------------------------------------------------------

    def begin(self, rows: Tensor) -> None:
        """Begin the attempt that is set in the slots of the mask bool[B]. No host synchronisation."""
        loop, carry = self.loop, self.carry
        self.choose_symmetries()
        ids = self.on_device.puzzle_ids[self.row]
        network = loop.networks[0]
        carry.restart(network, loop.code, rows, self.questions(), ids, self.identity())
        if len(loop.networks) > 1:  # each network has a start of its own
            member = loop.member[self.attempt]
            for number, other in enumerate(loop.networks[1:], start=1):
                carry.state = other.reset_state(carry.state, rows & (member == number))
        if loop.starts is not None and loop.retry is not None:
            key = attempt_keys(loop.retry.seed, START_STREAM, self.puzzle, self.attempt)
            # a vector for z_H and one for z_L, the same at all positions, as the networks' fixed starts are
            starts = loop.starts.windows(key, (2, 1, carry.state.z_h.shape[-1])).to(carry.state.z_h.dtype)
            random = (rows & loop.random_start[self.attempt]).view(-1, 1, 1)
            carry.state = State(
                torch.where(random, starts[:, 0], carry.state.z_h), torch.where(random, starts[:, 1], carry.state.z_l)
            )

    def take(self, rows: Tensor) -> None:
        """Keep the slots at the index tensor `rows` alone."""
        self.carry = self.carry.take(rows)
        self.row, self.busy, self.attempt, self.spent = self.row[rows], self.busy[rows], self.attempt[rows], self.spent[rows]
        if self.symmetry is not None:
            self.symmetry = self.symmetry[rows]


@torch.inference_mode()
def attempt_in_slots(
    loop: OuterLoop, on_device: DevicePuzzles, first: int, total: int, progress: Callable[[int], None] | None = None
) -> tuple[Attempts, bool]:
    """All attempts at the puzzles `on_device`, and whether Ctrl-C cut them short.

    Args:
        first: index of the first of them among all `total` puzzles; what chance does depends on the index.
        progress: called with the number of finished puzzles of these now and then.
    """
    count, attempts, device = len(on_device), len(loop.plan), loop.device
    cells = loop.code.family.cells
    kept = attempts if loop.keep else 1
    budget = None if loop.retry is None else loop.retry.budget
    # One entry more than there is room for: what idle and thinking slots write goes there, and is thrown away.
    steps = torch.zeros(count * attempts + 1, dtype=torch.int64, device=device)
    q_values = torch.zeros(count * attempts + 1, 2, device=device)
    residuals = torch.zeros(count * attempts + 1, device=device)
    accepted = torch.zeros(count * attempts + 1, dtype=torch.bool, device=device)
    drafts = torch.zeros(count * kept + 1, cells, dtype=torch.uint8, device=device)
    best = torch.full((count + 1,), -torch.inf, device=device)
    winners = torch.zeros(count + 1, dtype=torch.int64, device=device)
    done = torch.zeros(count + 1, dtype=torch.bool, device=device)

    slots = _Slots(loop, on_device, first, total)
    waiting = torch.tensor(len(slots), device=device)  # the next puzzle to enter
    between_looks = STEPS_BETWEEN_LOOKS.get(device.type, STEPS_BETWEEN_LOOKS_ELSEWHERE)
    taken, interrupted = 0, False
    try:
        while True:
            carry = slots.carry
            thought = think_one_step(slots, loop.code, carry, loop.needs, loop.max_steps, slots.solved)
            limit = loop.most_steps[slots.attempt]
            if budget is not None:
                limit = torch.minimum(limit, budget - slots.spent)
            halting = loop.strategy.halt(thought) & (carry.step >= loop.least_steps[slots.attempt])
            halted = (halting | (carry.step >= limit)) & slots.busy
            draft = slots.undone(carry.draft)
            spent = slots.spent + carry.step
            q_halt = torch.sigmoid(thought.q_halt)

            place = torch.where(halted, slots.row * attempts + slots.attempt, count * attempts)
            steps[place] = carry.step
            q_values[place] = torch.stack((q_halt, torch.sigmoid(thought.q_continue)), dim=1)
            if thought.residual is not None:
                residuals[place] = thought.residual
            finished = halted & (slots.attempt + 1 >= attempts)
            if budget is not None:
                finished = finished | (halted & (spent >= budget))
            if loop.keep:
                drafts[place] = draft
            else:
                better = halted & ((slots.attempt == 0) | (q_halt > best[slots.row]))
                if loop.stop_when_verified:
                    verified = on_device.solved(slots.row, draft) & halted
                    accepted[place] = verified
                    better, finished = better | verified, finished | verified
                place = torch.where(better, slots.row, count)
                drafts[place], best[place], winners[place] = draft, q_halt, slots.attempt
            done[torch.where(finished, slots.row, count)] = True  # last: what is done is all there, also after Ctrl-C

            # the k-th finished slot takes the k-th waiting puzzle; slots beyond the last puzzle fall idle
            entering = waiting + torch.cumsum(finished, 0) - 1
            waiting = waiting + finished.sum()
            slots.busy = slots.busy & ~(finished & (entering >= count))
            slots.row = torch.where(finished, entering.clamp(0, count - 1), slots.row)
            slots.attempt = torch.where(finished, 0, slots.attempt + (halted & ~finished))
            slots.spent = torch.where(finished, 0, torch.where(halted, spent, slots.spent))
            slots.begin(halted)

            taken += 1
            if taken % between_looks == 0:
                active = int(slots.busy.sum())
                if progress is not None:
                    progress(min(int(waiting), count) - active)
                if active == 0:
                    break
                if active <= len(slots) // 2:  # drain: no puzzle waits any more, so idle slots are left behind
                    slots.take(torch.nonzero(slots.busy).squeeze(1))
    except KeyboardInterrupt:
        interrupted = True

    whole = done[:-1].cpu().numpy()  # an interrupted puzzle counts as not begun

    def table(values: Tensor) -> np.ndarray:
        return values[:-1].view(count, attempts).cpu().numpy() * whole[:, None]

    result = Attempts(
        steps=table(steps),
        halt_values=table(q_values[:, 0].contiguous()),
        continue_values=table(q_values[:, 1].contiguous()),
        residuals=table(residuals),
        verified=table(accepted),
        drafts=drafts[:-1].view(count, kept, cells).cpu().numpy(),
        winners=winners[:-1].cpu().numpy() * whole,
        finished=whole,
    )
    return result, interrupted


def attempts_by_chunk(
    loop: OuterLoop,
    puzzles: Puzzles,
    to_device: Callable[[Puzzles], DevicePuzzles],
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Attempts, DevicePuzzles, bool]]:
    """The attempts at `puzzles`, chunk by chunk; the last item says True where Ctrl-C ended them."""
    size = loop.chunk_size(len(puzzles.facts))
    for first in range(0, len(puzzles), size):
        chunk = puzzles.take(slice(first, first + size))
        facts = {name: values for name, values in chunk.facts.items() if values.ndim == 1}  # demonstrations stay behind
        chunk = Puzzles(chunk.questions, chunk.answers, chunk.ids, chunk.ratings, facts)
        on_device = to_device(chunk)

        def report(finished: int, first: int = first) -> None:
            if progress is not None:
                progress(first + finished)

        attempts, interrupted = attempt_in_slots(loop, on_device, first, len(puzzles), report)
        yield attempts, on_device, interrupted
        if interrupted:
            return


def solve_in_slots(
    loop: OuterLoop,
    puzzles: Puzzles,
    to_device: Callable[[Puzzles], DevicePuzzles],
    progress: Callable[[int], None] | None = None,
) -> Solutions:
    """Solve all `puzzles`.

    Args:
        to_device: puts puzzles on the networks' device.
        progress: called with the number of finished puzzles now and then.

    Returns:
        `RetrySolutions` where the loop has a `Retry`.

    Raises:
        SolvingInterrupted: Ctrl-C; it carries what was done by then.
    """
    parts: list[RetrySolutions] = []
    interrupted = False
    try:
        for attempts, on_device, cut_short in attempts_by_chunk(loop, puzzles, to_device, progress):
            parts.append(chosen(attempts, loop.rule, loop.names, on_device))
            interrupted = cut_short
    except KeyboardInterrupt:
        interrupted = True
    solutions = joined(parts, puzzles, loop.names)
    result = solutions if loop.retry is not None else without_retries(solutions)
    if interrupted:
        raise SolvingInterrupted(result)
    return result


def chosen(attempts: Attempts, rule: str | None, names: tuple[str, ...], on_device: DevicePuzzles) -> RetrySolutions:
    """The drafts that `rule` hands in, one of each puzzle's attempts; None: the first.

    The answers on the device are asked only for `verified`, after the choice (and by the rule "verifier" of a family with rules).
    """
    count = len(attempts.steps)
    every = np.arange(count)
    winners: np.ndarray
    accepted: np.ndarray
    made = attempts.steps > 0
    spent = attempts.steps.cumsum(axis=1)
    kept_all = attempts.drafts.shape[1] == attempts.steps.shape[1]
    number = made.sum(axis=1)
    accepted = np.ones(count, dtype=bool)
    if rule is None:
        winners, number = np.zeros(count, np.int64), np.minimum(number, 1)
    elif rule == "verifier":
        accepted = np.asarray(attempts.verified.any(axis=1))
        by_q = np.where(made, attempts.halt_values, -np.inf).argmax(axis=1)
        winners = np.where(accepted, attempts.verified.argmax(axis=1), by_q) if kept_all else attempts.winners
        number = np.where(accepted, winners + 1, number)
    else:
        winners = select(rule, attempts.drafts, made, attempts.halt_values, attempts.residuals)
    accepted &= attempts.finished
    drafts = attempts.drafts[every, winners if kept_all else 0]
    drafts = np.where(attempts.finished[:, None], drafts, on_device.questions.cpu().numpy())
    steps = np.where(number > 0, spent[every, np.maximum(number, 1) - 1], 0)
    return RetrySolutions(
        drafts=drafts.reshape(count, *on_device.code.family.shape),
        verified=solved_in_parts(on_device, drafts) & attempts.finished,
        steps=steps,
        halt_values=attempts.halt_values[every, winners],
        continue_values=attempts.continue_values[every, winners],
        finished=attempts.finished,
        accepted=accepted,
        attempts=number,
        winners=winners,
        plan=names,
        accepted_attempts=np.where(accepted, number, 0),
        accepted_steps=np.where(accepted, steps, 0),
    )


def solved_in_parts(on_device: DevicePuzzles, drafts: np.ndarray) -> np.ndarray:
    """Which drafts, uint8[N, cells], solve their puzzle on the device: bool[N]."""
    if not len(drafts):
        return np.zeros(0, dtype=bool)
    tensor = as_tensor(drafts, on_device.questions.device)
    rows = torch.arange(len(drafts), device=tensor.device)
    return torch.cat([on_device.solved(part, tensor[part]) for part in rows.split(4096)]).cpu().numpy()


def solvable_puzzles(family: Family, questions: np.ndarray) -> tuple[Puzzles, np.ndarray]:
    """The puzzles among `questions`, uint8[N, H, W], that the family can solve, and which they are, bool[N].

    Raises:
        PuzzleError: the family makes no puzzle of a bare question (ARC).
    """
    rows = np.ones(len(questions), dtype=bool)

    def find(first: int, last: int) -> None:
        """Unmark the bad ones among first..last - 1, halving: the family names only the first and tells no more."""
        try:
            family.puzzles_from_questions(questions[first:last])
        except PuzzleError:
            if last - first == 1:
                rows[first] = False
                return
            middle = (first + last) // 2
            find(first, middle)
            find(middle, last)

    if family.has_rules:
        find(0, len(questions))
    return family.puzzles_from_questions(questions[rows]), rows


def as_tensor(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy of `values` on `device`."""
    return torch.from_numpy(np.array(values)).to(device)
