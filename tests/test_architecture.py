"""The layers of the design hold: imports run downwards, nothing is cyclic, files and functions stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nextword"
LAYERS = [
    {"core"},
    {"text", "tokenizers", "nn", "tinyworld"},
    {"data", "models"},
    {"adapt", "quant"},
    {"decode", "assembly"},
    {"engine"},
    {"objectives", "prompting"},
    {"train", "evals", "probe"},
    {"serve", "verify"},
    {"recipes"},
    {"face"},
    {"cli", "__init__"},
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 10
FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(module: str) -> str:
    """The first level below `nextword` of a dotted module name; the face for `nextword` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.module or "", node.lineno))
        elif isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
    return [(module, line) for module, line in found if module.split(".")[0] == "nextword"]


def test_imports_run_downwards() -> None:
    wrong = []
    for path in FILES:
        own = package_of(module_of(path))
        for module, line in imports_of(path):
            other = package_of(module)
            if other != own and LEVEL[other] >= LEVEL[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}, which is not on a lower layer")
    assert not wrong, "\n".join(wrong)


def test_no_cycles_between_modules() -> None:
    modules = {module_of(path): path for path in FILES}
    graph = {name: {module for module, _ in imports_of(path) if module in modules} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        assert name not in trail, "import cycle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES, f"{path} has more than {MAX_FILE_LINES} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            prose = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - prose
            where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            assert lines <= MAX_FUNCTION_LINES, f"{where} has {lines} lines without its docstring"
            spec = node.args
            count = len(spec.args) + len(spec.kwonlyargs) + len(spec.posonlyargs)
            count -= bool(spec.args) and spec.args[0].arg in {"self", "cls"}
            assert count <= MAX_PARAMETERS, f"{where} has {count} parameters"


def test_package_files_are_empty() -> None:
    full = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE and path.read_text().strip()]
    assert not full


LIGHT = ["nextword", "nextword.cli", *sorted(module_of(path) for path in FILES if "settings" in path.stem)]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_no_torch(module: str) -> None:
    heavy = ("torch", "numba", "transformers", "tokenizers")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
