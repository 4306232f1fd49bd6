"""What bench.measure reports, as lines of text."""

from __future__ import annotations

import shlex

from bench.measure import BEHIND, LIBRARIES, best_ratios, geometric_mean, ratios


def libraries_of(report: dict) -> list[str]:
    """The other libraries that the report knows."""
    return [name for name in LIBRARIES if name in report["versions"] and name in report["timed"]]


_CLOCKS = {"wall": "", "cpu": ", the processes' own time"}


def heading(report: dict, width: int) -> str:
    """What was measured on what, and the names of the columns."""
    peak, stream = report["peak"] / 1e9, report["stream"] / 1e9
    lines = [
        f"{report['processor']}, {report['isa']}, {report['threads']} threads: "
        f"{peak:.0f} GFLOP/s of float32 multiply-adds, {stream:.0f} GB/s of streams; "
        f"{report['by']} of the repetitions of {report['rounds']} "
        f"round{'s' * (report['rounds'] > 1)}{_CLOCKS[report['clock']]}"
    ]
    lines += [f"{name}: {why}" for name, why in report["missing"].items()]
    names = libraries_of(report)
    if names:
        versions = ", ".join(f"{name} {report['versions'][name]}" for name in names)
        lines.append(f"{versions} (times faster than it)")
    head = f"{'case':{width}} {'kernel':>12} {'us':>10} {'GFLOP/s':>8} {'peak':>5} {'GB/s':>6}"
    head += f" {'roof':>5}" + "".join(f" {name:>10}" for name in names)
    return "\n".join([*lines, head])


def line(report: dict, row: dict, width: int) -> str:
    """One case."""
    seconds = row["seconds"]
    if not seconds:
        return f"{row['case']:{width}} {row['kernel'] or 'no kernel':>12}"
    text = f"{row['case']:{width}} {row['kernel'] or '-':>12} {seconds * 1e6:10.1f}"
    text += f" {row['flops'] / seconds / 1e9:8.1f} {row['of_peak']:5.0%}"
    text += f" {row['bytes'] / seconds / 1e9:6.1f} {row['of_roofline']:5.0%}"
    for name in libraries_of(report):
        text += f" {row[name] / seconds:10.2f}" if row.get(name) else f" {'-':>10}"
    return text


def closing(report: dict, setting) -> str:
    """Means of the ratios, what is behind, and how to repeat a line."""
    rows, lines = report["rows"], []
    for name in libraries_of(report):
        if found := ratios(rows, name):
            lines.append(
                f"{name}: {geometric_mean(found):.2f} geometric mean, least {min(found):.2f}"
            )
    if best := best_ratios(rows):
        behind = sum(ratio < BEHIND for ratio in best)
        lines.append(
            f"the best of them: {geometric_mean(best):.2f} geometric mean; "
            f"behind (below {BEHIND}) in {behind} of {len(best)}"
        )
    if rows:
        lines.append("repeat a line: " + repeat(report["family"], rows[-1]["case"], setting))
    return "\n".join(lines)


def repeat(family: str, case: str, setting) -> str:
    """The command that times one case in the same way."""
    words = ["bench", family, case, "--threads", str(setting.threads), "--isa", setting.isa]
    words += ["--kernel", setting.kernel] if setting.kernel else []
    words += ["--by", setting.by, "--clock", setting.clock, "--seconds", str(setting.seconds)]
    if setting.libraries:
        words += ["--rounds", str(setting.rounds), "--peers", *setting.libraries]
        words += ["--peer-python", setting.python]
    return "python -m keras_native " + " ".join(map(shlex.quote, words))
