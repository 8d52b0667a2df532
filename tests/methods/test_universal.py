"""Partial labels over a universal taxonomy: what counts as right, predictions in every taxonomy, runs without a TSV."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision import tv_tensors

import tiny_run
from multiseg.batch import Batch, Sample, collate
from multiseg.cli import main
from multiseg.configuration import compose
from multiseg.instantiation import build
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.methods.universal import Universal, sum_sets
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant
from multiseg.run_folder import RunFolder, load_model
from multiseg.taxonomy.relations import Relation, write_relations

FINE = LabelSpace("fine", tuple(LabelClass(n, (i,), (i, 9, 9)) for i, n in enumerate(["car", "bus", "sky"])))
COARSE = LabelSpace("coarse", tuple(LabelClass(n, (i,), (9, i, 9)) for i, n in enumerate(["vehicle", "sky", "person"])))
FACTS = [
    Relation("coarse", "vehicle", "contains", "fine", "car"),
    Relation("fine", "bus", "part of", "coarse", "vehicle"),
    Relation("fine", "sky", "same", "coarse", "sky"),
]
#: Atoms: car, bus, sky, vehicle (other), person.
SETS = {"fine": [[0], [1], [2]], "coarse": [[0, 1, 3], [2], [4]]}


def make(**arguments: Any) -> Universal:
    torch.manual_seed(0)
    network = SegmentationNetwork(
        Backbone("test_resnet"),
        partial(PyramidPooling, channels=16, bins=[1, 2], dropout=0.0),
        partial(AuxiliaryHead, channels=16, dropout=0.0),
    )
    options = {"relations": FACTS, "optimizer": SGD(lr=0.05), "schedule": Constant(), **arguments}
    method = Universal([FINE, COARSE], network=network, **options)
    torch.nn.init.normal_(method.classifier.main.weight)
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    return method


def make_batch(*spaces: LabelSpace) -> Batch:
    generator = torch.Generator().manual_seed(1)
    samples = []
    for number, space in enumerate(spaces):
        image = torch.randint(0, 256, (3, 64, 96), generator=generator, dtype=torch.uint8)
        labels = torch.randint(-1, 3, (64, 96), generator=generator).to(torch.int16)
        samples.append(Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, str(number)))
    return collate(samples).to("cpu")


def test_the_loss_is_that_of_the_sum_of_the_probabilities_of_each_set() -> None:
    """Against a loop over pixels in double precision."""
    method = make(auxiliary_weight=0.0).train()
    batch = make_batch(FINE, COARSE, COARSE)
    features = method.network(method.normalize(batch.images))
    expected = 0.0
    for name, rows in batch.rows_of().items():
        logits = method.classify(features, name, rows)[0].detach()
        full = torch.nn.functional.interpolate(logits, scale_factor=method.network.stride, mode="bilinear").double()
        labels = batch.labels[rows]
        total = 0.0
        for place, y, x in (labels != IGNORE).nonzero().tolist():
            probabilities = full[place, :, y, x].softmax(0)
            total -= float(probabilities[SETS[name][labels[place, y, x]]].sum().log())
        expected += len(rows) / 3 * total / int((labels != IGNORE).sum())
    assert float(method.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-4)


def test_no_part_of_a_labelled_whole_counts_as_wrong() -> None:
    method = make()
    sure_of = 50 * torch.eye(5).view(5, 5, 1, 1)  # five images, each sure of one atom
    losses = [float(method.pixel_loss(image[None], torch.tensor([[[0]]]), "coarse")) for image in sure_of]
    wrong = 50 - math.log(3)  # less one for each way to be right
    assert losses == pytest.approx([0, 0, wrong, 0, wrong], abs=1e-4)


def test_predictions_of_a_dataset_are_the_sums_over_its_sets() -> None:
    method = make().eval()
    images = make_batch(FINE).images
    atoms = method.logits(images, "universal").softmax(1)
    for name, sets in SETS.items():
        sums = torch.stack([atoms[:, members].sum(1) for members in sets], 1)
        torch.testing.assert_close(method.logits(images, name).softmax(1), sums / sums.sum(1, keepdim=True))


def test_summing_sets_of_very_unlikely_classes_keeps_their_order() -> None:
    logits = torch.tensor([1e4, -1e4, -1e4, -9999.0]).view(1, 4, 1, 1)
    sums = sum_sets(logits, torch.tensor([[1, 2], [3, 4], [0, 4]]))
    assert sums.flatten().tolist() == pytest.approx([-1e4 + 0.6931, -9999.0, 1e4], abs=1e-3)


def test_the_universal_taxonomy_tells_apart_what_any_dataset_does() -> None:
    method = make()
    assert list(method.taxonomies) == ["fine", "coarse", "universal"]
    assert method.taxonomies["universal"].names == ("car", "bus", "sky", "vehicle (other)", "person")


def test_without_relations_classes_of_one_name_are_one() -> None:
    assert make(relations=None).taxonomies["universal"].names == ("car", "bus", "sky", "vehicle", "person")
    assert len(make(relations=[]).taxonomies["universal"]) == 6  # none is not unknown


def test_a_coarse_dataset_learns_to_tell_parts_apart_from_a_fine_one() -> None:
    """Images of the coarse dataset say vehicle only; predicted in the fine taxonomy they show what fine ones taught."""
    method = make().train()
    colors = torch.tensor([[200, 20, 20], [20, 20, 200]], dtype=torch.uint8)

    def sample(which: int, space: LabelSpace) -> Sample:
        image = colors[which].view(3, 1, 1).expand(3, 64, 96).contiguous()
        labels = torch.full((64, 96), which if space is FINE else 0, dtype=torch.int16)
        return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, "x")

    batch = collate([sample(which, space) for space in (FINE, COARSE) for which in (0, 1)]).to("cpu")
    optimizer = method.optimizer_spec.build(method)
    for _ in range(20):
        loss = method.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        features = method.network(method.normalize(batch.images))  # in training mode: few steps, so batch statistics
        atoms = method.classify(features, "coarse", [2, 3])[0].mean((2, 3)).argmax(1)
    assert atoms.tolist() == [0, 1] and float(loss.detach()) < 0.1


# Runs


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def tsv(path: Path, *relations: Relation) -> Path:
    write_relations(path, relations)
    return path


TOWN_AND_PARK = [Relation("town", "sky", "same", "park", "sky"), Relation("park", "tree", "overlaps", "town", "road")]
ATOMS = ("road (other)", "car", "sky", "tree (other)", "road & tree")


@pytest.fixture(scope="module")
def finished_run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its relations are gone."""
    folder = tmp_path_factory.mktemp("universal")
    relations = tsv(folder / "relations.tsv", *TOWN_AND_PARK)
    arguments = [*tiny_run.arguments(data_roots), "--method.relations", relations, "--run", folder / "run", "--quiet"]
    assert run_command("train", "universal", *arguments) == 0
    relations.unlink()
    return folder / "run"


def test_a_dataset_that_only_the_relations_know_is_mentioned(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relations = tsv(tmp_path / "relations.tsv", *TOWN_AND_PARK, Relation("town", "car", "same", "twon", "car"))
    arguments = [*tiny_run.arguments(data_roots), "--method.relations", relations, "--run", tmp_path / "run"]
    assert run_command("train", "universal", *arguments) == 0
    assert "relations of datasets that are not in this run play no part: twon" in capsys.readouterr().err


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_run_needs_its_relations_no_more(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(RunFolder(finished_run))
    assert model.method.taxonomies["universal"].names == ATOMS
    assert run_command("evaluate", finished_run, "--json") == 0
    scores = json.loads(capsys.readouterr().out)["datasets"]
    metrics = json.loads((finished_run / "metrics.json").read_text())["datasets"]
    assert {name: entry["mIoU"] for name, entry in scores.items()} == pytest.approx(
        {name: entry["mIoU"] for name, entry in metrics.items()}, abs=0.5
    )


def test_its_config_trains_the_same_run_again(finished_run: Path, tmp_path: Path) -> None:
    assert run_command("train", finished_run / "config.yaml", "--run", tmp_path / "again", "--quiet") == 0
    first, second = weights(finished_run), weights(tmp_path / "again")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_resumes_without_its_relations(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = finished_run / "config.yaml"
    losses = Universal.pixel_loss
    calls = []

    def interrupted(self: Universal, *arguments: Any) -> Tensor:
        calls.append(1)
        if len(calls) > 4 * 5:  # two datasets, two heads: in the sixth step
            raise KeyboardInterrupt
        return losses(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Universal, "pixel_loss", interrupted)
        assert run_command("train", config, "--run", tmp_path / "run", "--quiet") != 0
    assert run_command("train", "--run", tmp_path / "run", "--resume", "--quiet") == 0
    first, second = weights(finished_run), weights(tmp_path / "run")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_predicts_atoms(
    finished_run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data_roots["town"] / "images/val/0.png"
    arguments = ["--taxonomy", "universal", "--out", tmp_path, "--json"]
    assert run_command("predict", finished_run, image, *arguments) == 0
    (written,) = json.loads(capsys.readouterr().out).values()
    assert set(written["shares"]) <= set(ATOMS) and Path(written["overlay"]).is_file()


@pytest.fixture(scope="module")
def unseen(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `town`, labelled ground, traffic, sky."""
    root = tmp_path_factory.mktemp("unseen") / "lane"
    root.mkdir()
    for part in ("images", "masks"):
        (root / part).symlink_to(data_roots["town"] / part)
    text = (data_roots["town"] / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("road, car, sky", "ground, traffic, sky").replace("town", "lane"))
    return root


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command("evaluate", *arguments, "--json") == 0
    scores: dict[str, Any] = json.loads(capsys.readouterr().out)["datasets"]
    return scores


def test_a_dataset_never_seen_is_judged_by_its_relations_to_those_seen(
    finished_run: Path, unseen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relations = tsv(
        tmp_path / "lane.tsv",
        Relation("lane", "ground", "contains", "town", "road"),
        Relation("lane", "ground", "contains", "park", "tree"),
        Relation("town", "car", "part of", "lane", "traffic"),
        Relation("park", "sky", "same", "lane", "sky"),
    )
    options = ["--taxonomy", "universal", "--relations", relations]
    (scores,) = evaluate(capsys, finished_run, f"lane={unseen}", *options).values()
    assert scores["taxonomy"] == "universal" and scores["unreached"] == []
    # the model predicts ground nearly everywhere, whichever atom of it
    assert scores["per_class"]["ground"] > 50


def test_a_dataset_never_seen_is_judged_by_name(
    finished_run: Path, unseen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scores,) = evaluate(capsys, finished_run, f"lane={unseen}", "--taxonomy", "universal").values()
    assert scores["unreached"] == ["ground", "traffic"]


def test_atoms_are_judged_on_a_dataset_seen(
    finished_run: Path, data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Relations known from training suffice."""
    (scores,) = evaluate(capsys, finished_run, f"park={data_roots['park']}", "--taxonomy", "universal").values()
    assert scores["unreached"] == [] and set(scores["per_class"]) == {"tree", "sky"}


def test_a_union_that_knows_no_relations_is_judged_by_name(
    data_roots: dict[str, Path], train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert run_command("train", "by_name", *train_arguments, "--steps", 1, "--run", run, "--quiet") == 0
    capsys.readouterr()
    (scores,) = evaluate(capsys, run, f"park={data_roots['park']}", "--taxonomy", "by_name").values()
    assert scores["unreached"] == []


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        ("none.tsv", "cannot read none.tsv"),
        ([Relation("town", "skyy", "same", "park", "sky")], "dataset 'town' has no class 'skyy'; did you mean 'sky'"),
        (
            [Relation("town", "sky", "same", "park", "sky"), Relation("park", "sky", "part of", "town", "road")],
            "'town/road' and 'town/sky', of one dataset, cannot share pixels",
        ),
        ("[{from_dataset: town}]", "method.relations must be the path of a TSV, or a list of entries from_class"),
        (
            "[{from_dataset: town, from_class: sky, relation: smae, to_dataset: park, to_class: sky}]",
            "no relation 'smae'; did you mean 'same'",
        ),
        ("7", "method.relations must be the path of a TSV"),
    ],
)
def test_wrong_relations_are_one_line(
    relations: Any,
    message: str,
    train_arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = relations if isinstance(relations, str) else tsv(tmp_path / "r.tsv", *relations)
    arguments = ["train", "universal", *train_arguments, "--method.relations", given, "--run", tmp_path / "run"]
    assert run_command(*arguments, "--quiet") == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "run").exists()


def test_the_sets_of_a_saved_model_are_those_it_was_trained_with(finished_run: Path) -> None:
    saved = weights(finished_run)
    assert saved["members_park"].tolist() == [[False] * 3 + [True] * 2, [False, False, True, False, False]]
    assert saved["atoms_town"].tolist() == [[0, 4], [1, 5], [2, 5]]


def test_relations_of_a_recipe_are_read_when_it_is_built(data_roots: dict[str, Path], tmp_path: Path) -> None:
    path = tsv(tmp_path / "relations.tsv", *TOWN_AND_PARK)
    data = [f"{name}={root}" for name, root in data_roots.items()]
    weights_free = ("method.network.backbone.name", "test_resnet")
    config = compose(["universal"], data, [("method.relations", str(path)), weights_free])
    method = build(config).method
    assert method.taxonomies["universal"].names == ATOMS
    assert config["method"]["init_args"]["relations"] == str(path)  # the recipe itself is left alone
