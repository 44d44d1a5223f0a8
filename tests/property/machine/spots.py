"""Spots: paths as the machine draws them: existing ones by number, and texts of all shapes."""

from __future__ import annotations

from typing import Final, NamedTuple

from hypothesis import strategies as st

# Capitals stand for what would fill a page.
SHORTHAND: Final = {
    "P": "p" * 255,
    "Q": "q" * 255,
    "R": "日" * 85,
    "X": "x" * 256,
    "Y": "日" * 85 + "y",
    "Z": "z" * 4095,
    "D": "a/" * 2047,
    "E": "a/" * 2048,
    "S": "/" * 4095,
    "T": "/" * 4096,
    "U": "./" * 2047,
    "V": "a/" * 2046,
}
_NAMES: Final = ["a", "b", "c"] * 6 + ["é", ".x", "a b", "\t", "P", "Q", "R", "X"]
_FORMS: Final = ["{}"] * 14 + [
    "/{}", "/{}", "//{}", "./{}", "../{}", "/../{}", "{}/", "{}/", "{}//", "{}/.", "{}/./",
    "{}/..",
    "{}/../a", "{}/./b", "{}//c", "a//{}", "b/{}", "b/../{}", "{}/a/..",
]  # fmt: skip
_ODD: Final = ["", ".", "/", "..", "/.", "//", "./.", "nul\0"]
_ODD += ["X", "Y", "Z", "D", "E", "S", "T", "U", "Ua", "VP", "a/Y", "missing/X"]


def expand(text: str) -> str:
    """The path that a text in shorthand stands for."""
    return "".join(SHORTHAND.get(letter, letter) for letter in text)


def shorten(text: str) -> str:
    """The other way round, as far as it goes, for stories."""
    for letter, long in sorted(SHORTHAND.items(), key=lambda item: -len(item[1])):
        text = text.replace(long, letter)
    return text


class Known(NamedTuple):
    """A path that is there: one of them, and how it is written."""

    number: int
    form: str

    def text(self, paths: list[str]) -> str:
        """The path, given those that are there."""
        path = paths[self.number % len(paths)]
        return expand(self.form).format(path.lstrip("/") or ".")


names = st.sampled_from(_NAMES)
forms = st.sampled_from(_FORMS)
_texts = st.builds(
    lambda form, parts: form.format("/".join(parts)),
    forms,
    st.lists(names, min_size=1, max_size=3),
)
_known = st.builds(Known, st.integers(0, 40), forms)
_below = st.builds(Known, st.integers(0, 20), names.map("{{}}/{}".format))
spots = st.one_of(_known, _known, _below, _texts, _texts, st.sampled_from(_ODD))
new_spots = st.one_of(_below, _below, _texts, _texts, _texts, _known, st.sampled_from(_ODD))
old_spots = st.one_of(_known, _known, _known, _known, _texts, st.sampled_from(_ODD))
