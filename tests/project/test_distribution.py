"""What users install holds everything the package needs, and importing it does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from router_extproc.analysis.classifier import Classifier
from router_extproc.training.artefact import check_files

ROOT = Path(__file__).parents[2]

# Imports every module, then prints what was done meanwhile that an import must not do.
IMPORT_EVERYTHING = """
import json, pathlib, pkgutil, sys

package_directory = str(pathlib.Path(sys.argv[1]) / "router_extproc")
WATCHED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "_thread.start_new_thread")
deeds = []

def watch(event, arguments):
    if event in WATCHED:
        deeds.append(event)
    elif event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(package_directory):
        if not arguments[0].endswith((".py", ".pyc")):
            deeds.append("open " + arguments[0])

sys.addaudithook(watch)
import router_extproc
names = [module.name for module in pkgutil.walk_packages(router_extproc.__path__, "router_extproc.")]
for name in names:
    __import__(name)
print(json.dumps({"from": router_extproc.__file__, "modules": len(names), "deeds": deeds}))
"""

# Built beside the artefact for whoever wants that encoder; never shipped.
MINILM = "minilm_int8.onnx"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and the wheel, built without a network."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", directory], cwd=ROOT, check=True, capture_output=True)
    return directory


def read_wheel(directory: Path) -> zipfile.ZipFile:
    """Open the one wheel in a directory."""
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def package_files() -> set[str]:
    """Every file of the package as it lies in the working tree, data files included."""
    paths = (ROOT / "router_extproc").rglob("*")
    return {
        path.relative_to(ROOT).as_posix() for path in paths if path.is_file() and path.suffix != ".pyc" and path.name != MINILM
    }


def test_the_wheel_holds_the_whole_package(distributions: Path) -> None:
    """Every file of the package, data files and the typing marker included, is in the wheel; nothing else is."""
    with read_wheel(distributions) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == package_files()
    assert "router_extproc/py.typed" in files


def test_the_wheel_carries_a_whole_classifier(distributions: Path, tmp_path: Path) -> None:
    """Who installs the wheel has the classifier: every file that its manifest names, the model card, 15 MB at most."""
    folder = "router_extproc/analysis/artefact"
    with read_wheel(distributions) as wheel:
        sizes = {Path(one.filename).name: one.file_size for one in wheel.infolist() if one.filename.startswith(folder)}
        wheel.extractall(tmp_path)  # noqa: S202 - our own wheel, built a moment ago
    manifest = check_files(tmp_path / folder)
    assert set(sizes) == {*manifest.files, "artefact.json", "MODEL_CARD.md"}
    assert sum(sizes.values()) <= 15_000_000
    assert Classifier.load(tmp_path / folder).routing is not None


def test_the_wheel_carries_licence_and_command(distributions: Path) -> None:
    """The wheel says Apache-2.0, carries the text, and installs the command `router-extproc`."""
    with read_wheel(distributions) as wheel:
        names = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
        metadata = Parser().parsestr(wheel.read(names["METADATA"]).decode())
        assert metadata["License-Expression"] == "Apache-2.0"
        assert wheel.read(names["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        assert "router-extproc = router_extproc.cli:main" in wheel.read(names["entry_points.txt"]).decode()


def test_the_sdist_holds_the_documents(distributions: Path) -> None:
    """The sdist carries licence, changelog and documents beside the package, and no local state."""
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "CONTRIBUTING.md", "pyproject.toml", "PKG-INFO"} <= names
    assert names - package_files() <= {
        "LICENSE",
        "CHANGELOG.md",
        "README.md",
        "CONTRIBUTING.md",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }


def test_importing_does_nothing(distributions: Path, tmp_path: Path) -> None:
    """Importing every module of the wheel opens no socket, starts no thread or process, and reads no data file."""
    with read_wheel(distributions) as wheel:
        wheel.extractall(tmp_path)  # noqa: S202 - our own wheel, built a moment ago
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EVERYTHING, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["from"].startswith(str(tmp_path)), "the test must look at the wheel, not at the working tree"
    assert report["modules"] > len(list((ROOT / "router_extproc").iterdir())) // 2
    assert report["deeds"] == []
