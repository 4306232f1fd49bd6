"""One file a family, each with `CASES: list[Case]`."""
