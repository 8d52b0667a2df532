"""Which steps are measured, and that each method can be."""

import json

import pytest

from multiseg.bench import growth
from multiseg.bench.growth import Point, measure_growth, write_growth


def test_a_series_ends_where_a_step_takes_too_long(monkeypatch, tmp_path):
    def measured(name: str, datasets: int, classes: int) -> Point:
        return Point(name, datasets, classes, 2.0 * datasets, 1000 * datasets, classes)

    monkeypatch.setattr(growth, "_measured", measured)
    points = list(measure_growth(("a", "b"), datasets=(1, 2, 4, 8), classes=(20, 100)))
    series = [(1, 20), (2, 20), (4, 20), (1, 100)]
    assert [(point.method, point.datasets, point.classes) for point in points] == [
        (name, *sizes) for name in "ab" for sizes in series
    ]
    write_growth(points, tmp_path / "new")
    written = json.loads((tmp_path / "new/growth.json").read_text())
    assert [Point(**entry) for entry in written["points"]] == points and written["machine"]["cores"] >= 1
    assert "<svg" in (tmp_path / "new/growth.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("method", growth._METHODS)
def test_every_method_can_be_measured(method):
    one, two, *_ = measure_growth((method,), datasets=(1, 2), classes=(4,))
    assert (one.datasets, two.datasets) == (1, 2)
    assert min(one.seconds, one.step_bytes) > 0
    assert two.model_bytes >= one.model_bytes > 10**7
