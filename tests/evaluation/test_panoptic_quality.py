import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.detection import PanopticQuality as TheirPanopticQuality
from torchmetrics.utilities import dim_zero_sum
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.coco_panoptic import COCOPanoptic
from multiseg.datasets.panoptic import Panoptic
from multiseg.evaluation import panoptic_quality
from multiseg.evaluation.panoptic_quality import PanopticQuality, PanopticScores, match_segments, panoptic_scores
from multiseg.label_space import IGNORE, LabelClass, LabelSpace

VOID = IGNORE

SPACE = LabelSpace(
    "toy",
    (
        LabelClass("road", (0,), (0, 0, 0)),
        LabelClass("car", (1,), (1, 1, 1), thing=True),
        LabelClass("sky", (2,), (2, 2, 2)),
        LabelClass("rider", (3,), (3, 3, 3), thing=True),
    ),
)


def segments(ids, classes, crowd=()):
    flags = [number in crowd for number in range(len(classes))]
    mask = tv_tensors.Mask(torch.from_numpy(np.asarray(ids, np.int16)))
    return Segments(mask, torch.tensor(classes, dtype=torch.int64), torch.tensor(flags, dtype=torch.bool))


def naive(true, predicted, num_classes):
    """From the definition: section 4.1 of the paper and its paragraphs on void labels and group labels."""
    t_ids, p_ids = true.ids.numpy(), predicted.ids.numpy()
    t_class, p_class, crowd = true.classes.tolist(), predicted.classes.tolist(), true.crowd.tolist()
    sums = np.zeros((num_classes, 4))
    t_matched, p_matched = set(), set()
    for t in range(len(true)):
        for p in range(len(predicted)):
            if t_class[t] != p_class[p] or crowd[t]:
                continue
            mine, theirs = t_ids == t, (p_ids == p) & (t_ids != VOID)
            union = np.count_nonzero(mine | theirs)
            iou = np.count_nonzero(mine & theirs) / union if union else 0
            if iou > 0.5:
                assert t not in t_matched and p not in p_matched
                t_matched.add(t)
                p_matched.add(p)
                sums[t_class[t], :2] += iou, 1
    for t in range(len(true)):
        if t not in t_matched and not crowd[t] and (t_ids == t).any():
            sums[t_class[t], 3] += 1
    for p in range(len(predicted)):
        mask = p_ids == p
        if p in p_matched or not mask.any():
            continue
        free = t_ids == VOID
        for t in range(len(true)):
            if crowd[t] and t_class[t] == p_class[p]:
                free = free | (t_ids == t)
        if np.count_nonzero(mask & free) / np.count_nonzero(mask) <= 0.5:
            sums[p_class[p], 2] += 1
    return sums


def sums_of(true, predicted, num_classes=4):
    sums = match_segments(true, predicted, num_classes)
    assert (sums.dtype, sums.shape) == (torch.float64, (num_classes, 4))
    np.testing.assert_allclose(sums.numpy(), naive(true, predicted, num_classes), rtol=1e-12)
    return sums.tolist()


@st.composite
def two_maps(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 8)))
    made = []
    for _ in range(2):
        count = draw(st.integers(0, 4))
        ids = draw(arrays(np.int16, shape, elements=st.integers(VOID, count - 1)))
        classes = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
        made.append(segments(ids, classes, draw(st.sets(st.integers(0, 3)))))
    return made


@settings(deadline=None, max_examples=300)
@given(two_maps(), st.booleans())
def test_agrees_with_a_loop_on_anything(maps, as_table):
    most = panoptic_quality._TABLE_MAX
    panoptic_quality._TABLE_MAX = most if as_table else 0
    try:
        sums_of(*maps, num_classes=3)
    finally:
        panoptic_quality._TABLE_MAX = most


def scene(seed, count=12, void=0.2, crowd=0.2, classes=4):
    """Regions, a prediction that moves and relabels some, void and crowds."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :60]
    points = random.random((count, 2)) * [40, 60]
    ids = (((rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2).argmin(-1)).astype(
        np.int16
    )
    class_of = random.integers(0, classes, count)
    true = np.where(random.random(count)[ids] < void, VOID, ids)
    shift = tuple(random.integers(-4, 5, 2))
    wrong = np.where(random.random(count) < 0.15, random.integers(0, classes, count), class_of)
    predicted = np.roll(ids, shift, (0, 1))
    flags = np.flatnonzero(random.random(count) < crowd).tolist()
    return segments(true, class_of.tolist(), flags), segments(predicted, wrong.tolist())


def test_agrees_with_a_loop_on_regions():
    total = np.zeros((4, 4))
    for seed in range(30):
        total += sums_of(*scene(seed))
    assert (total > 1).all()  # every class has matches, wrong and missed segments


def test_by_hand():
    true = segments([[0, 0, 0, 1, 1, 1]], [0, 1])
    predicted = segments([[0, 0, 1, 1, 1, 1]], [0, 1])
    sums = sums_of(true, predicted)
    assert sums[0] == pytest.approx([2 / 3, 1, 0, 0])
    assert sums[1] == pytest.approx([3 / 4, 1, 0, 0])
    assert sums[2:] == [[0, 0, 0, 0]] * 2


def test_half_is_no_match():
    true = segments([[0, 0, 0, VOID]], [1])
    assert sums_of(segments([[0, 0, 1, 1]], [1, 0]), segments([[0, VOID, VOID, 0]], [1]))[1] == [0, 0, 1, 1]
    assert sums_of(segments([[0, 0, 1, 1]], [1, 0]), segments([[0, 1, 1, 1]], [1, 0]))[1] == [0, 0, 1, 1]
    assert sums_of(true, segments([[0, 0, VOID, VOID]], [1]))[1] == pytest.approx([2 / 3, 1, 0, 0])


def test_the_union_leaves_out_void():
    true = segments([[0, 0, VOID, VOID, VOID]], [1])
    assert sums_of(true, segments([[0, 0, 0, 0, 0]], [1]))[1] == [1, 1, 0, 0]
    # what of a true segment nothing was predicted for does count
    assert sums_of(segments([[0, 0, 0, 0]], [1]), segments([[0, 0, 0, VOID]], [1]))[1] == [0.75, 1, 0, 0]


def test_a_prediction_mostly_on_void_or_its_crowd_is_forgiven():
    crowd = segments([[0, 0, VOID, 1, 1, 1]], [1, 0], crowd=[0])
    assert sums_of(crowd, segments([[0, 0, 0, 0, 0, VOID]], [1]))[1] == [0, 0, 0, 0]  # 3 of 5
    assert sums_of(crowd, segments([[0, 0, 0, 0, 0, 0]], [1]))[1] == [0, 0, 1, 0]  # 3 of 6
    assert sums_of(crowd, segments([[0, 0, 0, VOID, VOID, VOID]], [3]))[3] == [0, 0, 1, 0]  # of another class
    assert sums_of(crowd, segments([[0, VOID, 0, 0, VOID, VOID]], [1]))[1] == [0, 0, 0, 0]


def test_a_crowd_is_neither_matched_nor_missed():
    crowd = segments([[0, 0, 0]], [1], crowd=[0])
    assert sums_of(crowd, segments([[0, 0, 0]], [1]))[1] == [0, 0, 0, 0]
    assert sums_of(crowd, segments([[VOID] * 3], []))[1] == [0, 0, 0, 0]
    assert sums_of(segments([[0, 0, 0]], [1]), segments([[0, 0, 0]], [1], crowd=[0]))[1] == [1, 1, 0, 0]


def test_nothing_predicted_and_nothing_true():
    nothing, something = segments([[VOID] * 3], []), segments([[0, 1, 1]], [1, 2])
    assert sums_of(something, nothing) == [[0] * 4, [0, 0, 0, 1], [0, 0, 0, 1], [0] * 4]
    assert sums_of(nothing, something) == [[0] * 4] * 4  # all on void
    assert sums_of(nothing, nothing) == [[0] * 4] * 4
    assert sums_of(segments(np.zeros((0, 3)), []), segments(np.zeros((0, 3)), [])) == [[0] * 4] * 4


def test_a_segment_without_pixels_does_not_count():
    assert sums_of(segments([[1, 1]], [0, 1]), segments([[0, 0]], [1, 2])) == [[0] * 4, [1, 1, 0, 0], [0] * 4, [0] * 4]


def test_equal_maps_are_perfect():
    metric = PanopticQuality(4)
    for seed in range(3):
        true, _ = scene(seed)
        metric.update(true, true)
    result = panoptic_scores(metric.compute(), SPACE)
    for quality in (result.all, result.things, result.stuff, *result.per_class.values()):
        assert (quality.pq, quality.sq, quality.rq) == (100, 100, 100)


def test_wrong_input_is_named():
    good = segments([[0, 1]], [0, 3])
    with pytest.raises(ValueError, match=r"predicted segments are \(2, 1\), but the true \(1, 2\)"):
        match_segments(good, segments([[0], [1]], [0, 3]), 4)
    with pytest.raises(ValueError, match=r"a class of the true segments is not in 0\.\.2"):
        match_segments(good, segments([[0, 1]], [0, 2]), 3)
    with pytest.raises(ValueError, match="a class of the predicted"):
        match_segments(good, segments([[0, 1]], [0, IGNORE]), 4)
    for wrong in (-2, 2):
        with pytest.raises(ValueError, match=r"an id of a map of 2 segments is neither -1 \(void\) nor in 0\.\.1"):
            match_segments(good, segments([[0, wrong]], [0, 3]), 4)
    with pytest.raises(ValueError, match="'toy' has 4 classes"):
        panoptic_scores(torch.zeros(3, 4), SPACE)


def test_more_segments_than_a_table_holds():
    ids = np.arange(3000, dtype=np.int16).reshape(50, 60)
    one_each = segments(ids, [1] * 3000)
    assert match_segments(one_each, one_each, 2).tolist() == [[0] * 4, [3000, 3000, 0, 0]]


def test_scores_by_hand():
    #                       IoU  TP FP FN
    sums = torch.tensor([[1.5, 2, 1, 1], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
    result = panoptic_scores(sums, SPACE)
    assert result.absent == ("rider",)
    assert list(result.per_class) == ["road", "car", "sky"]
    road = result.per_class["road"]
    assert (road.pq, road.sq, road.rq) == pytest.approx((50, 75, 200 / 3))
    assert (result.things.pq, result.things.sq, result.things.rq) == pytest.approx((90, 90, 100))
    assert result.stuff.pq == pytest.approx(25)
    assert (result.all.pq, result.all.sq, result.all.rq) == pytest.approx((140 / 3, 55, 500 / 9))
    written = result.to_json()
    means = [mean + of for of in ("", "_things", "_stuff") for mean in ("PQ", "SQ", "RQ")]
    assert list(written) == [*means, "PQ_per_class", "PQ_absent"]
    assert written["PQ_per_class"]["sky"] == {"PQ": 0, "SQ": 0, "RQ": 0}
    assert (written["PQ_things"], written["RQ_stuff"]) == pytest.approx((90, 100 / 3))


def test_no_class_of_a_kind_is_nan_and_null():
    sums = torch.zeros(4, 4)
    sums[1] = torch.tensor([1, 1, 0, 0])
    result = panoptic_scores(sums, SPACE)
    assert math.isnan(result.stuff.pq) and result.all.pq == result.things.pq == 100
    assert result.to_json()["SQ_stuff"] is None
    empty = panoptic_scores(torch.zeros(4, 4), SPACE).to_json()
    assert {empty[mean] for mean in ("PQ", "RQ_things", "SQ_stuff")} == {None}
    assert empty["PQ_absent"] == list(SPACE.names)


def test_metric_sums_over_images_not_means():
    metric = PanopticQuality(4)
    expected = np.zeros((4, 4))
    for seed in range(3):
        metric.update(*scene(seed))
        expected += naive(*scene(seed), 4)
    np.testing.assert_allclose(metric.compute().numpy(), expected)
    before = metric.compute()
    metric.update(*scene(3))
    np.testing.assert_allclose(metric.compute().numpy(), expected + naive(*scene(3), 4))
    np.testing.assert_allclose(before.numpy(), expected)  # what was handed out stays
    metric.reset()
    metric.update(*scene(3))
    np.testing.assert_allclose(metric.compute().numpy(), naive(*scene(3), 4))


def test_metric_is_summed_over_processes():
    """What torchmetrics does to gathered states is its own affair; that ours asks for a sum is not."""
    assert PanopticQuality(2)._reductions["sums"] is dim_zero_sum


def test_agrees_with_torchmetrics_where_the_definitions_do():
    """It forgives missed segments that are mostly unlabelled in the prediction and knows no crowds: there are none."""
    theirs = TheirPanopticQuality({1, 3}, {0, 2}, allow_unknown_preds_category=True, return_sq_and_rq=True)
    theirs_by_class = TheirPanopticQuality({1, 3}, {0, 2}, allow_unknown_preds_category=True, return_per_class=True)
    ours = PanopticQuality(4)
    for seed in range(8):
        maps = [one_segment_per_stuff_class(part) for part in scene(seed, crowd=0)]
        pairs = [pairs_of(part)[None] for part in maps]
        for peer in (theirs, theirs_by_class):
            peer.update(pairs[1], pairs[0])
        ours.update(*maps)
    result = panoptic_scores(ours.compute(), SPACE)
    quality = result.all
    assert (quality.pq, quality.sq, quality.rq) == pytest.approx([100 * value for value in theirs.compute().tolist()])
    in_their_order = [result.per_class[SPACE.names[index]].pq for index in (1, 3, 0, 2)]  # things first
    assert in_their_order == pytest.approx((100 * theirs_by_class.compute()).flatten().tolist())


def one_segment_per_stuff_class(part):
    """As in a dataset: torchmetrics merges stuff of its own accord."""
    classes = part.classes.numpy()
    owner = np.where(SPACE.things[classes], 10 + np.arange(len(part)), classes)
    _, first, number = np.unique(owner, return_index=True, return_inverse=True)
    return segments(np.append(number, VOID)[part.ids.numpy()], classes[first].tolist())


def pairs_of(part):
    """(H, W, 2): class and instance, an unknown class where void."""
    ids = part.ids.long()
    return torch.stack([torch.cat([part.classes, torch.tensor([99])])[ids], ids], -1)


@pytest.mark.real_data
@pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets")
@pytest.mark.parametrize("split", ["examples", "examples_2ch"])
def test_real_truth_against_itself_and_moved(split):
    root = Path(os.environ["MULTISEG_DATA"]) / "coco_panoptic_sample/sample_data"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    dataset = Panoptic(root, split)
    count = len(dataset.label_space)
    assert len(dataset) == 2 and count == len(COCOPanoptic.label_space)
    itself = PanopticQuality(count)
    moved_total = torch.zeros(count, 4)
    crowds = 0
    for index in range(2):
        true = dataset[index].segments
        crowds += int(true.crowd.sum())
        itself.update(true, true)
        ids = tv_tensors.Mask(torch.roll(true.ids.as_subclass(torch.Tensor), (3, -5), (0, 1)))
        moved = Segments(ids, true.classes, true.crowd)
        moved_total += torch.tensor(sums_of(true, moved, count))
    assert crowds == 3
    perfect = panoptic_scores(itself.compute(), dataset.label_space)
    assert (perfect.all.pq, perfect.things.sq, perfect.stuff.rq) == (100, 100, 100)
    assert 20 < panoptic_scores(moved_total, dataset.label_space).all.pq < 90


def test_scores_are_read_as_they_were_written() -> None:
    sums = torch.tensor([[0.8, 1, 0, 1], [0, 0, 2, 0], [0, 0, 0, 0], [1.5, 2, 1, 0]], dtype=torch.float64)
    written = panoptic_scores(sums, SPACE)
    assert PanopticScores.from_json(json.loads(json.dumps({"mIoU": 1.0, **written.to_json()}))) == written
    nothing = PanopticScores.from_json({"PQ": None})
    assert math.isnan(nothing.all.pq) and math.isnan(nothing.things.sq)
    assert (nothing.per_class, nothing.absent) == ({}, ())
