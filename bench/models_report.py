"""Tables and the picture of what bench/models.py measured, for README.md and docs/speed.md."""

from __future__ import annotations

import json
import pathlib

from bench.plot import PlotError

# What of a row is shown, in milliseconds, and as what.
FIGURES = {
    "fit_s": "training step",
    "fit_loop_step_s": "within fit",
    "predict_s": "predict",
    "predict1_s": "predict 1",
    "predict_api1_s": "predict() 1",
    "call1_s": "eager 1",
    "first_fit_step_s": "first step",
}
DRAWN = ("fit_s", "predict_s", "predict1_s", "first_fit_step_s")
# Their predictions are not in float32 unless asked, so that ratios leave them out.
NARROW = ("openvino",)
_COLOURS = {"torch": "#e8871e", "jax": "#2e86ab", "tensorflow": "#7b2d8b", "openvino": "#6c757d"}


def read(path: str | pathlib.Path) -> tuple[dict, list[dict]]:
    """The first line of a results file, which names the machine, and the rows with figures."""
    head, *rows = map(json.loads, pathlib.Path(path).read_text().splitlines())
    return head, [row for row in rows if "predict_s" in row]


def setting(head: dict) -> str:
    """The machine, and how times were taken."""
    gpu = f", on {head['gpu']}" if "gpu" in head else ""
    rounds = head.get("rounds", 1)
    taken = f"the better of {rounds} rounds" if rounds > 1 else "one round"
    return f"{head['threads']} threads of {head['machine']}{gpu}, float32, medians, {taken}"


def table(head: dict, rows: list[dict]) -> str:
    """Markdown: a row for each model and backend; milliseconds, and memory in MB."""
    lines = [
        f"Milliseconds, {setting(head)}.",
        "",
        f"| model (batch) | backend | {' | '.join(FIGURES.values())} | MB |",
        "|---|---|" + "---:|" * (len(FIGURES) + 1),
    ]
    for row in rows:
        cells = [f"{1e3 * row[key]:.3g}" if key in row else "-" for key in FIGURES]
        name = f"{row['model']} ({row['batch']}) | {row['backend']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {row['peak_mb']:.0f} |")
    return "\n".join(lines) + "\n"


def best_peer(rows: list[dict], model: str, key: str) -> tuple[float, str] | None:
    """How many times as much the best of the other backends takes of a figure, and its name."""
    mine = next(row for row in rows if (row["model"], row["backend"]) == (model, "native"))
    peers = [
        (row[key] / mine[key], row["backend"])
        for row in rows
        if row["model"] == model and row["backend"] not in ("native", *NARROW) and key in row
    ]
    return min(peers) if peers and key in mine else None


def summary(head: dict, rows: list[dict]) -> str:
    """Markdown: a row a model: milliseconds, and how many times as long the best peer takes."""
    keys = [*FIGURES, "peak_mb"]
    lines = [
        f"Milliseconds, {setting(head)}; in brackets how many times as long the fastest of "
        "JAX, PyTorch and TensorFlow takes, and which that is.",
        "",
        f"| model (batch) | {' | '.join(FIGURES.values())} | MB |",
        "|---|" + "---:|" * len(keys),
    ]
    for mine in (row for row in rows if row["backend"] == "native"):
        cells = []
        for key in keys:
            if key not in mine:
                cells.append("-")
                continue
            own = f"{mine[key]:.0f}" if key == "peak_mb" else f"{1e3 * mine[key]:.3g}"
            peer = best_peer(rows, mine["model"], key)
            cells.append(f"{own} ({peer[0]:.2f} {peer[1]})" if peer else own)
        lines.append(f"| {mine['model']} ({mine['batch']}) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(head: dict, rows: list[dict], path: str | pathlib.Path) -> None:
    """Writes a picture: for each figure and model, how many times as long each backend takes.

    Raises:
        PlotError: there is no matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(f"a picture needs matplotlib ({error})") from error

    models = [row["model"] for row in rows if row["backend"] == "native"]
    took = {(row["model"], row["backend"]): row for row in rows}
    backends = [name for name in _COLOURS if any(row["backend"] == name for row in rows)]
    figure = Figure(figsize=(12, 6), layout="constrained")
    width = 0.8 / len(backends)
    for axes, key in zip(figure.subplots(2, 2, sharex=True).flat, DRAWN):
        for i, backend in enumerate(backends):
            pairs = [(took[model, "native"], took.get((model, backend), {})) for model in models]
            ratios = [
                row[key] / mine[key] if key in row and key in mine else 0 for mine, row in pairs
            ]
            where = [at + (i - (len(backends) - 1) / 2) * width for at in range(len(models))]
            label = backend + (" (bfloat16)" if backend in NARROW else "")
            axes.bar(where, ratios, width, color=_COLOURS[backend], label=label)
        axes.axhline(1, color="black", linewidth=1)
        axes.set_yscale("log")
        axes.set_title(FIGURES[key], fontsize=10)
        axes.set_xticks(range(len(models)), models)
        axes.grid(axis="y", alpha=0.3, which="both")
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(f"times as long as native takes (the line at 1): {setting(head)}", fontsize=9)
    figure.savefig(path, dpi=110)
