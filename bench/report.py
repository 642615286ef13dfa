"""The table and the plot of docs/benchmarks.md."""
from statistics import median

PROGRAMS = ("tcrt", "llama.cpp")
AOTINDUCTOR, EXECUTORCH = "AOTInductor", "ExecuTorch"
COLOURS = {"tcrt": "#2f6fde", "llama.cpp": "#b0b4bb"}


def cell(values):
    return f"{number(median(values))} [{number(min(values))}–{number(max(values))}]"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def ratio(results, key, programs=PROGRAMS):
    ours, theirs = (median(r[key] for r in results[program]) for program in programs)
    return ours / theirs


def share(results):
    """Of the read bandwidth measured in the same run: bytes of weights and cache that a token reads, times tokens/s."""
    shares = [r["decode_share"] for r in results["tcrt"] if r.get("decode_share")]
    return f"{median(shares):.2f}" if shares else "–"


def table(rows):
    lines = [
        "| shape, weights | prompt | prefill tcrt | prefill llama.cpp | ratio | decode tcrt | decode llama.cpp | ratio | decode ÷ bandwidth |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, results in rows:
        cells = []
        for key in ("prefill_tps", "decode_tps"):
            cells += [cell([r[key] for r in results[program]]) for program in PROGRAMS]
            cells.append(f"**{ratio(results, key):.2f}**")
        lines.append(f"| {case.name} | {case.prompt} | {' | '.join(cells)} | {share(results)} |")
    return "\n".join(lines)


def against(rows, peer):
    lines = [
        f"| shape, weights | prefill tcrt | prefill {peer} | ratio | decode tcrt | decode {peer} | ratio | MiB tcrt | MiB {peer} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, results in rows:
        cells, programs = [], ("tcrt", peer)
        for key in ("prefill_tps", "decode_tps"):
            cells += [cell([r[key] for r in results[program]]) for program in programs]
            cells.append(f"**{ratio(results, key, programs):.2f}**")
        cells += [f"{median(r['peak_rss_bytes'] for r in results[program]) / 2**20:.0f}" for program in programs]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory(rows):
    lines = ["| shape, weights | tcrt | llama.cpp |", "|---|---|---|"]
    for case, results in rows:
        cells = (f"{median(r['peak_rss_bytes'] for r in results[program]) / 2**20:.0f}" for program in PROGRAMS)
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def svg(rows):
    """Ratios of medians, prefill and decode, one row a case; the line at 1 is llama.cpp."""
    width, left, step, top = 800, 250, 46, 46
    largest = max(ratio(results, key) for _, results in rows for key in ("prefill_tps", "decode_tps"))
    scale = (width - left - 70) / largest
    height = top + step * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="24" font-weight="600">Tokens per second, as a multiple of llama.cpp\'s</text>',
        f'<rect x="{width - 210}" y="13" width="12" height="12" fill="#8fb4f5"/><text x="{width - 192}" y="24">prefill</text>',
        f'<rect x="{width - 120}" y="13" width="12" height="12" fill="#2f6fde"/><text x="{width - 102}" y="24">decode</text>',
    ]
    for i, (case, results) in enumerate(rows):
        y = top + i * step
        parts.append(f'<text x="{left - 10}" y="{y + 22}" text-anchor="end">{case.name}</text>')
        for j, (key, fill) in enumerate((("prefill_tps", "#8fb4f5"), ("decode_tps", "#2f6fde"))):
            value = ratio(results, key)
            bar = y + 3 + j * 16
            parts.append(f'<rect x="{left}" y="{bar}" width="{value * scale:.1f}" height="14" fill="{fill}"/>')
            parts.append(f'<text x="{left + value * scale + 6:.1f}" y="{bar + 12}">{value:.2f}</text>')
    one = left + scale
    parts.append(f'<line x1="{one:.1f}" y1="{top - 6}" x2="{one:.1f}" y2="{height - 12}" stroke="#333" stroke-dasharray="4 3"/>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
