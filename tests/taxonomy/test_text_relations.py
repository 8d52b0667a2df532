import numpy as np

from multiseg.label_space import LabelClass, LabelSpace
from multiseg.taxonomy.prototype_relations import compare_prototypes
from multiseg.taxonomy.text_relations import classes_as_texts

EYE = np.eye(4)


def space(name: str, *classes: str) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(classes)))


def test_equal_names_share_a_number_and_no_others_do() -> None:
    spaces = [space("a", "Traffic-Light", "road"), space("b", "way", "traffic light"), space("c", "road")]
    first, second, third = classes_as_texts(spaces, [EYE[:2], EYE[1:3], EYE[3:]])
    assert first.union_ids[0] == second.union_ids[1] and first.union_ids[1] == third.union_ids[0]
    assert len({*first.union_ids, *second.union_ids, *third.union_ids}) == 3
    assert first.known.all() and first.space is spaces[0] and (second.vectors == EYE[1:3]).all()


def test_near_names_and_equal_names_are_the_same() -> None:
    spaces = [space("a", "airplane", "road", "cat"), space("b", "cat", "aeroplane", "street")]
    vectors = [EYE[:3], np.stack([EYE[2], EYE[0] + 0.2 * EYE[3], EYE[1] + 0.1 * EYE[3]])]
    found = compare_prototypes(classes_as_texts(spaces, vectors)).suggestions
    assert {(own.relation.from_class, own.relation.to_class, own.evidence("text")["by"]) for own in found} == {
        ("airplane", "aeroplane", "text"),
        ("road", "street", "text"),
        ("cat", "cat", "name"),
    }
