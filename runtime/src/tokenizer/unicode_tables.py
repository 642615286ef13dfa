#!/usr/bin/env python3
"""Writes unicode_tables.rs from the Unicode Character Database, version 16.0.0.

    pip install unicodedata2==16.0.0
    python3 unicode_tables.py > unicode_tables.rs
"""

import unicodedata2 as ucd

VERSION = "16.0.0"
OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, ALTERNATING = range(7)
CLASS_OF = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": LETTER, "Lo": LETTER}
CODE_POINTS = range(0x110000)


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
        combining = ucd.combining(chr(c))
        if combining != last:
            runs.append((c, combining))
            last = combining
    return runs


def decompositions():
    """(code point, first, second or 0) of the canonical decompositions, Hangul aside."""
    found = []
    for c in CODE_POINTS:
        mapping = ucd.decomposition(chr(c))
        if mapping and not mapping.startswith("<"):
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
    print(f"//! Unicode {VERSION}. Written by unicode_tables.py; do not edit.")
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
