"""Writes the table of speeds in README.md from results, which it can measure first.

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


def main() -> int:
    """Measures if asked, then rewrites the part of README.md between the marks."""
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
    readme.write_text(f"{head}{BEGIN}{mark}\n{table(results)}{END}{tail}")
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


def table(results: list[dict]) -> str:
    """Markdown: a line for each machine setting, then one row a case."""
    if not results:
        return "Not measured yet: `python bench/readme.py --run matmul conv attention`.\n"
    settings = {
        f"{r['processor']}, {r['isa']}, {r['threads']} threads, "
        f"{r['peak'] / 1e9:.0f} GFLOP/s of multiply-adds measured, {r['date']}"
        for r in results
    }
    peers = [name for name in PEERS if any(row.get(name) for r in results for row in r["rows"])]
    lines = [
        f"Measured on {'; '.join(sorted(settings))}. For each library: how many times longer "
        "it takes for the same work on the same threads.",
        "",
        "| case | kernel | µs | " + " | ".join(peers) + " |",
        "|---|---|---:|" + "---:|" * len(peers),
    ]
    for result in results:
        for row in result["rows"]:
            ratios = [f"{row[p] / row['seconds']:.2f}" if row.get(p) else "-" for p in peers]
            cells = [f"`{row['case']}`", row["kernel"], f"{row['seconds'] * 1e6:,.0f}", *ratios]
            lines.append("| " + " | ".join(cells) + " |")
    for name in peers:
        ratios = [row[name] / row["seconds"] for r in results for row in r["rows"] if row.get(name)]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines += ["", f"Geometric mean over {len(ratios)} cases beside {name}: {mean:.2f}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
