#!/usr/bin/env python3
"""Writes unicode_tables.rs: character classes of Unicode 16.0.0, and normalisation of Unicode 9.0.0.

These are the versions that the reference implementations have: `tokenizers` and `tiktoken` match regular expressions by
16.0, and `tokenizers` normalises by 9.0. What was assigned since is left alone by its normalisation; the Unicode
stability policy holds the rest equal in all versions.

    pip install unicodedata2==16.0.0
    python3 unicode_tables.py > unicode_tables.rs
"""

import unicodedata2 as ucd

VERSION = "16.0.0"
OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, ALTERNATING = range(7)
CLASS_OF = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": LETTER, "Lo": LETTER}
CODE_POINTS = range(0x110000)
# Code points with a combining class or a canonical decomposition that are newer than Unicode 9.0.
NEWER = [
    (0x7fd, 0x7fd), (0x897, 0x89f), (0x8ca, 0x8d3), (0x9fe, 0x9fe), (0xc3c, 0xc3c), (0xd3b, 0xd3c), (0xeba, 0xeba),
    (0x1715, 0x1715), (0x1abf, 0x1ace), (0x1df6, 0x1dfa), (0xa82c, 0xa82c), (0x105c9, 0x105c9), (0x105e4, 0x105e4),
    (0x10d24, 0x10d27), (0x10d69, 0x10d6d), (0x10eab, 0x10eac), (0x10efd, 0x10eff), (0x10f46, 0x10f50),
    (0x10f82, 0x10f85), (0x11070, 0x11070), (0x1133b, 0x1133b), (0x11383, 0x11383), (0x11385, 0x11385),
    (0x1138e, 0x1138e), (0x11391, 0x11391), (0x113c5, 0x113c5), (0x113c7, 0x113c8), (0x113ce, 0x113d0),
    (0x1145e, 0x1145e), (0x11839, 0x1183a), (0x11938, 0x11938), (0x1193d, 0x1193e), (0x11943, 0x11943),
    (0x119e0, 0x119e0), (0x11a34, 0x11a34), (0x11a47, 0x11a47), (0x11a99, 0x11a99), (0x11d42, 0x11d42),
    (0x11d44, 0x11d45), (0x11d97, 0x11d97), (0x11f41, 0x11f42), (0x16121, 0x16128), (0x1612f, 0x1612f),
    (0x16d68, 0x16d6a), (0x16ff0, 0x16ff1), (0x1e08f, 0x1e08f), (0x1e130, 0x1e136), (0x1e2ae, 0x1e2ae),
    (0x1e2ec, 0x1e2ef), (0x1e4ec, 0x1e4ef), (0x1e5ee, 0x1e5ef),
]


def is_newer(code_point):
    return any(first <= code_point <= last for first, last in NEWER)


def class_of(code_point):
    category = ucd.category(chr(code_point))
    return CLASS_OF.get(category, {"M": MARK, "N": NUMBER}.get(category[0], OTHER))


def class_runs():
    """(start, class) of each run; in an alternating run the classes are UPPER, LOWER, UPPER, …"""
    classes = [class_of(c) for c in CODE_POINTS]
    runs, at = [], 0
    while at < len(classes):
        end = at + 1
        kind = classes[at]
        while end < len(classes) and kind == UPPER and classes[end] == (UPPER, LOWER)[(end - at) % 2]:
            end += 1
        if end - at >= 4:
            kind = ALTERNATING
        else:
            end = at + 1
            while end < len(classes) and classes[end] == kind:
                end += 1
            # The last of a run of capitals may begin an alternation.
            if kind == UPPER and end - at > 1 and classes[end : end + 3] == [LOWER, UPPER, LOWER]:
                end -= 1
        runs.append((at, kind))
        at = end
    return runs


def combining_runs():
    """(start, combining class) of each run, the class 0 included."""
    runs, last = [], None
    for c in CODE_POINTS:
        combining = 0 if is_newer(c) else ucd.combining(chr(c))
        if combining != last:
            runs.append((c, combining))
            last = combining
    return runs


def decompositions():
    """(code point, first, second or 0) of the canonical decompositions, Hangul aside."""
    found = []
    for c in CODE_POINTS:
        mapping = ucd.decomposition(chr(c))
        if mapping and not mapping.startswith("<") and not is_newer(c):
            parts = [int(part, 16) for part in mapping.split()]
            found.append((c, parts[0], parts[1] if len(parts) == 2 else 0))
    return found


def compositions(decomposed):
    """Indices of the decompositions that NFC composes again, ordered by (first, second)."""
    primary = [
        index
        for index, (c, first, second) in enumerate(decomposed)
        if second and ucd.normalize("NFC", chr(first) + chr(second)) == chr(c)
    ]
    return sorted(primary, key=lambda index: decomposed[index][1:])


def table(name, kind, doc, items):
    print(f"\n/// {doc}\npub const {name}: &[{kind}] = &[")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 120:
            print(line)
            line = "   "
        line += f" {item},"
    print(f"{line}\n];")


def main():
    assert ucd.unidata_version == VERSION, ucd.unidata_version
    decomposed = decompositions()
    print("//! Written by unicode_tables.py, which says from what; do not edit.")
    table(
        "CLASS_RUNS",
        "u32",
        "`start << 3 | class` of each run of code points; a run ends where the next one starts.",
        [f"{start << 3 | kind:#x}" for start, kind in class_runs()],
    )
    table(
        "COMBINING_RUNS",
        "u32",
        "`start << 8 | canonical combining class` of each run of code points.",
        [f"{start << 8 | kind:#x}" for start, kind in combining_runs()],
    )
    table(
        "DECOMPOSITIONS",
        "[u32; 3]",
        "Canonical decompositions: code point, first, second (0 where there is none).",
        ["[" + ", ".join(f"{c:#x}" for c in entry) + "]" for entry in decomposed],
    )
    table(
        "COMPOSITIONS",
        "u16",
        "Which of `DECOMPOSITIONS` compose again, ordered by first, then second.",
        [str(index) for index in compositions(decomposed)],
    )


main()
