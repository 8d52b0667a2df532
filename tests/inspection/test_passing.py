"""Samples spread evenly, and looked at in threads."""

import threading

import pytest

from multiseg.errors import MultisegError
from multiseg.inspection.passing import evenly_spread, in_threads


@pytest.mark.parametrize(
    ("total", "limit", "places"),
    [(5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (10, 5, [0, 2, 4, 6, 8]), (10, 3, [0, 3, 6]), (0, 3, [])],
)
def test_places_are_spread_evenly(total, limit, places):
    assert list(evenly_spread(total, limit)) == places


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_results_come_in_order_and_progress_ends_at_the_total(workers):
    seen = []
    places = range(3, 203)
    found = list(in_threads(lambda place: place * place, places, workers, lambda *done: seen.append(done)))
    assert found == [place * place for place in places]
    assert seen[-1] == (200, 200)
    assert seen == sorted(seen)


def test_an_exception_ends_the_pass_without_looking_at_the_rest():
    looked_at = []

    def look_at(place):
        looked_at.append(place)
        if place == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(look_at, range(10_000), workers=1))
    assert len(looked_at) < 5000


def test_several_threads_work_at_once():
    barrier = threading.Barrier(2, timeout=10)
    # two chunks: each waits for the other
    list(in_threads(lambda place: barrier.wait() if place % 32 == 0 else None, range(64), workers=2))


def test_there_must_be_something_to_do_it_with():
    with pytest.raises(MultisegError, match="at least 1, not -2"):
        evenly_spread(9, -2)
    with pytest.raises(MultisegError, match="at least 1 worker is needed, not 0"):
        next(in_threads(str, [1], workers=0))
