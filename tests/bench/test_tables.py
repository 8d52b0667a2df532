"""Results on their way to a file and back, and as a page shows them."""

import pytest

from multiseg.bench.base import Memory, Result, Timing
from multiseg.bench.tables import Machine, from_json, markdown, to_json
from multiseg.errors import MultisegError

OURS, THEIRS = Timing(0.25, 0.2, 0.3), Timing(0.5, 0.4, 0.6)


def machine(accelerator: str | None = None) -> Machine:
    return Machine("a processor", 2, 1, accelerator, "Linux x86_64", "3.12.1", {"torch": "2.6.0"})


def result(**given: object) -> Result:
    peers = {"theirs": THEIRS, "also": OURS}
    return Result("job", "some work", 1.5, "theirs", 7, OURS, peers, ("absent",), **given)  # type: ignore[arg-type]


def test_results_come_back_from_their_file(tmp_path):
    full = result(
        parts={"half": Timing(0.1, 0.1, 0.1)}, memory=Memory(0.5, "theirs", 10, {"theirs": 40}), images=5, flops=10**12
    )
    results = [full, result()]
    path = tmp_path / "bench.json"
    path.write_text(to_json(results, machine("NVIDIA H100 80GB HBM3")))
    assert from_json(path) == (results, machine("NVIDIA H100 80GB HBM3"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": {}, "results": []}', '{"machine": 3}'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(MultisegError, match="holds no results of `multiseg bench --json`"):
        from_json(path)
    with pytest.raises(MultisegError, match="does not exist"):
        from_json(tmp_path / "absent.json")


def test_markdown_has_a_row_a_peer():
    lines = markdown([result(images=5)], machine()).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "| 1. `job` | theirs | 500.00 | 250.00 (20/s) | 2.00× | 1.5× reached |" in lines
    assert "|  | also | 250.00 | 250.00 (20/s) | 1.00× |  |" in lines
    assert "|  | absent | not installed | 250.00 (20/s) |  |  |" in lines
    assert lines[-3].startswith("Medians of 7 turns. a processor, 2 cores, 1 threads;")
    assert lines[-1] == "1. some work"


def test_the_share_of_a_known_peak_is_shown():
    half = int(989e12 * 0.25 / 2)
    on_gpu = result(device="cuda", flops=half)
    assert "50% of peak" in markdown([on_gpu], machine("NVIDIA H100 80GB HBM3"))
    assert "of peak" not in markdown([on_gpu], machine("Some new device"))
    assert "of peak" not in markdown([result(flops=half)], machine("NVIDIA H100 80GB HBM3"))  # measured on the CPU
    assert machine("NVIDIA A100-SXM4-80GB").peak == 312e12 and machine("NVIDIA A10").peak == 125e12
    assert machine("NVIDIA GeForce RTX 4090").peak == 165e12 and machine().peak is None
