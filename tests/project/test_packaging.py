"""What a user installs is what the repository holds."""

import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from snn2hw import exporters

ROOT = Path(__file__).resolve().parents[2]
LINKS = {"exporters": ROOT / "exporters", "targets": ROOT / "targets"}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_folders() -> dict[str, Path]:
    """Every folder that holds code or targets, under the name by which it is installed."""
    folders = {}
    for top in (ROOT / "snn2hw", *LINKS.values()):
        prefix = "snn2hw" if top.name == "snn2hw" else f"snn2hw.{top.name}"
        for folder, names, files in os.walk(top):  # does not follow links, so nothing is seen twice
            names[:] = [name for name in names if name != "__pycache__"]
            if any(name.endswith(".py") for name in files) or folder == str(LINKS["targets"]):
                path = Path(folder)
                folders[".".join((prefix, *path.relative_to(top).parts))] = path
    return folders


def expected_files() -> set[str]:
    """Names that the wheel must hold, besides its metadata."""
    names = set()
    for package, folder in package_folders().items():
        files = [*folder.glob("*.py")]
        files += folder.glob("*.toml") if package == "snn2hw.targets" else []
        files += folder.glob("prices/*.toml") if package == "snn2hw.targets" else []
        files += folder.glob("*.schema.json")
        files += (file for file in folder.glob("templates/**/*") if file.is_file())
        files += folder.glob("requirements.txt") if package == "snn2hw.exporters.lava" else []
        files += folder.glob("py.typed")
        names |= {f"{package.replace('.', '/')}/{file.relative_to(folder)}" for file in files}
    return names


def repository_files() -> list[Path]:
    """Files that are committed, or would be by `git add --all`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.fail("what is committed can only be told in a git checkout: run the tests there")
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file() and not path.is_symlink()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy so that the build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "shared")
    shutil.copytree(ROOT, source, symlinks=True, ignore=skipped)
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=source, check=True, capture_output=True)
    (archive,) = folder.glob("snn2hw-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an installer does it."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.glob("snn2hw-*")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True)
    (archive_path,) = folder.glob("snn2hw-*.whl")
    return archive_path


@pytest.mark.parametrize("name", LINKS)
def test_link_leads_to_the_folder_beside_the_package(name: str) -> None:
    link = ROOT / "snn2hw" / name
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == LINKS[name]


def test_source_distribution_is_complete(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    assert expected_files() | {"pyproject.toml", "README.md", "LICENSE"} <= members


def test_wheel_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    assert members == expected_files()


def test_installed_wheel_holds_exporters_and_targets(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = "from snn2hw import exporters, targets; print(*exporters.__path__, *targets.__path__, sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.split() == [str(tmp_path / "snn2hw" / name) for name in LINKS]


@pytest.mark.parametrize("name", PROJECT["project"]["entry-points"]["snn2hw.exporters"])
def test_back_end_is_found_by_its_entry_point(name: str) -> None:
    assert len(importlib.metadata.entry_points(group=exporters.GROUP, name=name)) == 1
    assert exporters.find_backend(name).name == name


def test_command_is_found_by_its_entry_point() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="snn2hw")
    assert callable(command.load())


def test_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    script = "import snn2hw, sys; print(snn2hw.__version__, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout.split() == [version, "False"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values(), PROJECT["build-system"]["requires"]]
    for requirement in map(Requirement, itertools.chain.from_iterable(groups)):
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    frameworks = [path.read_text() for path in (ROOT / "tests").glob("requirements-*.txt")]
    for line in "\n".join(frameworks).splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert pins[name] == version, line


def test_no_file_names_a_folder_of_one_machine() -> None:
    folders = b"|".join([rb"home/\w+", b"opt", b"root", b"tmp/x", b"work"])
    absolute = re.compile(rb"(?<![\w.)}\]-])/(?:" + folders + b")/")
    naming = [path.relative_to(ROOT) for path in repository_files() if absolute.search(path.read_bytes())]
    assert not naming
