"""Every public function that takes or gives arrays says their shape in its docstring, or in that of its class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("snn2hw", "exporters", "targets")
ARRAYS = re.compile(r"\b(Tensor|NDArray|ndarray|Float|Int|Spikes)\b")
SHAPE = re.compile(r"(?<!\w)\[[^\[\]]*\]")  # [N, T, *shape], [] for one number; not the x[0] of a piece of code
WORDS = ("same shape", "one number", "a scalar")
Function = ast.FunctionDef | ast.AsyncFunctionDef

TO_DO: frozenset[str] = frozenset()
"""module:function of those whose docstring still lacks the shape."""


def modules() -> dict[str, ast.Module]:
    """Every module of the folders, links left out, by its path from the repository's root."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    files = {path.relative_to(ROOT).as_posix(): path for path in paths if path.resolve() == path}
    return {name: ast.parse(path.read_text()) for name, path in files.items()}


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """Public functions and public methods of public classes: name, definition, docstring of the class or ""."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, Function) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method, ast.get_docstring(node) or ""


def takes_or_gives_arrays(function: Function) -> bool:
    """Whether an annotation names an array."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    annotations = [argument.annotation for argument in listed if argument] + [function.returns]
    return any(ARRAYS.search(ast.unparse(annotation)) for annotation in annotations if annotation)


def says_shape(docstring: str, documented: frozenset[str]) -> bool:
    """Whether a docstring has a shape in brackets, says so in words, or names a dataclass that does."""
    told = SHAPE.search(docstring) or any(words in docstring for words in WORDS)
    return bool(told) or not documented.isdisjoint(re.findall(r"\w+", docstring))


def documented_dataclasses(trees: dict[str, ast.Module]) -> frozenset[str]:
    """Names of the dataclasses whose docstring says shapes."""
    classes = [node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    return frozenset(
        node.name
        for node in classes
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
        and SHAPE.search(ast.get_docstring(node) or "")
    )


def without_shape(trees: dict[str, ast.Module]) -> set[str]:
    """The functions that take or give arrays and do not say of which shape."""
    documented = documented_dataclasses(trees)
    return {
        f"{module}:{name}"
        for module, tree in trees.items()
        for name, function, of_class in functions(tree)
        if takes_or_gives_arrays(function)
        if not says_shape(f"{ast.get_docstring(function) or ''}\n{of_class}", documented)
    }


def test_public_functions_say_the_shapes_of_their_arrays() -> None:
    assert without_shape(modules()) == set(TO_DO)


@pytest.mark.parametrize(
    ("docstring", "is_told"),
    [
        ("The sum of both.", False),
        ("The first of x[0].", False),
        ("Spikes [N, T, *shape].", True),
        ("The scale, [].", True),
        ("The loss, a scalar.", True),
        ("Decay x; the same shape.", True),
        ("A batch of Samples.", True),
    ],
)
def test_a_shape_stands_in_brackets_or_in_words(docstring: str, is_told: bool) -> None:
    source = f'''
@dataclass(frozen=True)
class Samples:
    """x: [N, *shape]."""

def add(x: Tensor) -> Tensor:
    """{docstring}"""
'''
    assert without_shape({"module": ast.parse(source)}) == (set() if is_told else {"module:add"})


@pytest.mark.parametrize(
    ("head", "counts"),
    [
        ("def add(x: Tensor) -> None", True),
        ("def add(x: int) -> dict[str, NDArray[np.int64]]", True),
        ("def add(*, x: Float | None = None) -> int", True),
        ("def add(x: Integer) -> int", False),
        ("def _add(x: Tensor) -> Tensor", False),
    ],
)
def test_only_public_functions_of_arrays_count(head: str, counts: bool) -> None:
    assert without_shape({"module": ast.parse(f"{head}: ...")}) == ({"module:add"} if counts else set())


def test_a_method_may_leave_the_shape_to_its_class() -> None:
    source = '''
class Layer:
    """Takes [N, *shape]; gives the same."""

    def forward(self, x: Tensor) -> Tensor: ...

class Silent:
    def forward(self, x: Tensor) -> Tensor: ...
'''
    assert without_shape({"module": ast.parse(source)}) == {"module:Silent.forward"}
