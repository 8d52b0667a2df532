"""Runs against a plain loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multiseg.runs import Runs

MAPS = arrays(np.int32, st.tuples(st.integers(0, 5), st.integers(0, 7)), elements=st.integers(-1, 2))


@given(MAPS)
def test_spreading_the_values_gives_the_map(array: np.ndarray) -> None:
    runs = Runs.of(array)
    np.testing.assert_array_equal(runs.spread(runs.values), array)
    assert runs.lengths.sum() == array.size
    assert (runs.lengths > 0).all()
    assert (runs.values[1:] != runs.values[:-1]).all()


@given(MAPS)
def test_a_table_is_looked_up_as_pixel_by_pixel(array: np.ndarray) -> None:
    table = np.array([10, 11, 12, 99], np.int16)
    runs = Runs.of(array)
    spread = runs.spread(table[runs.values])
    assert spread.dtype == np.int16
    np.testing.assert_array_equal(spread, table[array])


@given(MAPS, st.data())
def test_maps_together_end_a_run_where_any_changes(first: np.ndarray, data: st.DataObject) -> None:
    second = data.draw(arrays(np.int16, first.shape, elements=st.integers(0, 2)))
    a, b = Runs.together(first, second)
    np.testing.assert_array_equal(a.spread(a.values), first)
    np.testing.assert_array_equal(b.spread(b.values), second)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    assert ((a.values[1:] != a.values[:-1]) | (b.values[1:] != b.values[:-1])).all()
