"""Writes the speeds in README.md (a row a family) and docs/speed.md (a row a case) from results,
which it can measure first.

    python bench/readme.py                      from bench/results/*.json as they are
    python bench/readme.py --run matmul conv    measures these families first, beside the
                                                libraries of --peer-python

A results file is what `python -m keras_native bench FAMILY --peers --json FILE` writes, with the
machine and the day added here.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PEERS = ("numpy", "torch", "jax")
BEGIN, END = "<!-- speed:begin", "<!-- speed:end -->"
EMPTY = "Not measured yet: `python bench/readme.py --run matmul conv attention`.\n"


def main() -> int:
    """Measures if asked, then rewrites README.md between the marks, and docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="*", default=[], metavar="FAMILY")
    parser.add_argument("--peer-python", default=sys.executable)
    options = parser.parse_args()
    for family in options.run:
        measure(family, options.peer_python)
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, rest = text.split(BEGIN, 1)
    mark, rest = rest.split("\n", 1)
    tail = rest.split(END, 1)[1]
    readme.write_text(f"{head}{BEGIN}{mark}\n{summary(results)}{END}{tail}")
    (ROOT / "docs" / "speed.md").write_text(page(results))
    return 0


def measure(family: str, peer_python: str) -> None:
    """Runs the bench tool on one family and adds what machine it ran on."""
    from keras_native.tools.info import processor

    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{family}.json"
    command = [sys.executable, "-m", "keras_native", "bench", family, "--peers"]
    command += ["--peer-python", peer_python, "--json", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    report = json.loads(path.read_text())
    report.update(family=family, processor=processor(), date=time.strftime("%Y-%m-%d"))
    path.write_text(json.dumps(report, indent=1) + "\n")


def setting(result: dict) -> str:
    """The machine and the day of a result."""
    return (
        f"{result['processor']}, {result['isa']}, {result['threads']} threads, "
        f"{result['peak'] / 1e9:.0f} GFLOP/s of multiply-adds measured, {result['date']}"
    )


def peers_of(rows: list[dict]) -> list[str]:
    """The libraries that were timed."""
    return [name for name in PEERS if any(row.get(name) for row in rows)]


def ratios(rows: list[dict], peer: str) -> list[float]:
    """How many times longer the library takes, for the cases that it has."""
    return [row[peer] / row["seconds"] for row in rows if row.get(peer)]


def summary(results: list[dict]) -> str:
    """Markdown: a row for each family, with geometric means."""
    if not results:
        return EMPTY
    lines = [
        "How many times longer each library takes for the same work on the same threads: geometric "
        "means (and the least) over the cases of a family, which [docs/speed.md](docs/speed.md) "
        "lists.",
        "",
        "| family | cases | " + " | ".join(PEERS) + " | behind the best of them |",
        "|---|---:|" + "---:|" * len(PEERS) + "---:|",
    ]
    for result in results:
        cells = [result["family"], str(len(result["rows"]))]
        for peer in PEERS:
            found = ratios(result["rows"], peer)
            mean = math.exp(sum(map(math.log, found)) / len(found)) if found else 0
            cells.append(f"{mean:.2f} ({min(found):.2f})" if found else "-")
        best = [min(found) for row in result["rows"] if (found := _of_row(row))]
        cells.append(f"{sum(ratio < 0.95 for ratio in best)} of {len(best)}")
        lines.append("| " + " | ".join(cells) + " |")
    machines = dict.fromkeys(f"{result['family']}: {setting(result)}" for result in results)
    return "\n".join([*lines, "", "; ".join(machines) + "."]) + "\n"


def _of_row(row: dict) -> list[float]:
    return [row[peer] / row["seconds"] for peer in PEERS if row.get(peer)]


def page(results: list[dict]) -> str:
    """Markdown: a table for each family, a row a case."""
    parts = [
        "# Speed, case by case\n\nWritten by `bench/readme.py`. For each library: how many times "
        "longer it takes for the same work on the same threads.\n"
    ]
    for result in results:
        rows = result["rows"]
        peers = peers_of(rows)
        lines = [
            f"## {result['family']}\n\n{setting(result)}.\n",
            "| case | kernel | µs | " + " | ".join(peers) + " |",
            "|---|---|---:|" + "---:|" * len(peers),
        ]
        for row in rows:
            cells = [f"{row[p] / row['seconds']:.2f}" if row.get(p) else "-" for p in peers]
            cells = [f"`{row['case']}`", row["kernel"], f"{row['seconds'] * 1e6:,.0f}", *cells]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts) if results else f"{parts[0]}\n{EMPTY}"


if __name__ == "__main__":
    sys.exit(main())
