"""`Retry`: how often, with which changes and until when a puzzle is tried again.

    agent.solve(puzzles, retry=Retry(attempts=32, perturb=("symmetry", "symmetry+noise"), accept="verifier"))
    agent.solve(puzzles, retry="vote(16)")

The first attempt is always the plain single pass. What the others change is a fixed plan (`planned_attempts`), the same for every
puzzle; what chance brings into an attempt is a function of seed, puzzle and attempt alone, never of the other puzzles or the slots.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hrm_gym.envs.errors import ConfigError

PERTURBATIONS = ("symmetry", "noise", "initial-state", "deeper", "ensemble")
LATENT_PERTURBATIONS = frozenset(
    {"noise", "initial-state", "deeper", "ensemble"}
)  # those that only an HRMAgent's network knows
RULES = ("verifier", "vote", "best-q", "residual")
LABEL_FREE_RULES = ("vote", "best-q", "residual")
NOISE_PLACES = ("z_h", "z_l", "both")
SINGLE_PASS = "single pass"
DEFAULT_ATTEMPTS = 32


@dataclass(frozen=True)
class Retry:
    """What the outer loop does with a puzzle that is not accepted at once.

    Attributes:
        attempts: K, the most attempts at a puzzle, the single pass counted; None: as many as `budget` allows.
        budget: the most steps of thought for a puzzle, all attempts together; the attempt that would pass it is cut short. None: no limit.
        perturb: what the attempts after the first change, used in turn. Each is one of PERTURBATIONS, or several joined by "+":
            "symmetry": a symmetry of the family on the question, undone on the draft; a puzzle meets no symmetry twice in a row of
            attempts before all have been used. "noise": normal noise on the latent state before each step (PTRM, 2605.19943).
            "initial-state": a truncated normal start of the latent state, as the fixed one was drawn. "deeper": `depth` times as many
            steps, and no halt before `max_steps`. "ensemble": one of the other agents given to `solve`, in turn.
        accept: "verifier": stop at the first draft that the rules accept; where none is, the draft with the highest Q-halt is handed in
            and marked as not accepted. "vote" (count, then mean sigmoid(Q-halt)), "best-q", "residual" (least change of the latent state
            in the last step): make all attempts and choose without labels or rules.
        sigma: standard deviation of the noise, above 0. PTRM: Sudoku 0.3, mazes 1.0, ARC 0.2.
        noise_on: "z_h", "z_l" or "both".
        depth: of "deeper", above 1.
        seed: of everything random, 0 to 2^31 - 1.

    Raises:
        ConfigError: a value outside its range, or an unknown name.
    """

    attempts: int | None = DEFAULT_ATTEMPTS
    budget: int | None = None
    perturb: tuple[str, ...] = ("symmetry",)
    accept: str = "verifier"
    sigma: float = 0.3
    noise_on: str = "both"
    depth: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("attempts", "budget"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} is {value!r}; expected a whole number from 1 up, or None")
        if self.attempts is None and self.budget is None:
            raise ConfigError("attempts and budget are both None; give one of them, or retries would have no end")
        if isinstance(self.perturb, str) or not self.perturb:
            raise ConfigError(f"perturb is {self.perturb!r}; expected a tuple of names, such as ('symmetry', 'symmetry+noise')")
        object.__setattr__(self, "perturb", tuple(self.perturb))
        for item in self.perturb:
            parts = item.split("+") if isinstance(item, str) else [item]
            for part in parts:
                if part not in PERTURBATIONS:
                    raise ConfigError(
                        f"perturbation {item!r} is unknown; expected {', '.join(PERTURBATIONS)}, or several joined by '+'"
                    )
            if len(set(parts)) < len(parts):
                raise ConfigError(f"perturbation {item!r} names a part twice; name it once")
        if self.accept not in RULES:
            raise ConfigError(f"accept is {self.accept!r}; expected one of {', '.join(RULES)}")
        if not 0.0 < self.sigma < float("inf"):
            raise ConfigError(f"sigma is {self.sigma}; expected a number above 0")
        if self.noise_on not in NOISE_PLACES:
            raise ConfigError(f"noise_on is {self.noise_on!r}; expected one of {', '.join(NOISE_PLACES)}")
        if not 1.0 < self.depth < float("inf"):
            raise ConfigError(f"depth is {self.depth}; expected a number above 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed is {self.seed!r}; expected a whole number from 0 to 2147483647")

    @property
    def parts(self) -> frozenset[str]:
        """The perturbations that occur in `perturb`."""
        return frozenset(part for item in self.perturb for part in item.split("+"))

    @staticmethod
    def parse(text: str) -> Retry:
        """`"RULE"`, `"RULE(K)"` or `"RULE(K, PERTURBATION, ...)"`: "verifier(32)", "vote(16, symmetry, symmetry+noise)".

        Raises:
            ConfigError: it does not read so.
        """
        rule, bracket, rest = text.strip().partition("(")
        fields = [field.strip() for field in rest[:-1].split(",") if field.strip()] if bracket else []
        if rule.strip() not in RULES or (bracket and (not rest.endswith(")") or not fields)):
            raise ConfigError(
                f"retry {text!r} is not understood; write {', '.join(RULES)}, with the attempts as in verifier(32)"
            )
        if not fields:
            return Retry(accept=rule.strip())
        if not fields[0].isdecimal():
            raise ConfigError(
                f"retry {text!r} has {fields[0]!r} for its attempts; write a whole number first, as in verifier(32)"
            )
        retry = Retry(attempts=int(fields[0]), accept=rule.strip())
        return Retry(attempts=retry.attempts, accept=retry.accept, perturb=tuple(fields[1:]) or retry.perturb)


def as_retry(retry: Retry | str) -> Retry:
    """A `Retry` from its text; a `Retry` is returned as it is."""
    return retry if isinstance(retry, Retry) else Retry.parse(retry)


@dataclass(frozen=True)
class Attempt:
    """What one attempt of the plan changes.

    Attributes:
        name: "single pass" or the entry of `Retry.perturb`.
        symmetry: which use of a symmetry this is, from 0; -1: none.
        noise, initial_state, deeper: whether.
        member: 0: the agent itself; n: the n-th of the others.
    """

    name: str = SINGLE_PASS
    symmetry: int = -1
    noise: bool = False
    initial_state: bool = False
    deeper: bool = False
    member: int = 0


def planned_attempts(retry: Retry, symmetries: int, others: int) -> list[Attempt]:
    """The attempts of `retry`, in order, the single pass first.

    An attempt that would only repeat an earlier one (a maze has but 7 other symmetries, and neither noise nor a random start makes a
    difference) is left out, so the list may be shorter than K.

    Args:
        symmetries: how many different ones there are beside the identity.
        others: other agents of an ensemble.
    """
    # each attempt costs a step at least, so a budget without K is a K
    most = min(number for number in (retry.attempts, retry.budget) if number is not None)
    plan = [Attempt()]
    seen = {(-1, False, 0)}
    used_symmetries = used_others = repeats = 0
    for item in itertools.cycle(retry.perturb):
        if len(plan) >= most or repeats > len(retry.perturb) * max(1, symmetries) * max(1, others):
            break
        parts = item.split("+")
        attempt = Attempt(
            name=item,
            symmetry=used_symmetries if "symmetry" in parts and symmetries else -1,
            noise="noise" in parts,
            initial_state="initial-state" in parts,
            deeper="deeper" in parts,
            member=1 + used_others % others if "ensemble" in parts else 0,
        )
        used_symmetries += attempt.symmetry >= 0
        used_others += attempt.member > 0
        which = attempt.symmetry % symmetries if attempt.symmetry >= 0 else -1
        signature = (which, attempt.deeper, attempt.member)
        random = attempt.noise or attempt.initial_state
        if not random and signature in seen:
            repeats += 1
            continue
        if not random:
            seen.add(signature)
        repeats = 0
        plan.append(attempt)
    return plan
