"""Sets two runs of Keras's own tests side by side: what one backend skips and the other runs.

    python tests/keras/run.py --output native
    python tests/keras/run.py --backend jax --output jax --left-out native/outcomes.json
    python tests/keras/compare.py native/outcomes.json jax/outcomes.json

Prints a table by folder, then the reasons of the tests that only the first run leaves out. With
--left-out the second run has only what the first left out, and its counts are of those.
"""

import argparse
import collections
import json
import pathlib
import re

LEFT_OUT = ("skipped", "excluded", "uncollected")


def main() -> None:
    """Reads the two files and prints the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ours", type=pathlib.Path, help="outcomes.json of the one run")
    parser.add_argument("theirs", type=pathlib.Path, help="outcomes.json of the other")
    options = parser.parse_args()
    ours, theirs = (json.loads(path.read_text()) for path in (options.ours, options.theirs))
    print("\n".join([*folder_table(ours, theirs), "", *extra_table(ours, theirs)]))


def folder_of(node: str) -> str:
    """The folder under keras/src that a test stands in."""
    parts = node.split("::")[0].split("/")[2:]
    return parts[0] if len(parts) > 1 else "(top)"


def folder_table(ours: dict, theirs: dict) -> list[str]:
    """Rows of a table: passed, failed and left out, by folder and backend."""
    counts = collections.defaultdict(collections.Counter)
    for side, outcomes in enumerate((ours, theirs)):
        for node, (outcome, _) in outcomes.items():
            for folder in (folder_of(node), "total"):
                counts[folder][side, "left out" if outcome in LEFT_OUT else outcome] += 1
    columns = [(side, kind) for kind in ("passed", "failed", "left out") for side in (0, 1)]
    rows = [
        "| folder | passed | theirs | failed | theirs | left out | theirs |",
        "|---" * 7 + "|",
    ]
    for folder in [*sorted(set(counts) - {"total"}), "total"]:
        rows.append(f"| {folder} | " + " | ".join(f"{counts[folder][c]:,}" for c in columns) + " |")
    return rows


def extra_table(ours: dict, theirs: dict) -> list[str]:
    """Rows of a table: what only the first run leaves out, by folder and reason."""
    reasons = collections.Counter()
    for node, (outcome, message) in ours.items():
        if outcome in LEFT_OUT and theirs.get(node, ["absent"])[0] in ("passed", "failed"):
            reason = re.sub(r"^(Skipped|excluded): ", "", message) or "no reason given"
            reasons[folder_of(node), reason] += 1
    rows = ["| left out here alone | folder | reason given |", "|---" * 3 + "|"]
    for (folder, reason), count in sorted(reasons.items(), key=lambda item: -item[1]):
        rows.append(f"| {count} | {folder} | {reason} |")
    return rows


if __name__ == "__main__":
    main()
