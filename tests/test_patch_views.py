"""Patches for a report: which pixels they are around, whose features, and figures against loops."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from multiseg import patch_views
from multiseg.batch import Sample
from multiseg.configuration import Config
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.patches import PatchPlan
from multiseg.losses.patch_graph import connected_graph
from multiseg.methods.mix_and_match import MixAndMatch
from multiseg.methods.multi_head import MultiHead
from multiseg.patch_views import (
    draw_patches,
    nearest_share,
    ordered_share,
    patch_features,
    read_rule,
    spread_directions,
    view_patches,
)
from multiseg.predictor import Predictor
from multiseg.run_folder import InputSize, Model, RunFolder
from tiny_methods import TOWN, lived_in, make, make_patches

PLAN = PatchPlan(size=(8, 12), sides=(4, 12))
SPACE = LabelSpace("town", tuple(LabelClass(str(label), (label,), (1, 2, 3)) for label in range(40)), (255,))


class Coded:
    """Images whose pixels are row, column, and number of the image."""

    def __init__(self, labels: list[np.ndarray]) -> None:
        self.masks, self.label_space, self.split = labels, SPACE, "val"

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        mask = torch.from_numpy(self.masks[index].astype(np.int16))
        rows, columns = torch.meshgrid(*(torch.arange(length) for length in mask.shape), indexing="ij")
        image = torch.stack([rows, columns, torch.full_like(rows, index)]).to(torch.uint8)
        return Sample(tv_tensors.Image(image), tv_tensors.Mask(mask), SPACE, str(index))


def test_patches_lie_around_pixels_of_their_class_within_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []
    original = patch_views.TF.resized_crop

    def spy(image: torch.Tensor, top: int, left: int, height: int, width: int, *rest: object, **options: object):
        boxes.append((int(image[2, 0, 0]), top, left, height, width))
        return original(image, top, left, height, width, *rest, **options)

    monkeypatch.setattr(patch_views, "TF", SimpleNamespace(resized_crop=spy))
    random = np.random.default_rng(0)
    masks = [random.integers(0, 4, (30, 40)) for _ in range(5)]
    masks[0][:] = IGNORE
    masks[1][:] = 3
    masks[1][0, 0] = 2  # no square has its centre there
    masks[1][29, 1] = 1  # only one of side 2 has
    drawn = draw_patches(Coded(masks), PLAN, long_side=80)  # type: ignore[arg-type]
    assert drawn.images.shape == (len(drawn.labels), 3, 8, 12) and drawn.images.dtype == torch.uint8
    centres = []
    for image, top, left, height, width in boxes:
        assert height == width and height % 2 == 0 and 0 <= top <= 30 - height and 0 <= left <= 40 - width
        centres.append((image, int(masks[image][top + height // 2, left + width // 2])))
    assert [(int(source), int(label)) for source, label in zip(drawn.sources, drawn.labels, strict=True)] == centres
    # twice as large at the dataset's long side: sides of 4 to 12 pixels there are of 2 to 6 in the file
    assert {side for *_, side in boxes} == {2, 4, 6}
    assert (1, 29 - 1, 0, 2, 2) in boxes and (1, 2) not in centres and 0 not in drawn.sources
    assert np.bincount([label for image, label in centres if image == 2]).tolist() == [3, 3, 3, 3]


def test_the_draw_depends_on_the_seed_alone() -> None:
    masks = [np.random.default_rng(1).integers(0, 4, (30, 40)) for _ in range(4)]
    first, again, other = (draw_patches(Coded(masks), PLAN, None, seed=seed) for seed in (0, 0, 1))  # type: ignore[arg-type]
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_of_many_classes_those_in_most_images_are_drawn_as_often_as_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_views, "CLASSES", 5)
    monkeypatch.setattr(patch_views, "FEWEST", 20)
    monkeypatch.setattr(patch_views, "MOST", 20)
    masks = [np.tile(np.arange(10), (30, 4)) for _ in range(3)]
    for mask in masks[:1]:
        mask[mask >= 5] = 10 + mask[mask >= 5]
    drawn = draw_patches(Coded([masks[0], masks[1], masks[2]]), PLAN, None)  # type: ignore[arg-type]
    assert torch.bincount(drawn.labels).tolist() == [4] * 5
    with pytest.raises(MultisegError, match="none of the images looked at is labelled"):
        draw_patches(Coded([np.full((30, 40), IGNORE)]), PLAN, None)  # type: ignore[arg-type]


def predictor(method: object) -> Predictor:
    model = Model(method.eval().requires_grad_(False), {"town": InputSize(None, (32, 48))}, "32-true")  # type: ignore[attr-defined]
    return Predictor(model, device="cpu")


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_features_are_those_that_are_tuned(pooling: str) -> None:
    method = make(MixAndMatch, [TOWN], pooling=pooling)
    assert isinstance(method, MixAndMatch)
    patches = make_patches([TOWN], per_image=70, size=(32, 64)).images
    own = predictor(method)
    found = patch_features(own, patches[0], "town", pooling)
    expected = method.embed(patches, ["town"])[0]
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True))


def test_finer_levels_are_averaged_to_the_same_cells_and_norms_are_the_dataset_s() -> None:
    method = make(MultiHead, dataset_norms=True)
    lived_in(method.network)
    own = predictor(method)
    patches = make_patches([TOWN], size=(32, 64)).images[0]
    before = {name: patch_features(own, patches, name) for name in ("town", "park")}
    assert not torch.allclose(before["town"], before["park"])

    class Finer(torch.nn.Module):
        def __init__(self, coarse: torch.nn.Module) -> None:
            super().__init__()
            self.coarse = coarse

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [torch.nn.functional.interpolate(self.coarse(images)[-1], scale_factor=4, mode="nearest")]

    fake = SimpleNamespace(
        method=SimpleNamespace(
            network=SimpleNamespace(backbone=Finer(method.network.backbone)), normalize=method.normalize
        ),
        precision=own.precision,
        device=own.device,
    )
    torch.testing.assert_close(patch_features(fake, patches, "town"), before["town"])  # type: ignore[arg-type]


def test_a_diverged_model_is_refused() -> None:
    method = make(MixAndMatch, [TOWN])
    next(iter(method.network.backbone.parameters())).data.fill_(torch.nan)
    with pytest.raises(MultisegError, match="not finite"):
        patch_features(predictor(method), make_patches([TOWN]).images[0], "town")


def vectors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, 5, generator=generator)
    labels, sources = (torch.randint(high, (24,), generator=generator) for high in (3, 5))
    return x / x.norm(dim=1, keepdim=True), labels, sources


def test_figures_are_those_of_a_loop() -> None:
    x, labels, sources = vectors()
    right, chances = [], []
    for own in range(24):
        others = [other for other in range(24) if sources[other] != sources[own]]
        nearest = min(others, key=lambda other: float(((x[other] - x[own]) ** 2).sum()))
        right.append(bool(labels[nearest] == labels[own]))
        chances.append(sum(bool(labels[other] == labels[own]) for other in others) / len(others))
    assert nearest_share(x, labels, sources) == pytest.approx((np.mean(right), np.mean(chances)))
    generator = torch.Generator().manual_seed(0)
    graphs = [connected_graph(labels, torch.rand(24, 3, generator=generator), IGNORE) for _ in range(3)]
    triplets = [row for graph in graphs for row in zip(*(part.tolist() for part in graph), strict=True)]
    ordered = [float(((x[a] - x[p]) ** 2).sum()) < float(((x[a] - x[n]) ** 2).sum()) for a, p, n in triplets]
    assert len(triplets) == 3 * 24 and ordered_share(x, labels, 3) == pytest.approx(np.mean(ordered))


def test_directions_are_the_effective_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(50, 1, generator=generator) * torch.tensor([[1.0, -2.0, 3.0]]) + 5
    assert spread_directions(line) == pytest.approx(1, abs=1e-4)
    corners = torch.cat([torch.eye(4), -torch.eye(4)]) + 7
    assert spread_directions(corners) == pytest.approx(4, rel=1e-4)
    uneven = corners * torch.tensor([1.0, 1.0, 0.1, 0.1])
    assert 2 < spread_directions(uneven) < 2.2


def test_figures_of_one_class_or_one_image_are_unknown() -> None:
    x, labels, sources = vectors()
    assert math.isnan(ordered_share(x, torch.zeros_like(labels)))
    assert all(math.isnan(value) for value in nearest_share(x, labels, torch.zeros_like(sources)))


def config(**changes: object) -> Config:
    data = {"datasets": {"town": {"root": "r"}, "park": {"root": "r", "pipeline": {"long_side": 99}}}}
    data |= {"patches": {"size": [16, 8], "sides": [4, 6], "per_image": 3}, "pipeline": {"long_side": 77}}
    return {"data": {**data, **changes}, "method": {"class_path": "x.MixAndMatch", "init_args": {"pooling": "mean"}}}


def test_patches_are_cut_as_in_the_tuning(tmp_path) -> None:
    run = RunFolder(tmp_path)
    run.write_config(config())
    town, park = read_rule(run, "town"), read_rule(run, "park")
    assert (town.plan.size, town.plan.sides, town.long_side, town.pooling) == ((16, 8), (4, 6), 77, "mean")
    assert park.long_side == 99
    run.write_config(config(patches={"size": [32, 32], "sides": [2, 8]}))
    assert read_rule(run, "town").plan == PatchPlan(size=(32, 32), sides=(2, 8))
    run.write_config(config(patches={"size": "large"}))
    with pytest.raises(MultisegError, match=r"patches\.size"):
        read_rule(run, "town")
    run.write_config(config(patches=None))
    assert read_rule(run, "town").plan == PatchPlan()
    with pytest.raises(MultisegError, match="does not say how patches are cut"):
        read_rule(run, "nowhere")


def test_pages_without_tunings_cost_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.write_config({"data": {"datasets": {"town": {"root": "r"}}}, "init": {"weights": str(tmp_path / "gone")}})
    monkeypatch.setattr(patch_views, "Predictor", None)
    assert [*view_patches({"run": run}, [{"town": {"root": "r"}}])] == []


def test_what_is_gone_leaves_a_sentence(tmp_path) -> None:
    run = RunFolder(tmp_path / "mm")
    run.path.mkdir()
    run.write_config(config())
    *signs, town, park = view_patches({"mm": run}, [{"town": {"root": str(tmp_path)}, "park": {"root": "gone"}}])
    assert signs == [None] and [own.dataset for own in (town, park)] == ["town", "park"]
    assert all(
        len(own.notes) == 1 and own.notes[0].startswith(f"No patches of {own.dataset}: ") for own in (town, park)
    )
    assert not town.panels and not park.panels
