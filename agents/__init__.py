"""Networks that think in cycles, rules for when to stop, and the agent that plays the environments with them."""

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.halting import HaltingStrategy, register_strategy
from hrm_gym.agents.loading import load_agent
from hrm_gym.agents.published import load_published
from hrm_gym.agents.retry import Retry
from hrm_gym.agents.solutions import Solutions
from hrm_gym.agents.written_out import WrittenOutAgent

__all__ = [
    "HRMAgent",
    "HaltingStrategy",
    "Retry",
    "Solutions",
    "WrittenOutAgent",
    "load_agent",
    "load_published",
    "register_strategy",
]
