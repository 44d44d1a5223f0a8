"""The order of the imports is the order of the data path, and each layer keeps to its trade.

Reads the source of archive7/ and runs none of it.  Whoever adds a module gives it a place in
LAYERS; whoever needs an upward import has found two nouns in one module, or a layer in the wrong
place.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "archive7"
SOURCE = Path(__file__).resolve().parent.parent / PACKAGE

# The layers, lowest first.  A name covers the module and everything below it, except what a
# longer name places elsewhere: "streams" is the package, "streams.__init__" its facade alone, and
# "__init__" the facade of archive7.  Within one name any order of imports is right, but no cycle.
LAYERS = (
    "errors",
    "layout",
    "locks",
    "guard",
    "device",
    "crypto",
    "hpke",
    "keys",
    "keyslots",
    "superblock",
    "epochs",
    "unlock",
    "slots",
    "positions",
    "map",
    "root",
    "cache",
    "reader",
    "blocks",
    "opening",
    "snapshot",
    "savepoint",
    "tail",
    "reserve",
    "durability",
    "commit",
    "blanking",
    "compact",
    "creation",
    "identity",
    "treenode",
    "btree",
    "streams",
    "entry",
    "extras",
    "paths",
    "owners",
    "entries",
    "links",
    "deletion",
    "filesystem",
    "receipt",
    "lineage",
    "rekey",
    "headerbackup",
    "pattern",
    "query",
    "search",
    "copying",
    "session",
    "fileopen",
    "files",
    "listing",
    "directories",
    "names",
    "attributes",
    "transfer",
    "hostfolder",
    "hostattributes",
    "hostfile",
    "hostname",
    "hostwalk",
    "hostpart",
    "hostimport",
    "treewalk",
    "hostexport",
    "finding",
    "marks",
    "mapcheck",
    "treecheck",
    "streamcheck",
    "namecheck",
    "spacecheck",
    "structurecheck",
    "datacheck",
    "check",
    "overlay",
    "inventory",
    "mending",
    "streamrepair",
    "treerepair",
    "namerepair",
    "repair",
    "patient",
    "chart",
    "survey",
    "assembly",
    "remains",
    "exploration",
    "whereabouts",
    "haven",
    "hosthaven",
    "rescued",
    "salvage",
    "header",
    "info",
    "keyring",
    "pathobject",
    "upkeep",
    "archive",
    "remedies",
    "__init__",
    "demo",
    "cli",
    "__main__",
)

# A library, and the only layers that may import it.
LIBRARY_OWNERS = {
    "click": {"cli"},
    "cryptography": {"crypto", "hpke"},
    "fcntl": {"locks", "device"},
    "libnacl": {"crypto"},
    "mmap": {"device"},
    "msvcrt": {"locks", "device"},
    "nacl": {"crypto"},
    "rich": {"cli"},
    "struct": {"layout"},
    "xxhash": {"crypto"},
}

# What reads, writes and syncs at an offset: containers, so only the device.
SYSTEM_CALLS = {
    "os": {
        "dup", "fdatasync", "fsync", "ftruncate", "lockf", "lseek", "posix_fadvise",
        "posix_fallocate", "pread", "preadv", "pwrite", "pwritev", "readv", "truncate", "writev",
    },
}  # fmt: skip
# creation: the fsync of a folder; keys: that of a new key file
SYSTEM_CALL_OWNERS = {"locks", "device", "creation", "keys"}

# What opens a file.  Beside the device only the layers that handle files of the host that are no
# containers: trees that are imported and exported, password and key files, what `ar7 put` names.
OPENERS = {
    "builtins": {"open"},
    "codecs": {"open"},
    "io": {"FileIO", "open", "open_code"},
    "os": {"close", "fdopen", "open", "read", "sendfile", "write"},
}
OPENER_OWNERS = {
    "device", "keys", "creation", "hostfolder", "hostfile", "hostpart", "hostexport", "hosthaven",
    "demo",
    "cli",
}  # fmt: skip

PRINTERS = {"demo", "cli", "__main__"}
FORBIDDEN_NAMES = {"common", "const", "constants", "helper", "helpers", "misc", "util", "utils"}
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_MODULE_DOCSTRING_LINES = 12
LONG_DOCSTRINGS = {"__init__"}  # the map of the layers

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One import of another module of archive7."""

    target: str
    line: int
    is_typing_only: bool


@dataclass
class Module:
    """What one source file says: its imports, calls and sizes."""

    name: str
    path: Path
    tree: ast.Module
    line_count: int
    imports: list[Import] = field(default_factory=list)
    libraries: list[tuple[str, int]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        return layer_of(self.name)


def layer_of(name: str) -> str:
    """Return the longest entry of LAYERS that covers the module, or an empty string."""
    covering = [layer for layer in LAYERS if name == layer or name.startswith(layer + ".")]
    return max(covering, key=len, default="")


@cache
def module_paths() -> dict[str, Path]:
    """Map the name below archive7 (streams.block, streams.__init__) to the file."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


@cache
def modules() -> dict[str, Module]:
    found = {}
    for name, path in module_paths().items():
        text = path.read_text(encoding="utf-8")
        module = Module(name, path, ast.parse(text, str(path)), len(text.splitlines()))
        collect_names(module)
        found[name] = module
    return found


def collect_names(module: Module) -> None:
    """Record the imports, and the functions of the module's own that hide a builtin."""
    for node in module.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            module.names[node.name] = f"{PACKAGE}.{module.name}.{node.name}"
    collect_imports(module, module.tree, is_typing_only=False)


def collect_imports(module: Module, node: ast.AST, *, is_typing_only: bool) -> None:
    """Record every import at any depth; below `if TYPE_CHECKING` it is marked as such."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                record_import(module, alias.name, child.lineno, is_typing_only)
                module.names[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(child, ast.ImportFrom):
            origin = absolute_origin(module.name, child)
            for alias in child.names:
                record_import(module, f"{origin}.{alias.name}", child.lineno, is_typing_only)
                module.names[alias.asname or alias.name] = f"{origin}.{alias.name}"
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for statement in child.body:
                collect_imports(module, ast.Module([statement], []), is_typing_only=True)
            for statement in child.orelse:
                collect_imports(module, ast.Module([statement], []), is_typing_only=is_typing_only)
        else:
            record_dynamic_import(module, child)
            collect_imports(module, child, is_typing_only=is_typing_only)


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def absolute_origin(name: str, node: ast.ImportFrom) -> str:
    """Return the absolute name of the X in `from X import ...`."""
    if not node.level:
        return node.module or ""
    package = [PACKAGE, *name.split(".")[:-1]]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def record_import(module: Module, name: str, line: int, is_typing_only: bool) -> None:
    if name.partition(".")[0] == PACKAGE:
        module.imports.append(Import(resolve(name), line, is_typing_only))
    else:
        module.libraries.append((name.partition(".")[0], line))


def record_dynamic_import(module: Module, node: ast.AST) -> None:
    """See importlib.import_module("...") and __import__("...") as the imports they are."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = ast.unparse(node.func).rpartition(".")[2]
        name = node.args[0].value
        if function in {"import_module", "__import__"} and isinstance(name, str):
            absolute = f"{PACKAGE}{name}" if name.startswith(".") else name
            record_import(module, absolute, node.lineno, is_typing_only=False)


def resolve(name: str) -> str:
    """Return the module that `name` stands in: archive7.map.Map -> map, archive7 -> __init__."""
    parts = name.split(".")[1:]
    while parts:
        for candidate in (".".join(parts), ".".join([*parts, "__init__"])):
            if candidate in module_paths():
                return candidate
        parts.pop()
    return "__init__"


def calls(module: Module) -> Iterator[tuple[str, int]]:
    """Yield the full dotted name of every function called, or mentioned as `os.something`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            yield module.names.get(name, f"builtins.{name}"), node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin = module.names.get(node.value.id)
            if origin:
                yield f"{origin}.{node.attr}", node.lineno
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def functions(module: Module) -> Iterator[Function]:
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node


def breaches(table: dict[str, set[str]], owners: set[str]) -> list[str]:
    """List the uses of the functions in `table` outside the layers that own them."""
    forbidden = {f"{origin}.{name}" for origin, names in table.items() for name in names}
    return sorted(
        {
            f"{module.path.name}:{line} uses {name}"
            for module in modules().values()
            if module.layer not in owners
            for name, line in calls(module)
            if name in forbidden
        }
    )


def test_source_is_found() -> None:
    assert len(module_paths()) > 3, f"nothing to test below {SOURCE}"


def test_every_module_has_a_layer() -> None:
    assert [name for name, module in modules().items() if not module.layer] == []


def test_every_layer_has_a_module() -> None:
    assert set(LAYERS) - {module.layer for module in modules().values()} == set()


@pytest.mark.parametrize("name", sorted(module_paths()))
def test_no_upward_import(name: str) -> None:
    module = modules()[name]
    assert module.layer, f"{name} has no place in LAYERS"
    upward = [
        f"line {found.line}: {name} ({module.layer}) imports {found.target}"
        for found in module.imports
        if layer_of(found.target) not in LAYERS[: LAYERS.index(module.layer) + 1]
    ]
    assert upward == []


@pytest.mark.parametrize("layer", LAYERS)
def test_no_cycle_within_a_layer(layer: str) -> None:
    graph = {
        name: {
            found.target
            for found in module.imports
            if not found.is_typing_only and layer_of(found.target) == layer
        }
        for name, module in modules().items()
        if module.layer == layer
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"{layer}: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("library", sorted(LIBRARY_OWNERS))
def test_library_has_one_owner(library: str) -> None:
    foreign = [
        f"{module.path.name}:{line} imports {library}"
        for module in modules().values()
        if module.layer not in LIBRARY_OWNERS[library]
        for found, line in module.libraries
        if found == library
    ]
    assert foreign == []


def test_only_the_device_touches_a_descriptor() -> None:
    assert breaches(SYSTEM_CALLS, SYSTEM_CALL_OWNERS) == []


def test_only_owners_of_host_files_open_files() -> None:
    assert breaches(OPENERS, OPENER_OWNERS) == []


def test_nothing_in_the_library_prints() -> None:
    printing = {"builtins": {"print", "input"}, "sys": {"stdout", "stderr", "stdin"}}
    assert breaches(printing, PRINTERS) == []


def test_no_module_is_a_drawer() -> None:
    drawers = [name for name in module_paths() if FORBIDDEN_NAMES & set(name.split("."))]
    assert drawers == []


@pytest.mark.parametrize("name", sorted(module_paths()))
def test_module_is_short(name: str) -> None:
    assert modules()[name].line_count <= MAX_MODULE_LINES


@pytest.mark.parametrize("name", sorted(module_paths()))
def test_functions_are_short(name: str) -> None:
    long = [
        f"{function.name}, line {function.lineno}: {size} lines"
        for function in functions(modules()[name])
        if (size := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("name", sorted(module_paths()))
def test_module_says_what_it_owns(name: str) -> None:
    docstring = ast.get_docstring(modules()[name].tree)
    assert docstring, f"{name} has no docstring"
    if name not in LONG_DOCSTRINGS:
        assert len(docstring.splitlines()) <= MAX_MODULE_DOCSTRING_LINES


@pytest.mark.parametrize("name", sorted(module_paths()))
def test_no_exception_is_swallowed_whole(name: str) -> None:
    swallowed = [
        f"line {node.lineno}"
        for node in ast.walk(modules()[name].tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert swallowed == []


# --- the rules above, on sources that break them


def parse(name: str, text: str) -> Module:
    module = Module(name, Path(f"{name}.py"), ast.parse(text), text.count("\n"))
    collect_names(module)
    return module


@pytest.mark.parametrize(
    "text",
    [
        "import archive7.errors",
        "from archive7 import errors",
        "from archive7.errors import FormatError",
        "from . import errors",
        "from .errors import FormatError",
        "def late():\n    from .errors import FormatError",
        "importlib.import_module('archive7.errors')",
        "importlib.import_module('.errors', 'archive7')",
    ],
)
def test_every_form_of_import_is_seen(text: str) -> None:
    assert [found.target for found in parse("device", text).imports] == ["errors"]


def test_relative_import_in_a_package_is_seen() -> None:
    assert [found.target for found in parse("streams.x", "from ..errors import E").imports] == [
        "errors"
    ]


def test_import_for_typing_is_marked() -> None:
    text = "if TYPE_CHECKING:\n    from .errors import E\nelse:\n    from .layout import S"
    assert [(found.target, found.is_typing_only) for found in parse("device", text).imports] == [
        ("errors", True),
        ("layout", False),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import os\nos.pread(1, 2, 3)", "os.pread"),
        ("import os as host\nread = host.pread", "os.pread"),
        ("from os import pread as read\nread(1, 2, 3)", "os.pread"),
        ("open('x')", "builtins.open"),
        ("import io\nio.open('x')", "io.open"),
        ("print('x')", "builtins.print"),
        ("import sys\nsys.stdout.write('x')", "sys.stdout"),
    ],
)
def test_every_form_of_call_is_seen(text: str, name: str) -> None:
    assert name in {found for found, _ in calls(parse("map", text))}


def test_own_function_is_not_the_builtin() -> None:
    text = "def open(path):\n    return path\nopen('x')"
    assert "builtins.open" not in {found for found, _ in calls(parse("archive", text))}


def test_longest_name_places_a_module() -> None:
    assert layer_of("streams.block") == "streams"
    assert layer_of("streams.__init__") == "streams"
    assert layer_of("nowhere") == ""
