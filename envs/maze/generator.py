"""Random mazes, compiled. Puzzle i is a pure function of its seed, whatever else is in the batch.

Recipes:
    walls: every cell is a wall with the same chance, drawn anew for each maze from 92/256 to 102/256 (0.36 to 0.40), just
        below where the open cells fall apart into islands (0.41 in an endless grid): there shortest paths are longest. Mazes
        are drawn until one has a shortest path of `min_path` moves or more. This is the kind of Maze-Hard (Wang et al. 2025,
        arXiv 2506.21734, after Lehnert et al. 2024, arXiv 2402.14083: random walls, 30 x 30, shortest path longer than
        110). Several shortest paths are usual. With the default `min_path` about one maze in a hundred is kept from size
        10 up: a millisecond of one core for a 30 x 30 maze.
    tree: a perfect maze by randomised depth-first search: one path between any two cells, so the answer is unique. Rooms lie
        on every second cell; an even size has one closed row and column, each on a random side.
    braid: a tree of which each dead end is opened into a neighbouring room with chance 1/2.

Start and goal: the start is a cell farthest from a random open cell, the goal is drawn from all cells `min_path` moves or more
away from it, and the two then change places with chance 1/2.
"""

from __future__ import annotations

import operator

import numpy as np
from numba import njit

from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.maze.solver import GOAL, START, run_in_threads, shortest_path_lengths, solve
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.splits import SPLITS, in_split

RECIPES = ("walls", "tree", "braid")
SMALLEST = 3  # the smallest side on which there is anything to find

_WALLS, _TREE, _BRAID = range(3)
_FEWEST_WALLS, _MOST_WALLS = 92, 102  # of 256
_CELLS_TRIED = 200_000_000  # cells drawn for one puzzle before giving up: a second or two
_SPLIT_ROUNDS = 500  # puzzles drawn for one seed before a split is called empty: (4/5)^500 is nothing

_UNSEEN, _BLOCKED = -1, -2  # in a distance map
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


# -- kernels: SplitMix64 (Steele, Lea, Flood 2014), one generator for each puzzle and try ---------------------------------


@njit(cache=True, nogil=True)
def _mix(bits: np.uint64) -> np.uint64:
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True, nogil=True)
def _random_bits(state: np.ndarray) -> np.uint64:
    """64 random bits; `state` is uint64[1]."""
    state[0] += _GOLDEN
    return _mix(state[0])


@njit(cache=True, nogil=True)
def _random_below(state: np.ndarray, bound: int) -> int:
    """A random whole number 0..bound-1, bound below 2^32."""
    return int(np.int64(((_random_bits(state) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)))


# -- kernels: recipes. `is_open` is a flat map with a frame one cell wide, uint8[(size + 2)^2], 1 where open --------------


@njit(cache=True, nogil=True)
def _draw_walls(state: np.ndarray, is_open: np.ndarray, size: int) -> None:
    stride = size + 2
    wall_chance = np.uint64(_FEWEST_WALLS + _random_below(state, _MOST_WALLS - _FEWEST_WALLS + 1))
    bits, bytes_left = np.uint64(0), 0
    for y in range(1, size + 1):
        for cell in range(y * stride + 1, y * stride + 1 + size):
            if bytes_left == 0:
                bits, bytes_left = _random_bits(state), 8
            is_open[cell] = (bits & np.uint64(255)) >= wall_chance
            bits >>= np.uint64(8)
            bytes_left -= 1


@njit(cache=True, nogil=True)
def _random_neighbour(
    state: np.ndarray, is_open: np.ndarray, corner: int, stride: int, rooms: int, room: int, dead_end: bool
) -> int:
    """A random room beside `room`: one not carved yet, or (dead_end) one behind a closed wall; -1 if there is none."""
    y, x = room // rooms, room % rooms
    cell = corner + 2 * y * stride + 2 * x
    chosen, seen = -1, 0
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        if not (0 <= y + dy < rooms and 0 <= x + dx < rooms):
            continue
        away = 1 if dead_end else 2
        if is_open[cell + away * (dy * stride + dx)]:
            continue
        seen += 1
        if _random_below(state, seen) == 0:  # the k-th candidate replaces the choice with chance 1/k: all are equally likely
            chosen = room + dy * rooms + dx
    return chosen


@njit(cache=True, nogil=True)
def _draw_tree(state: np.ndarray, is_open: np.ndarray, size: int, stack: np.ndarray, braid: bool) -> None:
    stride = size + 2
    rooms = (size + 1) // 2
    spare = size - (2 * rooms - 1)  # 1 for an even size
    corner = (1 + _random_below(state, spare + 1)) * stride + 1 + _random_below(state, spare + 1)
    is_open[:] = 0
    stack[0] = _random_below(state, rooms * rooms)
    is_open[corner + 2 * (stack[0] // rooms) * stride + 2 * (stack[0] % rooms)] = 1
    depth = 1
    while depth > 0:
        room = stack[depth - 1]
        beside = _random_neighbour(state, is_open, corner, stride, rooms, room, False)
        if beside == -1:
            depth -= 1
            continue
        cell = corner + 2 * (room // rooms) * stride + 2 * (room % rooms)
        new_cell = corner + 2 * (beside // rooms) * stride + 2 * (beside % rooms)
        is_open[new_cell] = 1
        is_open[(cell + new_cell) // 2] = 1  # the wall between lies halfway in the flat map too
        stack[depth] = beside
        depth += 1
    if not braid:
        return
    for room in range(rooms * rooms):
        cell = corner + 2 * (room // rooms) * stride + 2 * (room % rooms)
        ways = is_open[cell - stride] + is_open[cell - 1] + is_open[cell + 1] + is_open[cell + stride]
        if ways == 1 and _random_below(state, 2) == 0:
            beside = _random_neighbour(state, is_open, corner, stride, rooms, room, True)
            if beside != -1:
                is_open[(cell + corner + 2 * (beside // rooms) * stride + 2 * (beside % rooms)) // 2] = 1


# -- kernels: start and goal ---------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _flood(is_open: np.ndarray, stride: int, source: int, distance: np.ndarray, queue: np.ndarray) -> int:
    """Distances from `source` to all it can reach, which `queue` then lists from near to far; returns how many those are."""
    for cell in range(is_open.size):
        distance[cell] = _UNSEEN if is_open[cell] else _BLOCKED
    distance[source] = 0
    queue[0] = source
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        further = distance[cell] + 1
        for step in (-stride, -1, 1, stride):
            neighbour = cell + step
            if distance[neighbour] == _UNSEEN:
                distance[neighbour] = further
                queue[tail] = neighbour
                tail += 1
    return tail


@njit(cache=True, nogil=True)
def _random_at_least(state: np.ndarray, distance: np.ndarray, queue: np.ndarray, reached: int, least: int) -> int:
    """A random cell at distance `least` or more; there must be one."""
    near = reached
    while near > 0 and distance[queue[near - 1]] >= least:
        near -= 1
    return queue[near + _random_below(state, reached - near)]


@njit(cache=True, nogil=True)
def _place_ends(
    state: np.ndarray, is_open: np.ndarray, size: int, min_path: int, distance: np.ndarray, queue: np.ndarray
) -> tuple[int, int]:
    """Start and goal in the flat map, or -1, -1 if none were found `min_path` moves apart."""
    stride = size + 2
    count = 0
    for cell in range(is_open.size):
        count += is_open[cell]
    if count <= min_path:
        return -1, -1
    pick = _random_below(state, count)
    source = 0
    while True:
        pick -= is_open[source]
        if pick < 0:
            break
        source += 1
    reached = _flood(is_open, stride, source, distance, queue)
    farthest = distance[queue[reached - 1]]
    if 2 * farthest < min_path:  # no two reached cells are further apart than that
        return -1, -1
    start = _random_at_least(state, distance, queue, reached, farthest)
    reached = _flood(is_open, stride, start, distance, queue)
    if distance[queue[reached - 1]] < min_path:
        return -1, -1
    goal = _random_at_least(state, distance, queue, reached, min_path)
    if _random_below(state, 2) == 0:
        return goal, start
    return start, goal


@njit(cache=True, nogil=True)
def _generate(
    seeds: np.ndarray,
    tries: np.ndarray,
    recipe: int,
    min_path: int,
    most_tries: int,
    questions: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fills questions; `tries` holds the number of the first try of each seed and is moved past the one taken, or to -1."""
    size = questions.shape[1]
    stride = size + 2
    is_open = np.zeros(stride * stride, np.uint8)
    distance = np.empty(stride * stride, np.int32)
    queue = np.empty(stride * stride, np.int32)
    state = np.empty(1, np.uint64)
    for row in range(first, last):
        seed = _mix(seeds[row] + _GOLDEN)
        from_try = tries[row]
        tries[row] = -1
        for attempt in range(from_try, from_try + most_tries):
            # mixed twice, so that neither neighbouring seeds nor neighbouring tries share a stretch of the generator
            state[0] = _mix(seed + np.uint64(attempt))
            if recipe == _WALLS:
                _draw_walls(state, is_open, size)
            else:
                _draw_tree(state, is_open, size, queue, recipe == _BRAID)
            start, goal = _place_ends(state, is_open, size, min_path, distance, queue)
            if start == -1:
                continue
            for y in range(size):
                for x in range(size):
                    questions[row, y, x] = is_open[(y + 1) * stride + x + 1]
            questions[row, start // stride - 1, start % stride - 1] = START
            questions[row, goal // stride - 1, goal % stride - 1] = GOAL
            tries[row] = attempt + 1
            break
        if tries[row] == -1:  # the whole call fails: no need to try the others
            return


# -- public ------------------------------------------------------------------------------------------------------------


def default_min_path(size: int) -> int:
    """The fewest moves of a shortest path where none are asked for: 4 * size - 9, and at most size * size / 3.

    At 30 x 30 that is 111, "longer than 110" as in Maze-Hard; at other sizes about as rare among random walls (one maze in a
    hundred) from size 10 up, and commoner below, where there are few mazes.
    """
    return min(4 * size - 9, size * size // 3)


def generate(
    count: int, size: int = 30, recipe: str = "walls", min_path: int | None = None, seed: int = 0, split: str = "all"
) -> Puzzles:
    """`count` mazes from one seed; the first of them do not depend on how many are asked for.

    Args:
        count: how many, 0 or more.
        seed: whole number, 0 or more.
        size, recipe, min_path, split: as for `generate_from_seeds`.

    Raises:
        ConfigError: an argument out of range, or mazes that cannot be found.
    """
    if count < 0:
        raise ConfigError(f"count is {count}; expected 0 or more mazes")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected a whole number, 0 or more")
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    return generate_from_seeds(seeds, size, recipe, min_path, split)


def generate_from_seeds(
    seeds: np.ndarray, size: int = 30, recipe: str = "walls", min_path: int | None = None, split: str = "all"
) -> Puzzles:
    """One maze for each seed.

    Args:
        seeds: uint64[N]; equal seeds give equal mazes.
        size: side length, 3 or more.
        recipe: one of RECIPES, see above.
        min_path: the fewest moves that a shortest path may have; None is `default_min_path(size)`.
        split: "train", "test" or "all": the side on which `hrm_gym.envs.splits` puts the answer.

    Returns:
        Puzzles with questions and answers uint8[N, size, size], the answers those of `solve`; ids "maze-30x30-walls-<seed>",
        ratings the shortest path's number of moves, and the same number as the fact `optimum`, int32[N].

    Raises:
        ConfigError: an unknown recipe or split, a size or min_path out of range, or mazes so rare that none was found.
    """
    seeds = np.ascontiguousarray(seeds, dtype=np.uint64)
    if seeds.ndim != 1:
        raise ConfigError(f"seeds have shape {seeds.shape}; expected one row of whole numbers, [N]")
    size = operator.index(size)
    if size < SMALLEST:
        raise ConfigError(f"maze size is {size}; expected {SMALLEST} or more cells on a side")
    if recipe not in RECIPES:
        raise ConfigError(f"maze recipe {recipe!r} is unknown; choose one of {', '.join(RECIPES)}")
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    min_path = default_min_path(size) if min_path is None else operator.index(min_path)
    if not 1 <= min_path < size * size:
        raise ConfigError(f"min_path is {min_path}; expected 1..{size * size - 1} moves in a {size} x {size} maze")

    questions = np.empty((len(seeds), size, size), np.uint8)
    answers = np.empty_like(questions)
    tries = np.zeros(len(seeds), np.int64)
    most_tries = max(1000, _CELLS_TRIED // size**2)
    least = 4 if recipe == "walls" else 64
    todo = np.arange(len(seeds))
    for _ in range(_SPLIT_ROUNDS):
        drawn, drawn_tries = np.empty((len(todo), size, size), np.uint8), tries[todo]
        arrays = (seeds[todo], drawn_tries, RECIPES.index(recipe), min_path, most_tries, drawn)
        run_in_threads(_generate, arrays, len(todo), least)
        if (drawn_tries == -1).any():
            raise ConfigError(
                f"no {recipe} maze of {size} x {size} with a shortest path of {min_path} moves or more came up in "
                f"{most_tries} tries; lower min_path (default {default_min_path(size)})"
            )
        questions[todo], tries[todo] = drawn, drawn_tries
        answers[todo] = solve(drawn)
        todo = todo[~in_split(answers[todo], split)]
        if len(todo) == 0:
            break
    else:
        raise ConfigError(
            f"no {recipe} maze of {size} x {size} fell into the {split} split; take a larger size, or split='all'"
        )
    optimum = shortest_path_lengths(questions)
    ids = [f"maze-{size}x{size}-{recipe}-{seed}" for seed in seeds.tolist()]
    return Puzzles(questions, answers, ids, optimum.astype(np.float32), {"optimum": optimum})
