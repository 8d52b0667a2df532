"""From a composed configuration to objects, and every mistake in it to one line.

jsonargparse checks names and types against the constructors themselves, so there is no schema to keep in step, and a
class from anywhere that the user trusts (`multiseg.trust`) can be named by its path.
"""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentError
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from multiseg.configuration import Config
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelSpace
from multiseg.loading.datamodule import DataModule
from multiseg.methods.base import SegmentationMethod
from multiseg.taxonomy.relations import Relation, read_relations
from multiseg.trust import guarded, is_trusted, refusal, refused_path

#: How the names of Lightning's strategies begin that leave each process a part of the weights only.
_SHARDING = ("fsdp", "deepspeed", "model_parallel")


@dataclass(frozen=True)
class TrainerSettings:
    """How a run is trained, whatever the method and the data.

    Args:
        steps: optimiser updates.
        seed: of weights, sampling, augmentation and dropout.
        devices: how many processes, one an accelerator (or, on the CPU, one a process); "auto": all accelerators, or
            one CPU process.
        accelerator, nodes: as Lightning's Trainer has them.
        strategy: as Lightning's Trainer has it; "auto": DDP where there are several processes. None that shards the
            weights: banks, momentum encoders and the norms of absent datasets are used outside of a forward pass.
        precision: as Lightning's Trainer has it; "auto": bfloat16 autocast where the hardware computes in it, else
            float32.
        accumulate: batches an update; their gradients are averaged.
        gradient_clip: largest norm of the gradient of all parameters; None for no clipping.
        val_every: steps between validations; None: four a run. There is always one at the end.
        checkpoint_every: steps between checkpoints for `--resume`; None: at every validation.
        log_every: steps between lines of the log.
        compile: compile the network with torch.compile.
        deterministic: use deterministic algorithms only; slower on accelerators, and an operation without one fails.
        check_files: files of each dataset that are read as a check before training starts, evenly spread over the
            split;
            None: all.
    """

    steps: int = 700
    seed: int = 0
    devices: int | Literal["auto"] = "auto"
    accelerator: str = "auto"
    strategy: str = "auto"
    nodes: int = 1
    precision: str = "auto"
    accumulate: int = 1
    gradient_clip: float | None = None
    val_every: int | None = None
    checkpoint_every: int | None = None
    log_every: int = 10
    compile: bool = False
    deterministic: bool = False
    check_files: int | None = 200

    def __post_init__(self) -> None:
        for key in ("steps", "accumulate", "log_every", "val_every", "checkpoint_every"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise MultisegError(f"trainer.{key} must be at least 1, not {value}.")
        if self.strategy.startswith(_SHARDING):
            raise MultisegError(
                f"trainer.strategy: {self.strategy} shards the weights, which no method here allows: leave it out."
            )
        if self.seed < 0:
            raise MultisegError(f"trainer.seed must be at least 0, not {self.seed}.")


@dataclass(frozen=True)
class Initialization:
    """What a run starts from.

    Args:
        weights: another run's folder, or a file of weights; None: as the network initialises itself.
        part: what to take of it: the backbone, or the network (backbone and decoder). Classifiers always start anew.
        norms: where the weights have batch norms of several datasets: whose are taken by an ordinary network, or by a
            dataset that has none of its own there.
    """

    weights: Path | None = None
    part: Literal["backbone", "network"] = "backbone"
    norms: str | None = None

    def __post_init__(self) -> None:
        if self.norms is not None and self.weights is None:
            raise MultisegError("init.norms chooses among the batch norms of init.weights, which are not given.")


@dataclass(frozen=True)
class Experiment:
    """A configuration turned into objects."""

    data: DataModule
    method: SegmentationMethod
    init: Initialization
    trainer: TrainerSettings


class SavedSpaces:
    """Stands for the data where a saved model is loaded: only its label spaces are known."""

    def __init__(self, spaces: list[dict[str, Any]]) -> None:
        self.spaces = [LabelSpace.from_json(entry) for entry in spaces]


def resolve(config: Config) -> Config:
    """The configuration with every default filled in, checked. What it returns resolves to itself.

    Raises:
        MultisegError: a key, class or type is wrong; the message names it and the nearest valid one.
    """
    datasets = (config.get("data") or {}).get("datasets") or {}
    # a recipe may say how a dataset is to be read, and leave it to the command line where it lies
    homeless = [name for name, entry in datasets.items() if isinstance(entry, dict) and not entry.get("root")]
    if len(homeless) == len(datasets):
        raise MultisegError("no dataset: add --data NAME=ROOT, or a recipe with data.datasets.")
    if homeless:
        raise MultisegError(f"nothing says where the dataset '{homeless[0]}' lies: add --data {homeless[0]}=ROOT.")
    parser = _experiment_parser()
    parsed = _parse(parser, config)
    with guarded():
        return _plain(parser, parsed)


def build(config: Config) -> Experiment:
    """The objects of a configuration. Weights are drawn from torch's random state.

    Raises:
        MultisegError: as `resolve`, or an object refuses its arguments.
    """
    parser = _experiment_parser()
    made = _instantiate(parser, _parse(parser, config))
    return Experiment(made.data, made.method, made.init, made.trainer)


def build_method(method: Config, spaces: list[LabelSpace]) -> SegmentationMethod:
    """A method alone, without data: what a saved model is loaded into."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SavedSpaces, "data")
    _add_method(parser)
    made = _instantiate(parser, _parse(parser, {"data": {"spaces": [s.to_json() for s in spaces]}, "method": method}))
    built: SegmentationMethod = made.method
    return built


def _experiment_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataModule, "data")
    _add_method(parser)
    parser.add_class_arguments(Initialization, "init")
    parser.add_class_arguments(TrainerSettings, "trainer")
    parser.link_arguments("trainer.seed", "data.seed")
    return parser


def _add_method(parser: ArgumentParser) -> None:
    parser.add_subclass_arguments(SegmentationMethod, "method", required=True)
    parser.link_arguments("data", "method.init_args.spaces", compute_fn=_spaces, apply_on="instantiate")


def _spaces(data: Any) -> list[LabelSpace]:
    spaces: list[LabelSpace] = data.spaces
    return spaces


def _parse(parser: ArgumentParser, config: Config) -> Namespace:
    if not (config.get("method") or {}).get("class_path"):
        raise MultisegError("no method: name a recipe that has one, such as multi_head (see `multiseg recipes list`).")
    config = _with_relations(deepcopy(config))  # a copy: jsonargparse writes into what it parses
    try:
        with guarded():
            parsed: Namespace = parser.parse_object(config)
    except (ArgumentError, ValueError) as error:
        raise MultisegError(explain(str(error))) from None
    _refuse_functions(parsed)
    return parsed


def _refuse_functions(value: Any, key: str = "") -> None:
    """A function is of no use in a configuration, unless it is the user's own, and not meant to be called by files."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        for name, entry in value.items():
            _refuse_functions(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            _refuse_functions(entry, f"{key}[{place}]")
    elif inspect.isroutine(value) and not is_trusted(path := f"{value.__module__}.{value.__qualname__}"):
        raise MultisegError(f"{key.replace('init_args.', '')}: '{path}' is a function, and a class is expected.")


def _with_relations(config: Config) -> Config:
    """`method.relations` as they stand in the file that is named: a run must not depend on what becomes of it."""
    arguments = config["method"].get("init_args") or {}
    if not isinstance(arguments, dict):
        raise MultisegError(f"method.init_args must hold keys, not '{arguments}'.")
    given = arguments.get("relations")
    if isinstance(given, str):
        arguments["relations"] = [asdict(relation) for relation in read_relations(Path(given).expanduser())]
    elif given is not None:
        keys = sorted(field.name for field in fields(Relation))
        rows = given if isinstance(given, list) else [given]
        if not all(isinstance(row, dict) and sorted(row) == keys for row in rows):
            raise MultisegError(f"method.relations must be the path of a TSV, or a list of entries {', '.join(keys)}.")
    return config


def _instantiate(parser: ArgumentParser, parsed: Namespace) -> Namespace:
    try:
        with guarded():
            made: Namespace = parser.instantiate(parsed)
    except (ArgumentError, ValueError) as error:
        raise MultisegError(explain(str(error))) from None
    return made


def _plain(parser: ArgumentParser, parsed: Namespace) -> Config:
    import yaml

    plain: Config = yaml.safe_load(parser.dump(parsed, skip_unset=False, skip_link_targets=True))
    return plain


def explain(message: str) -> str:
    """Jsonargparse's account of a mistake, many lines with every nesting level, as one: the key, the fault, the
    remedy.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    key = ".".join(keys) or "the configuration"
    if (refused := refused_path(message)) is not None:
        return f"{key}: {refusal(refused)}"
    classes = re.findall(r"given class_path '([^']+)'|class_path='([^']+)'", message)
    class_path = next((first or second for first, second in reversed(classes)), None)
    if match := re.search(
        r"Option '([^']+)' is not accepted|Group '([^']+)' does not accept option '([^']+)'", message
    ):
        place, (option, *below) = match[2] or key, (match[1] or match[3]).split(".")
        if class_path and match[2]:  # settings that an argument of a class consists of
            place, valid = f"{key}.{place}", _settings(class_path, place)
        else:
            valid = _options(class_path) if class_path else _group_options(place)
        if option in valid and below:  # the fault lies deeper
            place, option = ".".join([place, option, *below[:-1]]), below[-1]
            valid = _group_options(place)
        return f"{place} has no key '{option}'; {did_you_mean(option, valid)}"
    if match := re.search(r"module '([^']+)' has no attribute '([^']+)'", message):
        valid = [name for name, value in vars(sys.modules.get(match[1], object)).items() if inspect.isclass(value)]
        return f"{key}: {match[1]} has no class '{match[2]}'; {did_you_mean(match[2], valid)}"
    if match := re.search(r"No module named '([^']+)'", message):
        return f"{key}: there is no module '{match[1]}' for the class path '{class_path}'."
    if match := re.search(r"Expected an? (.+?)\. Got value: (.+)", message):
        wanted = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", match[1])
        wanted = re.sub(r"Literal\[(.+?)\]", r"one of \1", wanted)
        return f"{key} must be {wanted}, not '{match[2].strip()[:80]}'."
    if match := re.search(r"[Kk]ey \"([^\"]+)\" is required|\"([^\"]+)\" is required", message):
        return f"{key}: '{match[1] or match[2]}' is missing."
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    # the last: what may be left out may also be null, which says nothing of what was given
    noise = ("Given value", "Subtypes", "Errors", "Parser key", "Does not", "Expected a <class 'NoneType'>")
    told = [line for line in lines if not line.startswith(noise)]
    return f"{key}: {' '.join(told[:2]) or message}"[:400]


def _bases(class_path: str) -> tuple[type, ...]:
    """A class and its bases, if it has been imported. It is not imported here: what a message of jsonargparse quotes
    may come from a file that nobody trusts.
    """
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return inspect.getmro(found) if inspect.isclass(found) else ()


def _options(class_path: str) -> list[str]:
    """Argument names of a class, those its bases take through **kwargs included."""
    names: list[str] = []
    for entry in _bases(class_path):
        if "__init__" in vars(entry) and entry is not object:
            names += [
                name
                for name in inspect.signature(vars(entry)["__init__"]).parameters
                if name not in ("self", "spaces", "in_channels", "strides")
            ]
    return [name for name in names if name not in ("common", "args", "kwargs")]


def _settings(class_path: str, argument: str) -> list[str]:
    """Names of the fields of an argument that is a dataclass, of a class or one of its bases."""
    for entry in _bases(class_path):
        kind = get_type_hints(vars(entry)["__init__"]).get(argument) if "__init__" in vars(entry) else None
        if kind is not None:
            kinds = [part for part in (kind, *get_args(kind)) if is_dataclass(part)]
            return [field.name for part in kinds for field in fields(part)]
    return []


def _group_options(place: str) -> list[str]:
    groups = {"data": DataModule, "init": Initialization, "trainer": TrainerSettings}
    first = place.split(".")[0]
    if place == "data.pipeline":
        from multiseg.loading.transforms import Pipeline

        return list(inspect.signature(Pipeline).parameters)
    return [name for name in inspect.signature(groups[first]).parameters if name != "seed"] if first in groups else []
