"""A library with the functions of libcuda.so.1 that behaves as the environment says: a GPU whose
memory is the host's and whose kernels do nothing, and every failure that a driver can report.

FAKE_<function>=<code> makes a function fail, FAKE_ONCE_<function> when it is first called;
FAKE_VERSION, FAKE_COUNT, FAKE_CAPABILITY and FAKE_BYTES say what the driver and its devices are.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "cuda/runtime/driver.h"

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef unsigned long long address;
static int number(const char* name, int usual) {
  const char* text = getenv(name);
  return text ? atoi(text) : usual;
}
#define RESULT(name) do {                                        \\
    static int calls;                                            \\
    const int once = calls++ ? 0 : number("FAKE_ONCE_" #name, 0); \\
    if (once) return once;                                       \\
    if (number("FAKE_" #name, 0)) return number("FAKE_" #name, 0); \\
  } while (0)
int cuDriverGetVersion(int* v) { *v = number("FAKE_VERSION", 13000); return 0; }
int cuGetErrorName(int e, const char** text) {
  static char name[32];
  snprintf(name, sizeof name, "FAKE_ERROR_%d", e);
  *text = name;
  return 0;
}
int cuDeviceGetCount(int* n) { *n = number("FAKE_COUNT", 1); return 0; }
int cuDeviceGet(int* d, int k) { *d = k; return 0; }
int cuDeviceGetName(char* name, int n, int d) { snprintf(name, n, "Fake GPU"); return 0; }
int cuDeviceGetAttribute(int* v, int which, int d) {
  const int capability = number("FAKE_CAPABILITY", 80);
  *v = which == 75 ? capability / 10 : which == 76 ? capability % 10 : 1;
  return 0;
}
int cuDeviceTotalMem_v2(size_t* n, int d) { *n = 1 << 30; return 0; }
static size_t taken;
int cuMemAlloc_v2(address* a, size_t n) {
  RESULT(cuMemAlloc_v2);
  if (n > number("FAKE_BYTES", 1 << 30) - taken) return 2;
  size_t* block = calloc(n + 64, 1);
  taken += *block = n;
  *a = (address)block + 64;
  return 0;
}
int cuMemFree_v2(address a) {
  size_t* block = (size_t*)(a - 64);
  taken -= *block;
  free(block);
  return 0;
}
int cuMemHostAlloc(void** p, size_t n, unsigned f) {
  RESULT(cuMemHostAlloc);
  *p = malloc(n);
  return 0;
}
int cuMemcpyHtoDAsync_v2(address to, const void* from, size_t n, void* s) {
  RESULT(cuMemcpyHtoDAsync_v2);
  memcpy((void*)to, from, n);
  return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, address from, size_t n, void* s) {
  RESULT(cuMemcpyDtoHAsync_v2);
  memcpy(to, (void*)from, n);
  return 0;
}
"""


def build(folder: Path) -> str:
    """The path of the library; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for a driver that fails on demand")
    names = re.findall(r"X\((cu\w+),", TABLE.read_text())
    rest = [name for name in names if f"int {name}(" not in SOURCE]
    text = SOURCE + "".join(f"int {name}() {{ RESULT({name}); return 0; }}\n" for name in rest)
    source, library = folder / "fake.c", folder / "libfake.so"
    source.write_text(text)
    command = [compiler, "-std=gnu11", "-w", "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return str(library)
