from pathlib import Path

from multiseg.cache import cache_folder


def test_the_chosen_folder_goes_before_that_of_the_system_and_that_before_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/system")
    monkeypatch.setenv("MULTISEG_CACHE", "/chosen")
    assert cache_folder() == Path("/chosen")
    monkeypatch.delenv("MULTISEG_CACHE")
    assert cache_folder() == Path("/system/multiseg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/someone/.cache/multiseg")
