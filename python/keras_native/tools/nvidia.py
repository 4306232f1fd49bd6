"""Programs of NVIDIA's CUDA toolkit: where they are, and what they say of kernels."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class ToolError(RuntimeError):
    """A program is not there, or did not do what it was asked."""


def find(name: str) -> str | None:
    """The path of nvcc, ptxas, nvdisasm or cuobjdump: the variable of that name in capitals, a
    wheel (those of cuda/nvcc.txt and the like), the search path, the toolkit's usual folder."""
    wheels = importlib.util.find_spec("nvidia")
    folders = list(wheels.submodule_search_locations or ()) if wheels else []
    places = [str(path) for folder in folders for path in sorted(Path(folder).glob("cu*/bin"))]
    places += [os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    return os.environ.get(name.upper()) or shutil.which(name, path=os.pathsep.join(places))


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a program to its end; its output is text.

    Raises:
        ToolError: it is not found, or failed; with what it said.
    """
    path = find(name)
    if path is None:
        raise ToolError(
            f"no {name}: put it on the search path, set {name.upper()}, or install the wheels of "
            "cuda/nvcc.txt in the project's sources"
        )
    # What is preloaded here, a sanitiser's library say, is not for the compiler.
    clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run([path, *arguments], capture_output=True, text=True, env=clean)
    if done.returncode != 0:
        raise ToolError(f"{name} failed:\n{(done.stderr or done.stdout).strip()}")
    return done


def target(capability: int) -> str:
    """What nvcc and ptxas call the architecture with all of its instructions, wgmma among them."""
    return "90a" if capability == 90 else str(capability)


def compile_ptx(source: Path, architecture: int | str, options: Sequence[str] = ()) -> str:
    """The PTX of a CUDA source, with the lines it came from.

    Raises:
        ToolError: there is no nvcc, or the source does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernel.ptx"
        where = [str(source), "-o", str(out)]
        run("nvcc", "-ptx", f"-arch=compute_{architecture}", "-lineinfo", *options, *where)
        return out.read_text()


def registers(ptx: str, architecture: int | str) -> dict[str, tuple[int, int]]:
    """By kernel: registers of a thread and bytes spilled, as ptxas has them.

    Raises:
        ToolError: there is no ptxas, or it does not take the PTX.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        where = [str(source), "-o", str(out)]
        return read_registers(run("ptxas", "-v", f"-arch=sm_{architecture}", *where).stderr)


def read_registers(log: str) -> dict[str, tuple[int, int]]:
    """The same from what `ptxas -v` printed."""
    found, name, spilled = {}, "", 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            name, spilled = entry[1], 0
        elif spills := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(spills[1]) + int(spills[2])
        elif used := re.search(r"Used (\d+) registers", line):
            found[name] = int(used[1]), spilled
    return found


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One of machine code: `target` is where a branch or a call goes, None for the rest; `guarded`:
    it may be passed over."""

    address: int
    opcode: str
    target: int | None = None
    guarded: bool = False


def disassemble(fatbin: bytes, ptx: str, architecture: int | str) -> dict[str, list[Instruction]]:
    """By kernel: the machine code for one architecture, read by cuobjdump; where only nvdisasm is
    found, of what ptxas makes of the PTX.

    Raises:
        ToolError: neither is there, or the fat binary has no code for the architecture.
    """
    with tempfile.TemporaryDirectory() as folder:
        image, cubin = Path(folder) / "kernels.fatbin", Path(folder) / "kernels.cubin"
        if find("cuobjdump"):
            image.write_bytes(fatbin)
            kind = f"sm_{architecture}"
            return read_code(run("cuobjdump", "-sass", "-arch", kind, str(image)).stdout)
        if find("nvdisasm") is None:
            raise ToolError(
                "no disassembler: install nvidia-cuda-cuobjdump or nvidia-cuda-nvdisasm"
            )
        image.write_text(ptx)
        run("ptxas", f"-arch=sm_{architecture}", str(image), "-o", str(cubin))
        return read_code(run("nvdisasm", str(cubin)).stdout)


_HEAD = re.compile(r"^(?:\s+Function : |\.text\.)([\w$]+):?\s*$")
_LABEL = re.compile(r"^(\.L_\w+):")
_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?(@!?U?P[\dT]\s+)?([A-Z][\w.]*)([^;]*);")
_TARGET = re.compile(r"(0x[0-9a-f]+)\s*$|`\((\.L_\w+)\)\s*$")


def read_code(text: str) -> dict[str, list[Instruction]]:
    """The same from what cuobjdump or nvdisasm printed."""
    kernels: dict[str, list] = {}
    code, labels, waiting = [], {}, []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            code, labels, waiting = kernels.setdefault(head[1], []), {}, []
        elif label := _LABEL.match(line):
            waiting.append(label[1])
        elif found := _LINE.match(line):
            address = int(found[1], 16)
            labels |= dict.fromkeys(waiting, address)
            waiting = []
            opcode, operands = found[3], found[4]
            # A call may be a far branch that does not return.
            to = _TARGET.search(operands) if opcode.startswith(("BRA", "CALL")) else None
            guarded = bool(found[2]) or (to is not None and "P" in operands[: to.start()])
            code.append((address, opcode, to and (to[1] or to[2]), guarded, labels))
    return {
        name: [
            Instruction(
                at, opcode, to and (int(to, 16) if to[0] == "0" else names.get(to)), guarded
            )
            for at, opcode, to, guarded, names in rows
        ]
        for name, rows in kernels.items()
    }


def loops(code: list[Instruction]) -> list[list[str]]:
    """The opcodes of every loop: all from where a branch goes back to from which that branch can be
    reached, wherever the assembler has put it."""
    place = {each.address: k for k, each in enumerate(code)}
    after: list[list[int]] = []
    for k, each in enumerate(code):
        ends = each.opcode.split(".")[0] in ("BRA", "EXIT", "RET") and not each.guarded
        after.append([] if ends or k + 1 == len(code) else [k + 1])
        if each.target in place:
            after[k].append(place[each.target])
    before: list[list[int]] = [[] for _ in code]
    for k, nexts in enumerate(after):
        for n in nexts:
            before[n].append(k)
    found = []
    for k, each in enumerate(code):
        head = place.get(each.target)
        # Back to where every way to the branch has come by.
        if head is not None and head <= k and k not in _reached(0, after, head):
            body = _reached(k, before, head) | {head}
            found.append([code[n].opcode for n in sorted(body)])
    return found


def _reached(start: int, edges: list[list[int]], but: int) -> set[int]:
    """What can be come to from `start` by edges without coming by `but`."""
    seen, todo = {but}, [start]
    while todo:
        k = todo.pop()
        if k not in seen:
            seen.add(k)
            todo += edges[k]
    return seen - {but}
