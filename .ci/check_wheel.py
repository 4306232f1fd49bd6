"""What a wheel must be: small, stripped, with the plug-in's files in its root; the companion's has
the GPU part and nothing else.

python .ci/check_wheel.py WHEEL
"""

import pathlib
import struct
import sys
import zipfile

# MB. The GPU part is for a wheel of its own; builds that have it are for its tests.
LARGEST, LARGEST_GPU = 6, 25
ROOT = {"_keras_native_hook.py", "keras_native_hook.pth", "keras_native_hook.start"}


def main() -> int:
    """Prints what is wrong; 0 if nothing is."""
    path = pathlib.Path(sys.argv[1])
    found = companion(path) if path.name.startswith("keras_native_cuda") else whole(path)
    print(*found, sep="\n  ")
    return 1 if len(found) > 1 else 0


def companion(path: pathlib.Path) -> list[str]:
    """What the wheel of the GPU part is, and what is wrong with it."""
    wrong = []
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
        metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
        symbols = [name for name in names if ".symtab" in sections(wheel.read(name))]
    version = path.name.split("-")[1]
    size = path.stat().st_size / 2**20
    if size > LARGEST_GPU:
        wrong.append(f"{size:.1f} MB is more than {LARGEST_GPU}")
    if len(names) != 1 or not names[0].startswith("keras_native/_cuda."):
        wrong.append(f"expected the module _cuda alone: {', '.join(names)}")
    if symbols:
        wrong.append(f"not stripped: {', '.join(symbols)}")
    if f"Requires-Dist: keras-native=={version}" not in metadata:
        wrong.append("does not require the keras-native of its own version")
    return [f"{path.name}: {size:.2f} MB, {len(names)} file", *wrong]


def sections(elf: bytes) -> set[str]:
    """Names of an ELF file's sections. The machine code of kernels inside it is ELF as well."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", elf, table + k * size) for k in range(count)]
    start = heads[names][4]
    return {elf[start + h[0] : elf.index(b"\0", start + h[0])].decode() for h in heads}


def whole(path: pathlib.Path) -> list[str]:
    """What the wheel of the CPU part is, and what is wrong with it."""
    wrong = []
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        parts = [name for name in names if name.startswith("keras_native/_cuda.")]
        gpu = sum(wheel.getinfo(name).compress_size for name in parts) / 2**20
        core = [name for name in names if name.startswith("keras_native/_core.")]
        symbols = [name for name in core if ".symtab" in sections(wheel.read(name))]
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
    return [f"{path.name}: {size:.2f} MB and {gpu:.2f} MB for the GPU, {len(names)} files", *wrong]


if __name__ == "__main__":
    sys.exit(main())
