import torch

from multiseg.losses.base import MaskTargets


def test_only_segments_with_pixels_are_left_each_with_its_class() -> None:
    ids = torch.tensor([[[0, 0, 3], [-1, 5, 3]], [[2, 2, 2], [2, 2, -1]]])
    targets = MaskTargets.of(ids, torch.tensor([[7, 1, 2, 8, 4, 7], [5, 5, 9, -1, -1, -1]]), most=10)
    assert targets.classes.tolist() == [[7, 8, 7], [9, -1, -1]]
    assert targets.ids.tolist() == [[[0, 0, 1], [-1, 2, 1]], [[0, 0, 0], [0, 0, -1]]]
    assert targets.present.tolist() == [[True, True, True], [True, False, False]]
    assert targets.masks()[0].sum(1).tolist() == [2, 2, 1]


def test_of_more_segments_than_queries_the_largest_are_kept_and_the_others_ignored() -> None:
    ids = torch.tensor([[0, 1, 1, 2, 2, 2, 3, 3]])[None]
    targets = MaskTargets.of(ids, torch.tensor([[4, 5, 6, 7]]), most=2)
    assert targets.classes.tolist() == [[5, 6]]  # of two equally large the first
    assert targets.ids.flatten().tolist() == [-1, 0, 0, 1, 1, 1, -1, -1]


def test_a_crowd_is_ignored_not_background() -> None:
    targets = MaskTargets.of(torch.tensor([[[0, 1, 1]]]), torch.tensor([[3, -1]]), most=5)
    assert targets.classes.tolist() == [[3]]
    assert targets.ids.tolist() == [[[0, -1, -1]]]


def test_no_segment_at_all() -> None:
    for classes in (torch.zeros(2, 0, dtype=torch.long), torch.tensor([[1], [1]])):
        targets = MaskTargets.of(torch.full((2, 3, 4), -1), classes, most=5)
        assert targets.classes.shape == (2, 0)
        assert not targets.labelled.any()
        assert targets.masks().shape == (2, 0, 12)
