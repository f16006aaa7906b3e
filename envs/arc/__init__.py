"""ARC: tasks of ARC-AGI-1 and ARC-AGI-2 as puzzles on square canvases.

Example:
    tasks = load_tasks("arc-agi-1", "evaluation", max_size=20)
    puzzles = puzzles_from_tasks(tasks, size=20)
    verify(puzzles.answers, puzzles.answers).all()
"""

from hrm_gym.envs.arc.augmentation import Versions, hidden_tests, hide_answers, task_versions, training_puzzles
from hrm_gym.envs.arc.family import ArcFamily, demonstration_puzzles, puzzles_from_tasks, sample_translations
from hrm_gym.envs.arc.rules import OUTSIDE, crop, from_canvas, to_canvas, verify
from hrm_gym.envs.arc.submission import submission, write_submission
from hrm_gym.envs.arc.tasks import ArcTask, load_tasks

__all__ = [
    "OUTSIDE",
    "ArcFamily",
    "ArcTask",
    "Versions",
    "crop",
    "demonstration_puzzles",
    "from_canvas",
    "hidden_tests",
    "hide_answers",
    "load_tasks",
    "puzzles_from_tasks",
    "sample_translations",
    "submission",
    "task_versions",
    "to_canvas",
    "training_puzzles",
    "verify",
    "write_submission",
]
