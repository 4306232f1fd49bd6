"""Finds types of one qualified name in two files. The linker merges their functions and the
templates made of them, so that code for the one runs on the other.

    python .ci/one_definition.py        of what git tracks under csrc/ and cuda/
"""

import collections
import re
import subprocess
import sys
from pathlib import Path

NOISE = [
    r"//[^\n]*",
    r"/\*[\s\S]*?\*/",
    r'"(?:\\.|[^"\\\n])*"',
    r"'(?:\\.|[^'\\])'",
    r"^\s*#(?:.*\\\n)*.*$",
]
SCOPES = re.compile(
    r"namespace\s*(?P<space>[\w:]*)\s*\{"
    r"|\b(?:enum\s+class|enum|struct|class|union)\s+(?:alignas\([^)]*\)\s*)?(?P<type>[\w:]+)\s*"
    r"(?:final\s*)?(?::[^;{}()]*)?\{"
    r"|[{}]"
)


def types_of(text: str) -> set[str]:
    """Qualified names of the types that a file defines, those in unnamed namespaces and bodies
    left out."""
    for pattern in NOISE:
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    found, stack = set(), []
    for match in SCOPES.finditer(text):
        if match["type"]:
            if None not in stack:
                found.add("::".join([*stack, match["type"]]))
            stack.append(None)
        elif match[0] == "}":
            if stack:
                stack.pop()
        else:
            stack.append(match["space"] or None)
    return found


def main() -> int:
    """Prints the names; 0 if there are none."""
    files = subprocess.check_output(["git", "ls-files", "csrc", "cuda"], text=True).split()
    places = collections.defaultdict(list)
    for name in files:
        if name.endswith((".cpp", ".h", ".cu", ".cuh")):
            for kind in types_of(Path(name).read_text()):
                places[kind].append(name)
    twice = {kind: names for kind, names in places.items() if len(names) > 1}
    for kind, names in sorted(twice.items()):
        print(f"{kind} is defined in {' and in '.join(names)}")
    print(f"{len(places)} types, {len(twice)} of them in several files")
    return 1 if twice or not places else 0


if __name__ == "__main__":
    sys.exit(main())
