"""Writes the speeds in README.md (a row a model, a row a file of kernels' results), docs/speed.md
(a row a case) and the pictures docs/models.png and docs/gemm.png from results. Those of kernels it
can measure first; those of models are bench/models.py's.

    python bench/readme.py                      from bench/results/*.json as they are
    python bench/readme.py --run conv:mobilenetv2 gemm:square,layers -- --peers torch --threads 1
                                                measures first; what stands behind -- is passed on

A file of results is what `python -m keras_native bench FAMILY LIST ... --json FILE` writes. Each is
of one machine, at one time, in one way, which its setting says. Those of other processors than the
one that is asked for are left out: a table compares what one machine did.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import models_report, plot  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PEERS = ("numpy", "torch", "jax", "tensorflow")
MODELS = RESULTS / "models-zen4-2cores.jsonl"
PICTURES = {"gemm-curve": "gemm.png"}
PROCESSOR = "AMD EPYC (family 25, model 17)"
EMPTY = "Not measured yet: `python bench/readme.py --run gemm conv attention`.\n"


def main() -> int:
    """Measures if asked, then rewrites README.md between the marks, and docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="*", default=[], metavar="FAMILY[:LIST,LIST]")
    parser.add_argument("--processor", default=PROCESSOR, help="whose results are shown")
    parser.add_argument("more", nargs="*", help="for the bench tool, behind --")
    options = parser.parse_args()
    for what in options.run:
        measure(what, options.more)
    # Those of a GPU are written otherwise.
    files = sorted(path for path in RESULTS.glob("*.json") if not path.stem.startswith("gpu-"))
    results = [{"name": path.stem, **json.loads(path.read_text())} for path in files]
    results = [result for result in results if result["processor"] == options.processor]
    for result in results:
        if result["name"] in PICTURES:
            picture(plot.draw, result, ROOT / "docs" / PICTURES[result["name"]])
    models = models_report.read(MODELS)
    picture(models_report.draw, *models, ROOT / "docs" / "models.png")
    readme = ROOT / "README.md"
    text = between("models", readme.read_text(), models_report.summary(*models))
    readme.write_text(between("speed", text, summary(results)))
    all_models = f"\n## The six models of README\n\n{models_report.table(*models)}"
    (ROOT / "docs" / "speed.md").write_text(page(results) + all_models + models_page())
    return 0


def between(mark: str, text: str, new: str) -> str:
    """The text with what stands between the lines `<!-- mark:begin` and `<!-- mark:end -->` new."""
    begin, end = f"<!-- {mark}:begin", f"<!-- {mark}:end -->"
    head, rest = text.split(begin, 1)
    line, rest = rest.split("\n", 1)
    return f"{head}{begin}{line}\n{new}{end}{rest.split(end, 1)[1]}"


def measure(what: str, more: list[str]) -> None:
    """Runs the bench tool on a family, or on lists of it."""
    family, _, lists = what.partition(":")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{what.replace(':', '-').replace(',', '-')}.json"
    command = [
        sys.executable,
        "-m",
        "keras_native",
        "bench",
        family,
        *filter(None, lists.split(",")),
    ]
    subprocess.run([*command, "--json", str(path), *(more or ["--peers"])], cwd=ROOT, check=True)


def picture(draw: Callable, *what) -> None:
    """draw(*what), where there is matplotlib; else the old picture stays."""
    try:
        draw(*what)
    except plot.PlotError as error:
        print(error, file=sys.stderr)


def setting(result: dict) -> str:
    """The machine, the day, and how times were taken."""
    threads = f"{result['threads']} thread{'s' * (result['threads'] > 1)}"
    text = f"{result['processor']}, {result['isa']}, {threads}, "
    text += f"{result['peak'] / 1e9:.0f} GFLOP/s of multiply-adds measured, {result['date']}"
    if "by" in result:
        clock = {"wall": "", "cpu": " of the process's own time"}[result["clock"]]
        rounds = result["rounds"]
        text += f", the {result['by']}{clock} in {rounds} round{'s' * (rounds > 1)}"
    return text


def peers_of(rows: list[dict]) -> list[str]:
    """The libraries that were timed."""
    return [name for name in PEERS if any(row.get(name) for row in rows)]


def ratios(rows: list[dict], peer: str) -> list[float]:
    """How many times longer the library takes, for the cases that it has."""
    return [row[peer] / row["seconds"] for row in rows if row.get(peer) and row["seconds"]]


def summary(results: list[dict]) -> str:
    """Markdown: a row for each family, with geometric means."""
    if not results:
        return EMPTY
    lines = [
        "How many times longer each library takes for the same work on the same threads: geometric "
        "means (and the least) over the cases of a family, which [docs/speed.md](docs/speed.md) "
        "lists.",
        "",
        "| cases | number | " + " | ".join(PEERS) + " | behind the best of them |",
        "|---|---:|" + "---:|" * len(PEERS) + "---:|",
    ]
    for result in results:
        cells = [result["name"], str(len(result["rows"]))]
        for peer in PEERS:
            found = ratios(result["rows"], peer)
            mean = math.exp(sum(map(math.log, found)) / len(found)) if found else 0
            cells.append(f"{mean:.2f} ({min(found):.2f})" if found else "-")
        best = [min(found) for row in result["rows"] if (found := _of_row(row))]
        cells.append(f"{sum(ratio < 0.95 for ratio in best)} of {len(best)}")
        lines.append("| " + " | ".join(cells) + " |")
    by_setting: dict[str, list[str]] = {}
    for result in results:
        by_setting.setdefault(setting(result), []).append(result["name"])
    machines = [f"{', '.join(names)}: {how}." for how, names in by_setting.items()]
    return "\n".join([*lines, "", *machines]) + "\n"


def _of_row(row: dict) -> list[float]:
    return [row[peer] / row["seconds"] for peer in PEERS if row.get(peer) and row["seconds"]]


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
            f"## {result['name']}\n\n{setting(result)}.\n",
            "| case | kernel | µs | GFLOP/s | of peak | of roofline | " + " | ".join(peers) + " |",
            "|---|---|---:|---:|---:|---:|" + "---:|" * len(peers),
        ]
        for row in rows:
            cells = [f"{row[p] / row['seconds']:.2f}" if row.get(p) else "-" for p in peers]
            speed = [f"{row['flops'] / row['seconds'] / 1e9:,.0f}"] if row.get("flops") else ["-"]
            speed += [f"{row[k]:.0%}" if row.get(k) else "-" for k in ("of_peak", "of_roofline")]
            took = f"{row['seconds'] * 1e6:,.0f}"
            cells = [f"`{row['case']}`", row["kernel"], took, *speed, *cells]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts) if results else f"{parts[0]}\n{EMPTY}"


def models_page() -> str:
    """Markdown: a row for each model of bench/zoo.py and bench/transformers.py that was timed."""
    # By model and by what was timed of it; the last that was measured, near rather than far.
    found: dict[str, dict[str, dict]] = {}
    for line in (RESULTS / "turns-zoo.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "work" not in row or len(row["of_native"]) < 2:
            continue
        name, work = row["work"].split("/")
        before = found.setdefault(name, {}).get(work)
        if not before or row["state"] == "near" or before["state"] != "near":
            found[name][work] = row
    kinds = {"fit": "training step", "predict": "predict", "predict1": "predict 1", "call": "call"}
    lines = [
        "\n## More models\n\n"
        "The models of `bench/zoo.py` and `bench/transformers.py` by `bench.turns` "
        "(`bench/results/turns-zoo.jsonl`), 2 threads: how many times longer a step takes in Keras "
        "on the fastest other backend that was timed, and which that is.\n",
        "| model | " + " | ".join(kinds.values()) + " |",
        "|---|" + "---:|" * len(kinds),
    ]
    for name in sorted(found):
        cells = [_beside_best(found[name].get(kind)) for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _beside_best(row: dict | None) -> str:
    if row is None:
        return "-"
    peers = {name: ratio for name, ratio in row["of_native"].items() if name in PEERS}
    if not peers:
        return "-"
    best = min(peers, key=peers.__getitem__)
    return f"{peers[best]:.2f} {best}"


if __name__ == "__main__":
    sys.exit(main())
