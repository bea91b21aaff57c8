"""How the package is built: dependencies point down, and its public interface is the one on file.

`python tests/test_structure.py` writes `public_api.txt` anew.
"""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

import keras_ssm

ROOT = pathlib.Path(keras_ssm.__file__).parent
API = pathlib.Path(__file__).parent / "public_api.txt"

# From the ground up: a module imports from its own row and those above it.
ROWS = [
    ["_version", "types", "arguments", "files"],
    ["backend"],
    ["ops"],
    ["initializers", "schedules"],
    ["layers", "optimizers", "datasets"],
    ["models", "analysis"],
    ["visualization", "converters", "callbacks", "testing", "export", "distribution"],
    ["recipes", "hub", "estimators"],
    ["cli"],
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
# A leaf is named where it is defined, converted or looked up by name.
LEAVES = ("DSS", "LRU", "S4", "S4D", "S5")

pytestmark = pytest.mark.backend_free


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(p for p in parts if p != "__init__"), ast.parse(path.read_text("utf-8"))


def imports(tree):
    """Modules of the package that a module imports when it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("keras_ssm"):
            inside = node.module.removeprefix("keras_ssm").lstrip(".")
            for alias in node.names:
                yield f"{inside}.{alias.name}".lstrip("."), inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("keras_ssm."):
                    yield alias.name.removeprefix("keras_ssm."), ""


def graph():
    trees = dict(modules())
    edges = {}
    for name, tree in trees.items():
        found = {full if full in trees else inside for full, inside in imports(tree)}
        edges[name] = {other for other in found if other in trees and other != name}
    return edges


def test_every_module_has_a_place():
    assert {name.split(".")[0] for name in graph() if name} <= set(RANK)


def test_every_arrow_points_down():
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name and other and RANK[other.split(".")[0]] > RANK[name.split(".")[0]]
    ]
    assert not wrong


def test_no_module_imports_itself_in_a_circle():
    edges = {name: {o for o in others if o} for name, others in graph().items() if name}
    done, path = set(), []

    def visit(name):
        if name in path:
            raise AssertionError(" -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in edges[name]:
            # A package imports its modules; they may import another of its modules.
            if not name.startswith(f"{other}."):
                visit(other)
        path.pop()
        done.add(name)

    for name in edges:
        visit(name)


def test_nothing_asks_for_the_class_of_a_leaf():
    asked = re.compile(rf"isinstance\([^()]*\b({'|'.join(LEAVES)})\b")
    wrong = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in ("layers", "converters")
        for match in asked.finditer(path.read_text("utf-8"))
    ]
    assert not wrong


def test_a_framework_is_named_in_one_folder():
    named = re.compile(r"^\s*(import|from) (jax|tensorflow|torch)\b", re.M)
    allowed = {"backend", "hub", "export", "distribution"}
    wrong = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in allowed and named.search(path.read_text("utf-8"))
    ]
    assert not wrong


def test_every_module_is_imported_with_the_package():
    """But for the application, and for what needs a package of its own."""
    left_out = {"cli", "hub", "estimators", "_version"}
    found = {info.name for info in pkgutil.iter_modules([str(ROOT)])} - left_out
    assert found <= set(vars(keras_ssm))


def test_no_function_hides_its_module():
    hidden = []
    for info in pkgutil.walk_packages([str(ROOT)], "keras_ssm."):
        if info.ispkg and info.name.split(".")[1] not in ("hub", "cli", "backend"):
            package = importlib.import_module(info.name)
            for module in pkgutil.iter_modules(package.__path__):
                if not inspect.ismodule(getattr(package, module.name, keras_ssm)):
                    hidden.append(f"{info.name}.{module.name}")
    assert not hidden


def public_names():
    for module_name in sorted(n for n in keras_ssm.__all__ if not n.startswith("_")):
        module = getattr(keras_ssm, module_name)
        if not inspect.ismodule(module):
            yield module_name, module
            continue
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        for name in sorted(names):
            yield f"{module_name}.{name}", getattr(module, name)


def signature(value):
    if inspect.ismodule(value):
        return "module"
    if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields"):
        return f"({', '.join(value._fields)})"
    if callable(value):
        try:
            parameters = inspect.signature(value).parameters.values()
        except (TypeError, ValueError):
            return "(...)"
        return f"({', '.join(str(p.replace(annotation=p.empty)) for p in parameters)})"
    return f"= {type(value).__name__}"


def public_api():
    return "".join(f"keras_ssm.{name}{signature(value)}\n" for name, value in public_names())


def test_the_public_interface_is_the_one_on_file():
    assert public_api() == API.read_text("utf-8"), (
        "the public interface has changed: run `python tests/test_structure.py` if it was meant to"
    )


if __name__ == "__main__":
    importlib.import_module("keras_ssm")
    API.write_text(public_api(), "utf-8")
