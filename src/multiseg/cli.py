"""The command line: parse, call, print. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import multiseg
from multiseg.errors import Interrupted, MultisegError, SaidByAnotherError, did_you_mean
from multiseg.trust import trusted

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit code: 0; 1 where a check found faults; 2 for wrong input or what broke a run; 130 after Ctrl-C, 143
            where a cluster ended the job, 138 where it warned with SIGUSR1.
    """
    parser = make_parser()
    try:
        plain, overrides = split_overrides(parser, sys.argv[1:] if arguments is None else list(arguments))
        given = parser.parse_args(plain)
        given.overrides = overrides
        run: Command = given.run_command
        # a class that stands on the command line itself is one that the user names
        with trusted(*getattr(given, "trust", ()), *named_packages(overrides)):
            return run(given)
    except SaidByAnotherError:
        return 2
    except MultisegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interruption:
        if str(interruption):
            print(f"interrupted; {interruption}", file=sys.stderr)
        return 128 + interruption.number
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `multiseg … | head`
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="multiseg",
        description="One segmentation model from many datasets whose label sets disagree.",
        epilog="example: multiseg train multi_head --data camvid=/d/CamVid --data idd_lite=/d/idd20k_lite",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"multiseg {multiseg.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_synth(commands)
    _add_datasets(commands)
    _add_taxonomy(commands)
    _add_recipes(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_bench(commands)
    return parser


class Parser(argparse.ArgumentParser):
    """Its errors are ours: one line, with the nearest valid option."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            wrong = message.split(": ", 1)[1].split()[0]
            if wrong.startswith("-"):
                raise MultisegError(f"{self.prog} has no option '{wrong}'; {did_you_mean(wrong, option_names(self))}")
        if match := re.match(r"argument COMMAND: invalid choice: '(.+?)'", message):
            command = " ".join([*self.prog.split()[1:], match[1]])
            raise MultisegError(f"no command '{command}'; {did_you_mean(match[1], command_parsers(self))}")
        raise MultisegError(f"{self.prog}: {message} (see {self.prog} --help)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Unknown options are reported by the command they were given to, which knows the nearest valid one."""
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            given.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return given


def option_names(parser: argparse.ArgumentParser) -> list[str]:
    """Its long options."""
    return [name for action in parser._actions for name in action.option_strings if name.startswith("--")]


def command_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, or of each part of a command; none where it has no parts."""
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: inner for action in actions for name, inner in action.choices.items()}


def split_overrides(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Takes `--KEY VALUE` and `--KEY=VALUE` of any key out of the arguments of `train`.

    Raises:
        MultisegError: a key has no value.
    """
    if "train" not in arguments[:1]:
        return arguments, []
    known = option_names(command_parsers(parser)["train"])
    plain: list[str] = []
    pairs: list[tuple[str, str]] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or f"--{key}" in known:
            plain.append(argument)
            continue
        if not equals:
            if not queue:
                raise MultisegError(f"the option --{key} needs a value.")
            value = queue.pop(0)
        pairs.append((key, value))
    return plain, pairs


def named_packages(overrides: Sequence[tuple[str, str]]) -> list[str]:
    """The packages of the class paths among `--KEY VALUE`: of `--method.class_path mine.Net`, or of a `class_path`
    within the value.
    """
    paths = [value for key, value in overrides if key.endswith("class_path")]
    paths += [path for _, value in overrides for path in re.findall(r"\bclass_path: *['\"]?([\w.]+)", value)]
    packages = {path.split(".")[0] for path in paths if re.fullmatch(r"\w+(\.\w+)+", path)}
    return sorted(package for package in packages - {"multiseg", "jsonargparse"} if package.isidentifier())


def _add_trust(command: argparse.ArgumentParser) -> None:
    """Of every command that builds a model from what stands in a file."""
    command.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="code from outside multiseg that the recipe or the run may use, such as your own; may be repeated",
    )


def _command(commands: Any, name: str, run: Command, help_text: str, example: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, epilog=f"example: {example}", allow_abbrev=False
    )
    command.set_defaults(run_command=run, parser=command)
    return command


# demo


def _add_demo(commands: Any) -> None:
    command = _command(
        commands,
        "demo",
        _demo,
        "train one model on three synthetic datasets that disagree, and compare it with one model each",
        "multiseg demo --out demo",
    )
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, help="batches from each dataset (default: as the recipe `demo` says)")
    command.add_argument("--images", type=int, default=60, help="training images of each dataset (default: 60)")


def _demo(given: argparse.Namespace) -> int:
    from multiseg.demo import demo

    demo(given.out, given.seed, given.steps, given.images)
    return 0


# synth


def _add_synth(commands: Any) -> None:
    command = _command(
        commands,
        "synth",
        _synth,
        "write the synthetic datasets in official layouts",
        "multiseg synth synthetic --images 200",
    )
    command.add_argument("dir", type=Path, metavar="DIR")
    command.add_argument("--images", type=int, default=100, help="training images of each dataset (default: 100)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--layouts",
        nargs="+",
        metavar="NAME",
        default=[],
        help="write scenes in these official layouts instead, labelled as that dataset would: readers' names, or 'all'",
    )
    command.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    command.add_argument("--json", action="store_true", help="print the roots as JSON")


def _synth(given: argparse.Namespace) -> int:
    from multiseg.console import results
    from multiseg.synthetic import all_layouts, write_datasets

    layouts = list(all_layouts()) if given.layouts == ["all"] else given.layouts
    roots = write_datasets(given.dir, given.images, given.seed, domains=layouts or None, workers=given.workers)
    if given.json:
        print(json.dumps({name: str(root) for name, root in roots.items()}))
    else:
        for name, root in roots.items():
            results.print(f"{name}: {root}", markup=False)
    return 0


# datasets


def _add_datasets(commands: Any) -> None:
    command = _command(
        commands,
        "datasets",
        _list_datasets,
        "list the readers, describe own data, check datasets before training, see what is in them, or pack them",
        "multiseg datasets check camvid=/d/CamVid idd_lite=/d/idd20k_lite",
    )
    command.add_argument("--json", action="store_true", help="machine-readable output")
    parts = command.add_subparsers(metavar="COMMAND")  # without one: list
    _add_datasets_list(parts)
    _add_datasets_check(parts)
    _add_datasets_stats(parts)
    _add_datasets_init(parts)
    _add_datasets_pack(parts)


def _add_json(command: argparse.ArgumentParser) -> None:
    """Of a command below `datasets`, which has the option too: not given here, it keeps the value given there."""
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="machine-readable output")


def _add_datasets_list(commands: Any) -> None:
    command = _command(
        commands, "list", _list_datasets, "every dataset that can be read", "multiseg datasets list --json"
    )
    _add_json(command)


def _list_datasets(given: argparse.Namespace) -> int:
    from multiseg.commands import tables

    return tables.list_datasets(as_json=given.json)


def _add_datasets_check(commands: Any) -> None:
    command = _command(
        commands,
        "check",
        _check_datasets,
        "find everything that would stop or spoil training; the exit code is 1 where there are errors",
        "multiseg datasets check camvid=/d/CamVid idd_lite=/d/idd20k_lite --strict",
    )
    command.add_argument("datasets", nargs="+", metavar="NAME=ROOT")
    command.add_argument(
        "--split", action="append", metavar="S", help="only this one; may be repeated (default: all that are there)"
    )
    command.add_argument("--limit", type=int, metavar="N", help="decode only N images of each split, evenly spread")
    command.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core, at most eight)")
    command.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings, too")
    _add_json(command)


def _check_datasets(given: argparse.Namespace) -> int:
    from multiseg.commands.check_report import check_datasets

    return check_datasets(
        given.datasets, given.split, given.limit, given.workers, strict=given.strict, as_json=given.json
    )


def _add_datasets_stats(commands: Any) -> None:
    command = _command(
        commands,
        "stats",
        _count_datasets,
        "how often every class occurs, how large images are; with --out also as a chart and a sheet of pictures",
        "multiseg datasets stats camvid=/d/CamVid idd_lite=/d/idd20k_lite --out stats",
    )
    command.add_argument("datasets", nargs="+", metavar="NAME=ROOT")
    command.add_argument("--split", action="append", metavar="S", help="may be repeated (default: the one trained on)")
    command.add_argument("--limit", type=int, metavar="N", help="read only N masks of each split, evenly spread")
    command.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core, at most eight)")
    command.add_argument("--out", type=Path, metavar="DIR", help="write a chart and a contact sheet of each split here")
    command.add_argument(
        "--images", type=int, metavar="N", help="pictures on a sheet (default: as many as show every class, 12 to 40)"
    )
    _add_json(command)


def _count_datasets(given: argparse.Namespace) -> int:
    from multiseg.commands.dataset_report import count_datasets

    return count_datasets(
        given.datasets, given.split, given.limit, given.workers, given.out, given.images, as_json=given.json
    )


def _add_datasets_init(commands: Any) -> None:
    command = _command(
        commands,
        "init",
        _init_dataset,
        "describe a folder of your own images and masks: write a dataset.yaml from what is found, for you to edit",
        "multiseg datasets init harbour",
    )
    command.add_argument("root", type=Path, metavar="ROOT")
    command.add_argument("--out", type=Path, metavar="FILE", help="default: ROOT/dataset.yaml, where it is looked for")
    command.add_argument(
        "--force",
        action="store_true",
        help="replace the file, describe what has a reader of its own, and take blurred masks as they are",
    )
    command.add_argument("--yes", action="store_true", help="ask nothing, take all guesses")


def _init_dataset(given: argparse.Namespace) -> int:
    from multiseg.wizard.dialogue import run

    return run(given.root, given.out, given.force, given.yes)


def _add_datasets_pack(commands: Any) -> None:
    command = _command(
        commands,
        "pack",
        _pack_datasets,
        "write datasets as a few large shards, for slow or remote storage; training on them is the same, bit by bit",
        "multiseg datasets pack camvid=/d/CamVid idd_lite=/d/idd20k_lite --out s3://bucket/packed",
    )
    command.add_argument("datasets", nargs="+", metavar="NAME=ROOT")
    command.add_argument(
        "--out", required=True, metavar="DIR", help="folder or URL (s3://, gs://); each dataset goes to DIR/NAME"
    )
    command.add_argument(
        "--splits", nargs="+", metavar="S", default=[], help="only these, in this order (default: all that are there)"
    )
    command.add_argument("--shard-size", type=int, default=64, metavar="MB", help="of a shard, about (default: 64)")
    _add_json(command)


def _pack_datasets(given: argparse.Namespace) -> int:
    from multiseg.commands.pack_report import pack_datasets

    return pack_datasets(given.datasets, given.out, given.splits, given.shard_size, as_json=given.json)


# taxonomy


def _add_taxonomy(commands: Any) -> None:
    command = _command(
        commands,
        "taxonomy",
        _taxonomy,
        "how the classes of several datasets relate: by their names, by what these mean, by a table, measured with a "
        "trained model, or by its prototypes",
        "multiseg taxonomy camvid=/d/CamVid idd_lite=/d/idd20k_lite --by text --out relations.tsv",
    )
    command.add_argument(
        "datasets", nargs="*", metavar="NAME=ROOT", help="with --model or --prototypes: default the run's own"
    )
    command.add_argument(
        "--by",
        default="name",
        metavar="name|text|TSV",
        help="'name': equal names; 'text': names that a text encoder finds near each other, the doubtful ones as "
        "remarks in --out, which count once their # is deleted; a TSV of relations; or a master table such as MSeg's "
        "(default: name)",
    )
    command.add_argument(
        "--text-encoder",
        metavar="ENCODER",
        help="with --by text: sentence, sentence:FOLDER or clip:MODEL[:PRETRAINED], such as clip:RN50:openai "
        "(default: sentence, all-MiniLM-L6-v2)",
    )
    command.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="the column of a dataset in a master table (default: the one of the most similar name)",
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write the relations")
    command.add_argument(
        "--format", choices=["tsv", "mseg"], default="tsv", help="of --out: a TSV of relations, or a master table"
    )
    command.add_argument("--all", action="store_true", help="shorten no list")
    command.add_argument("--json", action="store_true", help="machine-readable output")
    command.add_argument("--model", type=Path, metavar="RUN", help="measure: what this model suggests, with evidence")
    command.add_argument(
        "--prototypes",
        type=Path,
        metavar="RUN",
        help="compare: what the prototypes of this model of `mdp` suggest, with evidence; reads no image",
    )
    command.add_argument("--split", help="to measure on (default: the one each dataset is evaluated on in training)")
    command.add_argument("--limit", type=int, metavar="N", help="measure on N images of each only, evenly spread")
    command.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="with --model: share from which a class is part of another (default: 0.7); with --prototypes or "
        "--by text: by how much the nearest class must lead, from 0 to 1 (default: 0.3)",
    )
    _add_inference(command)
    _add_trust(command)


def _taxonomy(given: argparse.Namespace) -> int:
    if given.model and given.prototypes:
        raise MultisegError("--model measures relations, --prototypes compares classes: give one of the two.")
    if given.text_encoder and given.by != "text":
        raise MultisegError("--text-encoder reads class names: it needs --by text.")
    if given.prototypes:
        from multiseg.commands.prototype_report import show_prototypes

        return show_prototypes(given)
    if given.model:
        from multiseg.commands.measured_report import show_measured_taxonomy

        return show_measured_taxonomy(given)
    if given.by == "text":
        from multiseg.commands.text_report import show_text_taxonomy

        return show_text_taxonomy(given)
    from multiseg.commands.taxonomy_report import show_taxonomy

    return show_taxonomy(given)


# recipes


def _add_recipes(commands: Any) -> None:
    command = _command(
        commands, "recipes", _recipes, "list the shipped recipes, or show one", "multiseg recipes show multi_head"
    )
    command.add_argument("what", choices=["list", "show"], nargs="?", default="list")
    command.add_argument("name", nargs="?")
    command.add_argument("--json", action="store_true", help="machine-readable output")


def _recipes(given: argparse.Namespace) -> int:
    from multiseg.configuration import find_recipe, recipe_purpose, shipped_recipes, shipped_scripts

    if given.what == "show":
        if given.name is None:
            raise MultisegError("which recipe? `multiseg recipes list` lists them.")
        shown = shipped_recipes() | shipped_scripts()
        if given.name not in shown and not Path(given.name).exists():
            raise MultisegError(f"no recipe '{given.name}'; {did_you_mean(given.name, shown)}")
        path = shown.get(given.name) or find_recipe(given.name)
        print(path.read_text(encoding="utf-8"), end="")
        return 0
    purposes = {name: recipe_purpose(path) for name, path in shipped_recipes().items()}
    if given.json:
        print(json.dumps(purposes, ensure_ascii=False))
    else:
        width = max(len(name) for name in purposes)
        for name, purpose in purposes.items():
            print(f"{name:{width}}  {purpose}")
    return 0


# train


def _add_train(commands: Any) -> None:
    command = _command(
        commands,
        "train",
        _train,
        "train a recipe; several compose left to right, and --KEY VALUE overrides any key",
        "multiseg train multi_head --data camvid=/d/CamVid --data idd_lite=/d/idd20k_lite --steps 700 "
        "--method.optimizer.lr 0.01",
    )
    command.add_argument("recipes", nargs="*", metavar="NAME_OR_FILE", help="shipped recipes by name, files by path")
    command.add_argument("--data", action="append", default=[], metavar="NAME=ROOT", help="a dataset; may be repeated")
    command.add_argument("--steps", help="optimiser updates")
    command.add_argument("--batch-size", help="images a step from every dataset")
    command.add_argument("--seed", help="of weights, sampling, augmentation and dropout")
    command.add_argument("--devices", help="how many processes")
    command.add_argument("--run", type=Path, metavar="DIR", help="the run's folder (default: a new one under runs/)")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --run")
    command.add_argument("--quiet", action="store_true", help="no progress")
    _add_trust(command)


def _train(given: argparse.Namespace) -> int:
    from multiseg.configuration import SHORT_OPTIONS, compose

    short = {key: getattr(given, option) for option, key in SHORT_OPTIONS.items()}
    overrides = [(key, value) for key, value in short.items() if value is not None]
    said = given.recipes or given.data or overrides or given.overrides
    if not said and not given.resume:
        raise MultisegError("nothing to train: name a recipe, as in `multiseg train multi_head --data NAME=ROOT`.")

    from multiseg.agreement import all_or_none
    from multiseg.commands import tables
    from multiseg.training import is_first_process, train

    with all_or_none():
        config = compose(given.recipes, given.data, [*overrides, *given.overrides]) if said else {}
    run = train(config, given.run, given.resume, given.quiet)
    if is_first_process():
        tables.show_metrics(run.read_metrics())
        print(run.path)
    return 0


# evaluate


def _add_evaluate(commands: Any) -> None:
    command = _command(
        commands,
        "evaluate",
        _evaluate,
        "score a run on its own datasets, or on others; or several runs as one model",
        "multiseg evaluate runs/a camvid=/d/CamVid --split test --flip",
    )
    command.add_argument("run", type=Path, metavar="RUN")
    command.add_argument(
        "datasets",
        nargs="*",
        metavar="NAME=ROOT",
        help="default: the run's own; with --ensemble the other runs come first, and the default is what all were "
        "trained on",
    )
    command.add_argument(
        "--ensemble",
        action="store_true",
        help="of several RUNs, whatever their methods, average the class probabilities of each pixel; scores of the "
        "ensemble and of each run, in one pass over the images",
    )
    command.add_argument("--split", help="default: the one each dataset is evaluated on in training")
    command.add_argument(
        "--taxonomy",
        metavar="NAME",
        help="predict in this taxonomy (default: the dataset's own; by its words, if the model understands any)",
    )
    command.add_argument(
        "--relations", type=Path, metavar="TSV", help="map the taxonomy to the dataset (default: by name)"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write the segments that are judged there, as COCO panoptic JSON and PNG",
    )
    _add_norms(command, "the evaluated ones")
    _add_inference(command)
    _add_trust(command)
    command.add_argument("--json", action="store_true", help="machine-readable output")


def _add_norms(command: argparse.ArgumentParser, images: str) -> None:
    command.add_argument(
        "--norms",
        metavar="NAME|nearest|average|reestimated:NAME",
        help="of a model with dataset-specific batch norms, whose the images pass: those of a training dataset, the "
        "nearest to each image, the average, or new statistics with the scale and shift of NAME (which may be 'nearest'"
        " or 'average')",
    )
    command.add_argument(
        "--norm-images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help=f"unlabelled images, files or folders, to re-estimate on (default: {images}; at most 256 are used)",
    )


def _add_inference(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scales", type=float, nargs="+", metavar="S", help="average over inputs scaled by these factors"
    )
    command.add_argument("--flip", action="store_true", help="average with the mirrored image")
    command.add_argument(
        "--sliding", action="store_true", help="slide a window of the training crop's size over the image"
    )
    command.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator where there is one)")


def _evaluate(given: argparse.Namespace) -> int:
    if given.ensemble:
        from multiseg.commands.ensembling import evaluate_ensemble

        return evaluate_ensemble(given)
    from multiseg.commands.evaluating import evaluate_run
    from multiseg.run_folder import RunFolder

    return evaluate_run(RunFolder(given.run), given)


# predict


def _add_predict(commands: Any) -> None:
    command = _command(
        commands,
        "predict",
        _predict,
        "write overlays and label maps of images",
        "multiseg predict runs/a street.jpg --taxonomy camvid --out predictions",
    )
    command.add_argument("run", type=Path, metavar="RUN")
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files or folders")
    command.add_argument("--taxonomy", metavar="NAME", help="whose classes; needed where the model has several")
    command.add_argument(
        "--classes",
        metavar="WORDS",
        help='any classes, of a model that understands words: "road, car|automobile, tree"; bars join names of one',
    )
    command.add_argument(
        "--things", metavar="WORDS", help="which of them are countable (default: those that a training dataset counts)"
    )
    command.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    _add_norms(command, "the predicted ones")
    _add_inference(command)
    _add_trust(command)
    command.add_argument("--json", action="store_true", help="machine-readable output")


def _predict(given: argparse.Namespace) -> int:
    from multiseg.commands.evaluating import predict_images
    from multiseg.run_folder import RunFolder

    return predict_images(RunFolder(given.run), given)


# report


def _add_report(commands: Any) -> None:
    command = _command(
        commands, "report", _report, "compare runs in one HTML file", "multiseg report runs/a runs/b --out report.html"
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, default=None, metavar="FILE", help="default: report.html in the first run")
    _add_trust(command)


def _report(given: argparse.Namespace) -> int:
    from multiseg.reporting import write_report
    from multiseg.run_folder import RunFolder

    out = given.out or given.runs[0] / "report.html"
    write_report([RunFolder(path) for path in given.runs], out)
    print(out)
    return 0


# bench


def _add_bench(commands: Any) -> None:
    command = _command(
        commands,
        "bench",
        _bench,
        "speed, and memory, against named peers, as ratios measured in one run",
        "multiseg bench confusion_matrix --json bench.json",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    command.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    command.add_argument("--from", type=Path, metavar="FILE", dest="source", help="show such figures, measure nothing")
    command.add_argument("--markdown", action="store_true", help="the table for a page of documentation")
    growth = "in place of all that: how a training step grows with datasets and classes, as DIR/growth.json and .svg"
    command.add_argument("--growth", type=Path, metavar="DIR", help=growth)


def _bench(given: argparse.Namespace) -> int:
    if given.growth or given.source:
        for option in ("growth", "source"):
            others = [key for key in ("names", "device", "json", "growth", "source") if key != option]
            clash = next((key for key in others if getattr(given, option) and getattr(given, key)), None)
            if clash:
                names = {"names": "NAME", "source": "--from"}
                shown = [names.get(key, f"--{key}") for key in (option, clash)]
                raise MultisegError(f"{shown[0]} and {shown[1]} exclude each other.")
    from multiseg.bench import tables
    from multiseg.commands import measuring
    from multiseg.console import results

    if given.growth:
        measuring.grow(given.growth)
        print(given.growth / "growth.svg")
        return 0
    if given.source:
        measured, machine = tables.from_json(given.source)
    else:
        measured = measuring.compare(given.names, given.device)
        machine = tables.Machine.here()
    if given.json:
        given.json.write_text(tables.to_json(measured, machine), encoding="utf-8")
    if given.markdown:
        print(tables.markdown(measured, machine), end="")
    else:
        results.print(tables.table(measured, machine))
    return 0
