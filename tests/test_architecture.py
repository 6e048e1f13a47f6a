"""The house stands as drawn in the README: three floors, imports go down, every name says what it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "services": {
        "crossfade_api",
        "crossfade_cli",
        "crossfade_client",
        "crossfade_core",
        "crossfade_registries",
        "crossfade_stores",
        "crossfade_webhooks",
        "crossfade_signing",
    },
    "workers": {"crossfade_engine", "crossfade_worker"},
}
DRAWERS = {"util", "utils", "common", "helper", "helpers", "misc"}
SOURCES = sorted(path for top in (*PACKAGES, "tests", "infra") for path in (ROOT / top).rglob("*.py"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imported_modules(path):
    """Yield (module, level) of every import statement in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


def test_import_linter_keeps_every_contract():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert " 0 broken" in outcome.stdout


@pytest.mark.parametrize("name", ["services", "workers", "infra", "tests"])
def test_top_level_folder_is_there(name):
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("name", ["Makefile", "README.md", "pyproject.toml"])
def test_top_level_file_is_there(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("top", PACKAGES)
def test_each_floor_holds_exactly_its_packages(top):
    assert {path.parent.name for path in (ROOT / top).glob("*/*.py")} == PACKAGES[top]
    assert [relative(path) for path in (ROOT / top).glob("*.py")] == []


def test_every_package_is_typed():
    packages = [ROOT / top / package for top, names in PACKAGES.items() for package in names]
    assert [relative(package) for package in packages if not (package / "py.typed").is_file()] == []


def test_no_module_or_package_is_a_drawer():
    names = [relative(path) for path in SOURCES]
    assert [name for name in names if DRAWERS & set(name.removesuffix(".py").split("/"))] == []


def test_imports_are_absolute():
    assert [relative(path) for path in SOURCES if any(level for _, level in imported_modules(path))] == []


def test_nobody_imports_through_the_source_folders():
    """`import services.crossfade_core` would load a second copy of the module."""
    found = [(relative(path), name) for path in SOURCES for name, _ in imported_modules(path)]
    assert [(path, name) for path, name in found if name.split(".")[0] in PACKAGES] == []


def test_core_imports_pydantic_and_the_standard_library_only():
    allowed = sys.stdlib_module_names | {"pydantic", "crossfade_core"}
    core = [path for path in SOURCES if path.parent.name == "crossfade_core"]
    found = [(relative(path), name) for path in core for name, _ in imported_modules(path)]
    assert len(core) > 5
    assert [(path, name) for path, name in found if name.split(".")[0] not in allowed] == []


def test_production_code_imports_no_test():
    found = [(relative(path), name) for path in SOURCES for name, _ in imported_modules(path)]
    assert [path for path, name in found if name.split(".")[0] == "tests" and path.split("/")[0] in PACKAGES] == []
