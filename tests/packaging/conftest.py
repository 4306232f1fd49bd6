"""An interpreter with the hook in its site-packages, however keras_native itself was found."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest

PYTHON_DIR = pathlib.Path(__file__).parents[2] / "python"
HOOK_FILES = ["_keras_native_hook.py", "keras_native_hook.pth", "keras_native_hook.start"]


def folder_of(module):
    """The folder that holds a module or package that this interpreter can import."""
    spec = importlib.util.find_spec(module)
    place = pathlib.Path(spec.origin).parent
    return place.parent if spec.submodule_search_locations else place


class Interpreter:
    """A virtual environment of its own, which sees this one's packages and starts with the hook."""

    def __init__(self, root):
        venv.create(root, with_pip=False, symlinks=True)
        self.root = root
        self.python = root / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = root / "lib" / version / "site-packages"
        for name in HOOK_FILES:
            shutil.copy(PYTHON_DIR / name, self.site)
        self.link_package()
        seen = dict.fromkeys([*map(str, map(folder_of, ["keras", "numpy"])), *sys.path])
        paths = [path for path in seen if path.endswith(("site-packages", "dist-packages"))]
        (self.site / "seen.pth").write_text("\n".join(paths) + "\n")
        self.home = root / "home"
        self.home.mkdir()

    def link_package(self):
        """The package, and its extension, which in an editable install stands in another folder."""
        package = self.site / "keras_native"
        package.mkdir()
        sources = (folder_of("keras_native") / "keras_native").iterdir()
        extension = pathlib.Path(importlib.util.find_spec("keras_native._core").origin)
        for source in {*sources, extension}:
            (package / source.name).symlink_to(source)

    def run(self, code, *options, check=True, **variables):
        """Runs `code` in a fresh process; returns what it printed (or wrote as an error)."""
        keep = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        here = os.fspath(pathlib.Path(__file__).parent)
        env = {
            **keep,
            "KERAS_HOME": os.fspath(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TEST_FOLDER": here,
            **variables,
        }
        done = subprocess.run(
            [self.python, *options, "-c", code],
            env=env,
            cwd=self.root,
            capture_output=True,
            text=True,
        )
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    return Interpreter(tmp_path_factory.mktemp("interpreter") / "venv")


@pytest.fixture
def keras_json(interpreter):
    """Writes keras.json, which says something else in every other test."""

    def write(backend):
        (interpreter.home / "keras.json").write_text(f'{{"backend": "{backend}"}}')

    yield write
    write("tensorflow")
