"""The documents keep what they say: examples run, files exist, terms are defined, tables agree.

docs/format.rst holds each on-disk table once, as a simple table of reST under a comment that
names its struct in archive7/layout.py:

    .. layout: BLOCK_HEAD

    ======  ====  ====  ========
    offset  size  type  field
    ======  ====  ====  ========
    0       4     i     previous
    ======  ====  ====  ========

`type` is the code of the struct module (big-endian, nothing between fields).
"""

from __future__ import annotations

import contextlib
import doctest
import re
import struct
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from archive7 import layout

TREE = Path(__file__).resolve().parent.parent
README = TREE / "README.rst"
DOCS = TREE / "docs"
FORMAT = DOCS / "format.rst"
GLOSSARY = DOCS / "glossary.rst"
PAGES = [README, TREE / "CHANGELOG.rst", *sorted(DOCS.glob("*.rst"))]

# The nouns of docs/development.rst, "House rules": each layer has one.
NOUNS = """
    block commit device entry extent file keyslot map path position root slot stream suite tree
""".split()


def page_name(page: Path) -> str:
    return page.relative_to(TREE).as_posix()


# --- README


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Return each `.. code-block:: python` with the number of its first line."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == ".. code-block:: python":
            margin = len(line) - len(line.lstrip())
            body = []
            for following in lines[number + 1 :]:
                if following.strip() and len(following) - len(following.lstrip()) <= margin:
                    break
                body.append(following)
            found.append((number + 2, textwrap.dedent("\n".join(body))))
    return found


def test_readme_has_examples() -> None:
    assert len(python_blocks(README.read_text(encoding="utf-8"))) >= 2


def test_readme_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In order and in one namespace, as a reader would type them.
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}
    for line, code in python_blocks(README.read_text(encoding="utf-8")):
        exec(compile("\n" * (line - 1) + code, str(README), "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:docs|archive7|tests|bench)/[\w/]+\.(?:rst|py)\b", text))
    named |= set(re.findall(r"\b[A-Z]{4,}\.rst\b", text))
    named |= {f"docs/{name}" for name in re.findall(r"(?<![\w/])[a-z]+\.rst\b", text)}

    assert sorted(name for name in named if not (TREE / name).is_file()) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_page_is_sound_rest(page: Path) -> None:
    core = pytest.importorskip("docutils.core")
    settings = {"report_level": 2, "halt_level": 2, "file_insertion_enabled": False}

    core.publish_doctree(page.read_text(encoding="utf-8"), settings_overrides=settings)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_doctests_run(page: Path, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")

    assert failed == 0


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_make_targets_that_are_named_exist() -> None:
    rules = re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {
        target
        for page in PAGES
        for target in re.findall(r"\bmake ([a-z]+(?:-[a-z]+)?)``", page.read_text("utf-8"))
    }

    assert named - set(rules) == set()


# --- glossary


def glossary() -> list[tuple[str, str]]:
    """Return each term with its definition: a line at the margin over an indented paragraph."""
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    found = []
    for line, following in pairwise(lines):
        if line[:1].isalpha() and following.startswith("    "):
            found.append((line, ""))
        elif line.startswith("    ") and found:
            term, definition = found.pop()
            found.append((term, f"{definition} {line.strip()}"))
    return found


def test_each_term_is_defined_once() -> None:
    counts = Counter(term for term, _ in glossary())

    assert len(counts) > 30
    assert [term for term, count in counts.items() if count > 1] == []


def test_terms_are_sorted() -> None:
    terms = [term.lower() for term, _ in glossary()]

    assert terms == sorted(terms)


def test_every_term_that_a_definition_uses_is_defined() -> None:
    terms = {term.lower() for term, _ in glossary()}
    terms |= {f"{term}s" for term in terms}
    used = {
        (term, name.lower())
        for term, definition in glossary()
        for name in re.findall(r"(?<![\w*])\*([^*]+)\*(?![\w*])", definition)
    }

    assert sorted((term, name) for term, name in used if name not in terms) == []


def test_every_layer_has_its_noun_in_the_glossary() -> None:
    assert set(NOUNS) - {term for term, _ in glossary()} == set()


# --- docs/format.rst against archive7/layout.py


@dataclass(frozen=True)
class Field:
    """One row of an on-disk table."""

    offset: str
    size: str
    type: str
    name: str


def layout_tables(text: str) -> Iterator[tuple[str, list[Field]]]:
    """Yield the name and the rows of each table under a comment `.. layout: NAME`."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if match := re.fullmatch(r"\.\. layout: (\w+)", line.strip()):
            yield match[1], list(simple_table(lines[number + 1 :], match[1]))


def simple_table(lines: list[str], name: str) -> Iterator[Field]:
    """Yield the rows of the simple table that these lines begin with, headings checked."""
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"=+( +=+)+", line)]
    if len(rules) < 3 or any(line.strip() for line in lines[: rules[0]]):
        raise AssertionError(f"no simple table follows '.. layout: {name}'")
    starts = [match.start() for match in re.finditer("=+", lines[rules[0]])]
    headings = cells(lines[rules[0] + 1], starts)
    if headings[:4] != ["offset", "size", "type", "field"]:
        raise AssertionError(f"{name}: the columns are {headings}")
    row: list[str] = []
    for line in lines[rules[1] + 1 : rules[2]]:
        found = cells(line, starts)
        if row and not found[0]:
            # A row whose first cell is empty goes on with the row above.
            row = [
                " ".join(part for part in both if part) for both in zip(row, found, strict=True)
            ]
            continue
        if row:
            yield Field(*row[:4])
        row = found
    if row:
        yield Field(*row[:4])


def cells(line: str, starts: list[int]) -> list[str]:
    ends = [*starts[1:], len(line)]
    return [line[start : max(start, end)].strip() for start, end in zip(starts, ends, strict=True)]


def expand(format_: str) -> list[str]:
    """Spell a format out: "!2H16s" -> ["H", "H", "16s"]."""
    parts = []
    for count, code in re.findall(r"(\d*)([a-zA-Z?])", format_.lstrip("!><=@")):
        parts += [f"{count or 1}{code}"] if code in "spx" else [code] * int(count or 1)
    return parts


def disagreements(name: str, fields: list[Field], expected: struct.Struct) -> list[str]:
    """Compare a table with its struct; each line says what differs."""
    found = []
    offset = 0
    for field in fields:
        size = struct.calcsize(f"!{field.type}")
        if field.offset != str(offset):
            found.append(f"{name}.{field.name}: offset {field.offset}, must be {offset}")
        if field.size != str(size):
            found.append(f"{name}.{field.name}: size {field.size}, {field.type} has {size}")
        offset += size
    types = [part for field in fields for part in expand(field.type)]
    if types != expand(expected.format):
        found.append(f"{name}: the table has {''.join(types)}, layout has {expected.format}")
    if offset != expected.size:
        found.append(f"{name}: the table has {offset} bytes, layout has {expected.size}")
    if expected.format[:1] not in "!>":
        found.append(f"{name}: layout has {expected.format}, which is not big-endian")
    names = Counter(field.name for field in fields)
    return found + [f"{name}: two fields {field}" for field, count in names.items() if count > 1]


def structs() -> dict[str, struct.Struct]:
    return {
        name: value
        for name, value in vars(layout).items()
        if isinstance(value, struct.Struct) and not name.startswith("_")
    }


def test_every_struct_has_one_table() -> None:
    counts = Counter(name for name, _ in layout_tables(FORMAT.read_text(encoding="utf-8")))

    assert sorted(counts) == sorted(structs())
    assert [name for name, count in counts.items() if count > 1] == []


def test_tables_agree_with_the_structs() -> None:
    found = []
    for name, fields in layout_tables(FORMAT.read_text(encoding="utf-8")):
        assert name in structs(), f"archive7/layout.py has no struct {name}"
        found += disagreements(name, fields, structs()[name])

    assert found == []


TABLE = """
.. layout: SAMPLE

======  ====  ====  ======================================
offset  size  type  field
======  ====  ====  ======================================
0       8     8s    magic, which is
                    two lines long
8       4     HH    major, minor
12      4     I     size
======  ====  ====  ======================================
"""


def sample_disagreements(text: str, format_: str = "!8s2HI") -> list[str]:
    ((name, fields),) = layout_tables(text)
    return disagreements(name, fields, struct.Struct(format_))


def test_right_table_agrees() -> None:
    ((name, fields),) = layout_tables(TABLE)

    assert name == "SAMPLE"
    assert [field.name for field in fields] == [
        "magic, which is two lines long",
        "major, minor",
        "size",
    ]
    assert sample_disagreements(TABLE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("12      4     I ", "13      4     I "),
        ("12      4     I ", "12      8     I "),
        ("12      4     I ", "12      4     i "),
        ("12      4     I ", "12      8     Q "),
        ("8       4     HH", "8       4     4s"),
        ("12      4     I     size\n", ""),
        ("I     size", "I     major, minor"),
    ],
)
def test_wrong_table_is_found(old: str, new: str) -> None:
    assert TABLE.count(old) == 1
    assert sample_disagreements(TABLE.replace(old, new))


def test_native_byte_order_is_found() -> None:
    assert sample_disagreements(TABLE, "=8s2HI")


@pytest.mark.parametrize("text", [".. layout: SAMPLE\n", TABLE.replace("type", "kind")])
def test_missing_table_is_found(text: str) -> None:
    with pytest.raises(AssertionError, match="SAMPLE"):
        list(layout_tables(text))


def test_code_blocks_end_with_their_indentation() -> None:
    text = "a::\n\n  .. code-block:: python\n\n    x = 1\n\n    y = 2\n\n  b\n"

    assert [(line, code.split()) for line, code in python_blocks(text)] == [
        (4, ["x", "=", "1", "y", "=", "2"])
    ]
