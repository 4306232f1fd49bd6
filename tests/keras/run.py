"""Runs Keras's own tests, from the installed wheel of Keras, with this backend.

    python tests/keras/run.py                     all but keras.applications (which needs downloads)
    python tests/keras/run.py layers ops/nn_test.py    folders or files under keras/src
    python tests/keras/run.py --backend jax losses     the same with another backend, to compare
    python tests/keras/run.py --backend jax --left-out tests/keras/outcomes.json --output jax
                                                  only what that run left out: does JAX run it?

Writes RESULTS.md (a table by folder), FAILURES.txt (one failure a line) and outcomes.json (every
test, which `compare.py` sets beside another backend's) beside this file, or into --output. Some
tests need tensorflow-cpu, torch, jax, grain, onnxruntime, pandas, scikit-learn, dm-tree, scipy,
pillow, requests, orbax-checkpoint or tensorboard; files that cannot be collected without them are
counted apart.
"""

import argparse
import collections
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from importlib import metadata

HERE = pathlib.Path(__file__).parent
KERAS = pathlib.Path(importlib.util.find_spec("keras").origin).parent
OUTCOMES = ["passed", "failed", "skipped", "excluded", "uncollected"]
# Files whose tests take minutes run alone; the rest in batches, since each process imports Keras.
BATCH_BYTES = 120_000
BATCH_SECONDS = 1500


def main() -> int:
    """Runs the tests; 0 if none failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="folders or files under keras/src")
    parser.add_argument("--backend", default="native")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    parser.add_argument("-k", dest="keyword", help="as pytest's -k")
    parser.add_argument("--left-out", type=pathlib.Path, help="only what this outcomes.json skips")
    options = parser.parse_args()

    files = find_tests(options.paths)
    if options.left_out:
        files = [file for file in files if str(file.relative_to(KERAS.parent)) in left_out(options)]
    if not files:
        print(f"no tests under {KERAS / 'src'}: does this wheel of Keras ship them?")
        return 2
    start = time.time()
    outcomes = {}
    batches = make_batches(files)
    with concurrent.futures.ThreadPoolExecutor(options.processes) as pool:
        futures = {pool.submit(run_batch, batch, options): batch for batch in batches}
        for future in concurrent.futures.as_completed(futures):
            found = future.result()
            outcomes.update(found)
            counts = collections.Counter(outcome for outcome, _ in found.values())
            names = ", ".join(str(file.relative_to(KERAS / "src")) for file in futures[future])
            print(f"{dict(counts)}  {names}"[:160], flush=True)
    table = summarise(outcomes)
    facts = f"{options.backend} backend, Keras {keras_version()}, {time.strftime('%Y-%m-%d')}"
    options.output.mkdir(parents=True, exist_ok=True)
    write_results(options.output, table, outcomes, facts, time.time() - start)
    print((options.output / "RESULTS.md").read_text())
    total = table["total"]
    print(", ".join(f"{total[name]} {name}" for name in OUTCOMES))
    return 1 if total["failed"] or total["uncollected"] else 0


def find_tests(paths: list[str]) -> list[pathlib.Path]:
    """Test files under the given folders or files; keras.applications only if asked for."""
    if not paths:
        found = (KERAS / "src").rglob("*_test.py")
        return sorted(file for file in found if "applications" not in file.parts)
    files = []
    for path in paths:
        place = KERAS / "src" / path
        files += sorted(place.rglob("*_test.py")) if place.is_dir() else [place]
    return files


def left_out(options) -> dict[str, list[str]]:
    """The tests of each file that the run of --left-out skipped or excluded."""
    tests = collections.defaultdict(list)
    for node, (outcome, _) in json.loads(options.left_out.read_text()).items():
        if outcome in ("skipped", "excluded"):
            tests[node.split("::")[0]].append(node)
    return tests


def make_batches(files: list[pathlib.Path]) -> list[list[pathlib.Path]]:
    """Files of one folder together up to a size; large batches first, to end evenly."""
    batches, size = [], 0
    for file in files:
        bytes_ = file.stat().st_size
        if not batches or size + bytes_ > BATCH_BYTES or batches[-1][-1].parent != file.parent:
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += bytes_
    return sorted(batches, key=lambda batch: -sum(file.stat().st_size for file in batch))


def run_batch(batch: list[pathlib.Path], options) -> dict[str, tuple[str, str]]:
    """Outcome and message of each test; after a crash the files left go one by one."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report"
        report.touch()
        command = [
            sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider",
            "-o", "python_files=*_test.py", "--assert=plain", "--rootdir", str(KERAS.parent),
            "-q", "--no-header", "--tb=short", "-W", "ignore", *map(str, batch),
        ]  # fmt: skip
        if options.keyword:
            command += ["-k", options.keyword]
        paths = [str(HERE / "suite"), *filter(None, [os.environ.get("PYTHONPATH")])]
        only = pathlib.Path(folder) / "only"
        if options.left_out:
            tests = left_out(options)
            nodes = [n for file in batch for n in tests[str(file.relative_to(KERAS.parent))]]
            only.write_text("\n".join(nodes))
        env = {
            **os.environ,
            "NATIVE_SUITE_ONLY": str(only) if options.left_out else "",
            "KERAS_BACKEND": options.backend,
            "KERAS_HOME": folder,
            "NATIVE_SUITE_REPORT": str(report),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # One thread for each of the processes that run beside one another.
            "NATIVE_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=BATCH_SECONDS
            )
            ending = f"the process ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"the process ran longer than {BATCH_SECONDS} s"
        lines = [json.loads(line) for line in report.read_text().splitlines()]
    outcomes = {node: (outcome, message) for node, outcome, message in lines if node}
    if ["", "finished", ""] in lines:
        return outcomes
    if len(batch) > 1:
        for file in batch:
            outcomes.update(run_batch([file], options))
    else:
        name = f"{batch[0].relative_to(KERAS.parent)}::(a test after {list(outcomes)[-1:]})"
        outcomes[name] = ("failed", ending)
    return outcomes


def keras_version() -> str:
    """The version of Keras, or of its nightly build."""
    for name in ("keras", "keras-nightly"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def summarise(outcomes) -> dict[str, collections.Counter]:
    """Counts of each outcome by folder under keras/src, and the total."""
    table = collections.defaultdict(collections.Counter)
    for node, (outcome, _) in outcomes.items():
        parts = node.split("::")[0].split("/")[2:]
        table[parts[0] if len(parts) > 1 else "(top)"][outcome] += 1
        table["total"][outcome] += 1
    return table


def write_results(folder, table, outcomes, facts, seconds) -> None:
    """Writes RESULTS.md, FAILURES.txt and outcomes.json."""
    rows = [
        f"# Keras's own tests\n\n{facts}; {seconds / 60:.0f} minutes. Written by `run.py`.\n",
        "Skipped: by Keras, for any backend like this one. Excluded: by `exclusions.txt`, with a "
        "reason. Uncollected: files that need a package that is not installed.\n",
        "| folder | " + " | ".join(OUTCOMES) + " |",
        "|---" * (1 + len(OUTCOMES)) + "|",
    ]
    for name in [*sorted(set(table) - {"total"}), "total"]:
        rows.append(f"| {name} | " + " | ".join(f"{table[name][o]:,}" for o in OUTCOMES) + " |")
    (folder / "RESULTS.md").write_text("\n".join(rows) + "\n")
    bad = [
        f"{node}  # {outcome}: {message}"
        for node, (outcome, message) in sorted(outcomes.items())
        if outcome in ("failed", "uncollected")
    ]
    (folder / "FAILURES.txt").write_text("\n".join([*bad, ""]))
    (folder / "outcomes.json").write_text(json.dumps(outcomes, indent=0, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
