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

import numpy
import pytest
from packaging.requirements import Requirement

from snn2hw import exporters

ROOT = Path(__file__).resolve().parents[2]
LINKS = {name: ROOT / name for name in ("examples", "exporters", "targets")}
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
        files += folder.glob("*.txt") if package == "snn2hw.exporters.lava" else []
        files += folder.glob("py.typed")
        files += folder.glob("digits.*") if package == "snn2hw.data" else []
        files += [*folder.glob("digits/*"), *folder.glob("notebooks/*")] if package == "snn2hw.examples" else []
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it, as `python -m build` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("checkout") / "source"  # a copy, so that the build leaves nothing in the checkout
    skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "shared")
    shutil.copytree(ROOT, source, symlinks=True, ignore=skipped)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (archive,) = built.glob("snn2hw-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (archive,) = built.glob("snn2hw-*.whl")
    return archive


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
    modules = [f"snn2hw.{name}" for name in LINKS]
    script = f"from importlib import import_module as load; print(*(load(each).__path__[0] for each in {modules}))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.split() == [str(tmp_path / "snn2hw" / name) for name in LINKS]


def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has the packages it needs, and nothing of this checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python, script = tmp_path / "env/bin/python", tmp_path / "env/bin/snn2hw"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")  # its own packages come first
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [script, *arguments], cwd=tmp_path, env=variables, check=True, capture_output=True, text=True
        )
        return done.stdout

    assert "Wrote examples." in run("examples", "examples")
    assert "nothing stops a deployment to lava" in run("check", "examples/digits/iand.pt")
    where = subprocess.run(
        [python, "-c", "import snn2hw; print(snn2hw.__file__)"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(site))


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
