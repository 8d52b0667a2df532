"""Speed against named peers. Every module here that has `comparisons()` is part of `multiseg bench`."""
