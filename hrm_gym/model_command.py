"""`hrm-gym model`: model cards, the published layout, and the Hugging Face hub."""

from __future__ import annotations

import shutil
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hrm_gym.envs.errors import ConfigError

model_app = typer.Typer(
    help="Cards for trained agents; to and from the published layout and the Hugging Face hub.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True)

AgentArgument = Annotated[
    str,
    typer.Argument(help="A run folder, a saved agent's folder, the name of one that comes along, or OWNER/NAME on the hub."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


class Format(str, Enum):
    """How an agent lies on the disk."""

    own = "hrm-gym"
    published = "published"


class WeightsType(str, Enum):
    """How the numbers of the weights are written."""

    float32 = "float32"
    bfloat16 = "bfloat16"


DtypeOption = Annotated[
    WeightsType, typer.Option("--dtype", help="bfloat16 halves the file; read back, the weights are float32 again, rounded.")
]


@model_app.command()
def card(
    agent: AgentArgument,
    puzzles: Annotated[int, typer.Option(min=1, help="How many test puzzles.")] = 1000,
    attempts: Annotated[int, typer.Option(min=2, help="Attempts at a puzzle, for the accuracies with retries.")] = 32,
    source: Annotated[
        str | None,
        typer.Option(
            help="Other test puzzles, such as csv:PATH; without it the held-out split of what the agent was trained on."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in the card; without it the folder's.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Evaluate an agent and write its model card: README.md in its folder, and evaluation.json with all the figures."""
    from hrm_gym.agents.agent import find_agent
    from hrm_gym.comparing import agent_and_puzzles
    from hrm_gym.train.model_card import evaluate_for_card, write_card

    loaded, test = agent_and_puzzles(agent, puzzles, source, device)
    folder = find_agent(agent)
    command = f"hrm-gym model card {agent} --puzzles {puzzles} --attempts {attempts}" + (
        f" --source {source}" if source else ""
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=3 * len(test))
        name = name or (folder.parent if folder.name == "agent" else folder).resolve().name
        evaluation = evaluate_for_card(
            loaded, test, attempts, name, command, source, lambda finished: bar.update(task, completed=finished)
        )
    console.print(f"Written: {write_card(folder, name, loaded, evaluation)}")


@model_app.command()
def export(
    agent: AgentArgument,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    layout: Annotated[
        Format,
        typer.Option("--format", help="published: model.safetensors and config.json under the names of HRM's and TRM's code."),
    ] = Format.published,
    dtype: DtypeOption = WeightsType.float32,
) -> None:
    """Write an agent's weights and configuration as the published HRM and TRM code names them, or as an agent folder."""
    from hrm_gym.agents.agent import CARD_FILE, HRMAgent, find_agent, weights_type_of
    from hrm_gym.agents.exchange import export_published

    folder = find_agent(agent)
    if out.resolve() == folder.resolve():
        raise ConfigError(f"--out {out} is the agent's own folder; give another")
    loaded = HRMAgent.from_pretrained(folder, "cpu")
    if layout is Format.published:
        export_published(loaded, out, dtype.value)
    else:
        loaded.save(out, dtype.value)
        if (folder / CARD_FILE).is_file() and weights_type_of(folder) == weights_type_of(out):
            shutil.copyfile(folder / CARD_FILE, out / CARD_FILE)  # its figures are those of these weights
    console.print(f"Written: {out}")


@model_app.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(help="Published weights: .safetensors, or a torch state dict.")],
    config: Annotated[Path, typer.Option(help="The checkpoint's all_config.yaml, or its keys as JSON.")],
    out: Annotated[Path, typer.Option(help="The agent folder to write.")],
    family: Annotated[str, typer.Option(help="sudoku or maze.")] = "sudoku",
    size: Annotated[int, typer.Option(min=1, help="Side of the grid.")] = 9,
    halting: Annotated[str | None, typer.Option(help="A halting strategy; without it by the Q values.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of computing: float32, or bfloat16; without it as published.")] = None,
    dtype: DtypeOption = WeightsType.float32,
) -> None:
    """Make an agent folder from published HRM or TRM weights, for evaluate, compare, watch and all the rest."""
    from hrm_gym.agents.exchange import import_published

    import_published(file, config, family, size, halting, precision, "cpu").save(out, dtype.value)
    console.print(f"Written: {out}. Next: hrm-gym evaluate {out} --source csv:PATH")


@model_app.command()
def push(
    agent: AgentArgument,
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub; it is made if it is not there.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a model that is made.")] = None,
) -> None:
    """Upload an agent and its card to the hub; log in before with: hf auth login."""
    from hrm_gym.agents.agent import CARD_FILE, HRMAgent, find_agent, weights_type_of

    folder = find_agent(agent)
    readme = folder / CARD_FILE
    text = readme.read_text() if readme.is_file() else None
    if text is None:
        console.print(f"No card in {folder}; hrm-gym model card {agent} writes one.")
    loaded = HRMAgent.from_pretrained(folder, "cpu")
    address = loaded.push_to_hub(repo, private, card=text, weights_type=weights_type_of(folder))
    console.print(f"Pushed: {address}")
