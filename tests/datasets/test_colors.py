from multiseg.datasets.base import numbered_color


def test_the_first_are_those_of_pascal_voc():
    assert [numbered_color(number) for number in range(9)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    ]
    assert numbered_color(20) == (0, 64, 128)
    assert numbered_color(255) == (224, 224, 192)


def test_no_two_numbers_share_a_colour():
    assert len({numbered_color(number) for number in range(20_000)}) == 20_000
    assert numbered_color(2**24 - 1) == (255, 255, 255)
