"""What a wheel must be: small, stripped, with the plug-in's files in its root.

python .ci/check_wheel.py WHEEL
"""

import pathlib
import sys
import zipfile

# MB. The GPU part is for a wheel of its own; builds that have it are for its tests.
LARGEST, LARGEST_GPU = 6, 25
ROOT = {"_keras_native_hook.py", "keras_native_hook.pth", "keras_native_hook.start"}


def main() -> int:
    """Prints what is wrong; 0 if nothing is."""
    path = pathlib.Path(sys.argv[1])
    wrong = []
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        parts = [name for name in names if name.startswith("keras_native/_cuda.")]
        gpu = sum(wheel.getinfo(name).compress_size for name in parts) / 2**20
        core = [name for name in names if name.startswith("keras_native/_core.")]
        symbols = [name for name in core if b".symtab" in wheel.read(name)]
    size = path.stat().st_size / 2**20 - gpu
    for megabytes, largest in ((size, LARGEST), (gpu, LARGEST_GPU)):
        if megabytes > largest:
            wrong.append(f"{megabytes:.1f} MB is more than {largest}")
    if missing := ROOT - names:
        wrong.append(f"not in its root: {', '.join(sorted(missing))}")
    if len(core) != 1:
        wrong.append(f"{len(core)} compiled modules, 1 expected")
    if symbols:
        wrong.append(f"not stripped: {', '.join(symbols)}")
    strange = {name.split("/")[0] for name in names - ROOT}
    strange = {name for name in strange if not name.startswith("keras_native")}
    if strange:
        wrong.append(f"does not belong there: {', '.join(sorted(strange))}")
    print(
        f"{path.name}: {size:.2f} MB and {gpu:.2f} MB for the GPU, {len(names)} files",
        *wrong,
        sep="\n  ",
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
