import numpy as np
import pytest
from scipy.io import savemat

from multiseg.datasets.base import read_matlab
from multiseg.errors import MultisegError

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_matrix_is_read_whatever_its_type(tmp_path, dtype, compressed):
    savemat(tmp_path / "a.mat", {"S": IDS.astype(dtype), "names": ["x"]}, do_compression=compressed)
    read = read_matlab(tmp_path / "a.mat", "S")
    assert read.dtype.kind in "iu"
    np.testing.assert_array_equal(read, IDS)


def test_a_matrix_in_a_structure_is_read(tmp_path):
    savemat(tmp_path / "a.mat", {"GTcls": {"Boundaries": np.zeros((2, 1), object), "Segmentation": IDS}})
    np.testing.assert_array_equal(read_matlab(tmp_path / "a.mat", "GTcls", "Segmentation"), IDS)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MultisegError, match=r"a\.mat does not exist"):
        read_matlab(tmp_path / "a.mat", "S")


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        ({"T": IDS}, None, "has no matrix 'S'"),
        ({"S": IDS}, "Segmentation", r"has no matrix 'S\.Segmentation'"),
        ({"S": {"Other": IDS}}, "Segmentation", r"has no matrix 'S\.Segmentation'"),
        ({"S": "text"}, None, "'S' is no matrix of numbers"),
        ({"S": {"Segmentation": "text"}}, "Segmentation", r"'S\.Segmentation' is no matrix of numbers"),
        ({"S": np.zeros((2, 2, 3))}, None, "'S' is no matrix of numbers"),
        ({"S": np.array([[0.5]])}, None, "'S' holds fractions"),
        ({"S": np.array([[np.nan]])}, None, "'S' holds fractions"),
        ({"S": np.array([[1e30]])}, None, "'S' holds fractions"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_matrix_of_ids_is_refused_in_one_line(tmp_path, content, field, message):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(MultisegError, match=rf"a\.mat.* {message}") as error:
        read_matlab(tmp_path / "a.mat", "S", field)
    assert "\n" not in str(error.value)


def test_the_format_of_version_7_3_is_named(tmp_path):
    # a MATLAB 7.3 file is HDF5 behind a header of 512 bytes, whose version is 0x0200
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(MultisegError, match=r"a\.mat is a MATLAB file of version 7\.3, expected version 5 to 7"):
        read_matlab(tmp_path / "a.mat", "S")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_end_in_one_line(tmp_path, seed, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"GTcls": {"Segmentation": IDS, "Names": ["a", "bc"]}}, do_compression=compressed)
    random = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    if seed % 2:
        del data[random.integers(0, len(data)) :]
    else:
        for place in random.integers(124, len(data), 6):
            data[place] = random.integers(0, 256)
    path.write_bytes(data)
    try:
        assert read_matlab(path, "GTcls", "Segmentation").ndim == 2
    except MultisegError as error:
        assert "a.mat" in str(error) and "\n" not in str(error)
