"""The tables and the plot that bench/quantization.py writes."""
import os
from math import floor, log10
from statistics import mean, median


class Row:
    """What was measured of one case: figures by text and seed."""

    def __init__(self, name, theirs):
        self.name, self.theirs, self.figures, self.speeds = name, theirs, {}, []

    def add(self, text, seed, figures):
        self.figures[os.path.splitext(os.path.basename(text))[0], seed] = figures

    def texts(self):
        return sorted({text for text, _ in self.figures})

    def values(self, value, text=None):
        return [value(figures) for (of, _), figures in self.figures.items() if text in (None, of)]

    def line(self, text, seed):
        text = os.path.splitext(os.path.basename(text))[0]
        figures = self.figures[text, seed]
        return (
            f"{self.name:28} {text[:12]:12} seed {seed}: {bits(figures):5.2f} bits, {megabytes(figures):6.1f} MB, KLD {kld(figures):.4f}, "
            f"perplexity {perplexity(figures):.3f} ({100 * change(figures):+.2f} %), top-1 {100 * top1(figures):.1f} %"
        )


def bits(figures):
    return figures["bits_per_weight"]


def megabytes(figures):
    return figures["weight_bytes"] / 1e6


def kld(figures):
    return figures["divergence"]["kld"]["value"]


def perplexity(figures):
    return figures["perplexity"]["value"]


def change(figures):
    return figures["divergence"]["perplexity_ratio"]["value"] - 1


def top1(figures):
    return figures["divergence"]["top1"]["value"]


def spread(values, form):
    """The mean over seeds, and from which to which."""
    low, high = form(min(values)), form(max(values))
    return form(mean(values)) + (f" [{low}–{high}]" if low != high else "")


def table(rows, text):
    lines = [
        "| weights | bits per weight | MB | perplexity | over f16 | mean KLD | same top token | decode, tokens/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        of = lambda value: row.values(value, text)
        name = f"llama.cpp {row.name}" if row.theirs else row.name
        cells = (
            name,
            f"{mean(of(bits)):.2f}",
            f"{mean(of(megabytes)):.1f}",
            f"{mean(of(perplexity)):.2f}",
            spread([100 * value for value in of(change)], lambda value: f"{value:+.2f} %"),
            spread(of(kld), lambda value: f"{value:.4f}"),
            f"{100 * mean(of(top1)):.1f} %",
            f"{median(row.speeds):.0f}" if row.speeds else "–",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(rows, ours, theirs, value):
    """Ours over theirs, for each text and seed."""
    ours, theirs = (next(row for row in rows if row.name == name) for name in (ours, theirs))
    return [value(ours.figures[key]) / value(theirs.figures[key]) for key in ours.figures]


def targets(rows, wanted):
    lines = ["| | measured against | wanted | mean KLD | change of perplexity |", "|---|---|---|---|---|"]
    for ours, theirs, most in wanted:
        cells = [spread(ratio(rows, ours, theirs, value), lambda part: f"{part:.2f}") for value in (kld, change)]
        lines.append(f"| {ours} | {theirs} | ≤ {most} | {' | '.join(cells)} |")
    return "\n".join(lines)


OURS, THEIRS = "#2f6fde", "#8a5a00"
# What a letter of a label takes, and a line.
LETTER, LINE = 6.6, 12


def free(taken, across, wanted, top):
    """The place of a label nearest to where it is wanted that no other one has: from where to where, and its line."""
    offsets = sorted(range(-20 * LINE, 20 * LINE, LINE // 2), key=abs)
    crosses = lambda at, other: abs(at - other[2]) < LINE and across[0] < other[1] and other[0] < across[1]
    at = next(wanted + by for by in offsets if wanted + by > top and not any(crosses(wanted + by, other) for other in taken))
    return *across, at


def svg(rows, text):
    """Divergence, on a logarithmic scale, against bits per weight; the mean over seeds."""
    width, height, left, right, top, bottom = 760, 440, 70, 20, 56, 48
    points = [(mean(row.values(bits, text)), mean(row.values(kld, text)), row) for row in rows]
    low, high = (form(extreme(point[0] for point in points)) for form, extreme in ((floor, min), (lambda x: floor(x) + 1, max)))
    least, most = floor(log10(min(point[1] for point in points))), floor(log10(max(point[1] for point in points))) + 1
    x = lambda value: left + (value - low) / (high - low) * (width - left - right)
    y = lambda value: top + (most - log10(value)) / (most - least) * (height - top - bottom)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>Mean KL divergence from f16 against bits per weight, {text}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="14" font-weight="600">Mean KL divergence from the f16 model against bits per weight ({text})</text>',
        f'<circle cx="{left + 6}" cy="38" r="5" fill="{OURS}"/><text x="{left + 18}" y="42">tcc</text>',
        f'<rect x="{left + 65}" y="33" width="10" height="10" fill="{THEIRS}"/><text x="{left + 82}" y="42">llama.cpp with an importance matrix</text>',
    ]
    for power in range(least, most + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e3e6ea"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for bit in range(low, high + 1):
        parts.append(f'<line x1="{x(bit):.1f}" x2="{x(bit):.1f}" y1="{top}" y2="{height - bottom}" stroke="#f0f2f4"/>')
        parts.append(f'<text x="{x(bit):.1f}" y="{height - bottom + 18}" text-anchor="middle">{bit}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">bits per weight, embedding and head included</text>')
    # Marks take their places first.
    taken = [(x(across) - 6, x(across) + 6, y(up) + 4) for across, up, _ in points]
    for across, up, row in sorted(points, key=lambda point: -point[1]):
        px, py = x(across), y(up)
        mark = f'<rect x="{px - 5:.1f}" y="{py - 5:.1f}" width="10" height="10" fill="{THEIRS}"/>'
        parts.append(mark if row.theirs else f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{OURS}"/>')
        begin = px - 9 - LETTER * len(row.name) if px > width - 190 else px + 9
        box = free(taken, (begin, begin + LETTER * len(row.name)), py + 4, top)
        taken.append(box)
        parts.append(f'<text x="{begin:.1f}" y="{box[2]:.1f}" textLength="{LETTER * len(row.name)}">{row.name}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
