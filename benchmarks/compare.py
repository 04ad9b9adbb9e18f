#!/usr/bin/env python3
"""Sets our benchmarks beside their peers on the same machine and writes what was measured.

    benchmarks/compare.py --bench build/benchmarks/bench_steps --peer PATH/torch_peer.py
    benchmarks/compare.py --bench build/benchmarks/bench_kernels --filter '^(conv|openblas)/' --onednn PATH/onednn_peer

Ours are Google Benchmark programs whose cases are named `step/teacher_train/threads:2`, `gemm/1024`, ...; a counter
images_per_second (or tokens_per_second) is compared where it is given, else the time. The peer is a program with the
interface `--list` and `--case NAME --threads N --iters N [--tuned] --json`, whose case has our name without `step/` and
`/threads:N`, its other slashes as underscores. Convolutions are set beside a oneDNN program with --onednn, and matrix
products beside OpenBLAS by our own program; compare_kernels.py says how.

The runs are interleaved: each round runs ours and the peer one after the other, the order changing from round to round,
and gives one ratio; printed are the median, least and largest of the rounds' ratios. A ratio above 1 means that ours is
faster. Results go to docs/benchmarks.md (between two marks, other text there is kept) and bars to docs/img/. Where the
peer, or its case, is missing, the table says so.
"""
import argparse
import datetime
import html
import json
import os
import platform
import re
import statistics
import subprocess
import sys

import compare_kernels as kernels

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN = "<!-- begin: written by benchmarks/compare.py -->"
END = "<!-- end: written by benchmarks/compare.py -->"
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
# Only these peer units have a counter of ours; other cases are compared by time.
COUNTERS = {"images": "images_per_second", "tokens": "tokens_per_second", "target tokens": "tokens_per_second"}
# What else our programs count: a step's share of the machine's peak, and figures that need no peer's program.
MORE_COUNTERS = ["share_of_peak", "gflops", "openblas_gflops", "ratio", "cost_percent", "peak_rss_mib"]
PEER_JOBS = ["tuned", "plain", "direct", "winograd"]


class Failed(Exception):
    """A program that did not run; the text says which and why."""


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bench", action="append", required=True, help="one of our benchmark programs; may be repeated")
    p.add_argument("--peer", help="the peer's program (torch_peer.py); without it only our figures are written")
    p.add_argument("--onednn", help="the oneDNN peer's program (onednn_peer), for the cases conv/...")
    p.add_argument("--python", default="/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable,
                   help="Python that has the peer's packages (default: the system's)")
    p.add_argument("--filter", default=".", help="regular expression: which of our cases to run")
    p.add_argument("--threads", type=int, default=2, help="threads of cases whose names do not say")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--iters", type=int, default=5, help="timed steps of the peer in a round")
    p.add_argument("--min-time", type=float, default=0.5, help="seconds that ours measures in a round")
    p.add_argument("--tuned-only", action="store_true", help="skip the peer's run without --tuned")
    p.add_argument("--timeout", type=float, default=600, help="seconds that one run may take")
    p.add_argument("--doc", default=os.path.join(ROOT, "docs", "benchmarks.md"))
    p.add_argument("--image", default=os.path.join(ROOT, "docs", "img", "benchmarks.svg"))
    p.add_argument("--json", help="write every measured figure to this file too")
    args = p.parse_args()
    if args.rounds < 1 or args.iters < 1 or args.threads < 1:
        p.error("--rounds, --iters and --threads are at least 1")
    try:
        re.compile(args.filter)
    except re.error as e:
        p.error(f"--filter: {e}")
    return args


def run(command, timeout, env=None):
    """Standard output of `command`. Raises Failed."""
    name = os.path.basename(command[1] if command[0].endswith(("python3", "python")) and len(command) > 1
                            else command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    except OSError as e:
        raise Failed(f"{name}: {e.strerror}") from e
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{name}: took longer than {timeout:.0f} s") from e
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        last = re.sub(r"(?<![\w:/])/\S*/", "", lines[-1])[:200]  # what is written names no folder of this machine
        raise Failed(f"{name}: exit code {done.returncode}: {last}")
    return done.stdout


# ---------------------------------------------------------------- what is measured ----
def threads_of(name, default):
    m = re.search(r"/threads:(\d+)", name)
    return int(m.group(1)) if m else default


def short_name(name):
    """Our case without its threads and without what Google Benchmark appends to it."""
    plain = re.sub(r"/(threads|iterations|repeats|min_time|min_warmup_time):[^/]*", "", name)
    return re.sub(r"/(real_time|process_time|manual_time)", "", plain)


def peer_case(name):
    """The peer's name of our case: `step/teacher_train/threads:2` is `teacher_train`, `gemm/1024` is `gemm_1024`."""
    return re.sub(r"^step/", "", short_name(name)).replace("/", "_")


def run_ours(binary, name, args):
    env = dict(os.environ, QDISTILL_NUM_THREADS=str(threads_of(name, args.threads)))
    out = run([binary, "--benchmark_filter=^" + re.escape(name).replace(r"\-", "-").replace(r"\/", "/") + "$",
               "--benchmark_format=json", f"--benchmark_min_time={args.min_time}"], args.timeout, env)
    try:
        report = json.loads(out)
        runs = [b for b in report["benchmarks"] if b.get("run_type", "iteration") == "iteration"]
        for b in runs:
            if b.get("error_occurred"):
                raise Failed(f"{name}: {b.get('error_message', 'failed')}")
        if not runs:
            raise Failed(f"{name}: {os.path.basename(binary)} ran nothing")
        result = {"seconds": statistics.median(b["real_time"] * SECONDS[b["time_unit"]] for b in runs)}
        for counter in set(COUNTERS.values()) | set(MORE_COUNTERS):
            values = [b[counter] for b in runs if counter in b]
            if values:
                result[counter] = statistics.median(values)
        if runs[0].get("label"):
            result["peer"] = runs[0]["label"]  # of a case that runs its peer itself
        return result, report.get("context", {})
    except (ValueError, KeyError, TypeError) as e:
        raise Failed(f"{name}: {os.path.basename(binary)} did not print Google Benchmark's JSON ({e})") from e


def run_peer(case, tuned, threads, args):
    command = [args.python, args.peer, "--case", case, "--threads", str(threads), "--iters", str(args.iters), "--json"]
    out = run(command + (["--tuned"] if tuned else []), args.timeout)
    try:
        r = json.loads(out.strip().splitlines()[-1])
        blas = ", ".join(r[k] for k in ("blas", "openblas_coretype") if r.get(k))
        result = {"seconds": float(r["median_s"]), "rate": float(r["images_or_tokens_per_s"]), "unit": r["unit"],
                  "peer": r["peer"] + (f" ({blas})" if blas else "")}
        if "peak_rss_mb" in r and "rss_after_import_mb" in r:
            result["memory_mib"] = float(r["peak_rss_mb"]) - float(r["rss_after_import_mb"])
        return result
    except (ValueError, KeyError, IndexError, TypeError) as e:
        raise Failed(f"{case}: the peer did not print its JSON line ({e})") from e


def run_onednn(name, algorithm, threads, args):
    out = run(kernels.onednn_command(args.onednn, name, algorithm, threads), args.timeout)
    try:
        return kernels.onednn_result(out, name)
    except (ValueError, KeyError, TypeError) as e:
        raise Failed(f"{name}: the oneDNN peer did not print its JSON lines ({e})") from e


def ratio_of(ours, peer):
    """How many times as fast ours is."""
    counter = COUNTERS.get(peer["unit"])
    if counter in ours:
        return ours[counter] / peer["rate"]
    return peer["seconds"] / ours["seconds"]


def measure(args):
    """Rows in the order of our programs, the versions that were seen, and what went wrong with the peer as a whole."""
    rows, context, notes = [], {}, []
    for binary in args.bench:
        names = run([binary, "--benchmark_list_tests=true"], args.timeout).split()
        rows += [{"name": n, "binary": binary, "ours": [], **{job: [] for job in PEER_JOBS}, "note": ""}
                 for n in names if re.search(args.filter, n)]
    peer_cases = set()
    if not args.peer:
        if not args.onednn:
            notes.append("No peer was given (`--peer`): the figures are ours alone, but for OpenBLAS's.")
    else:
        try:
            peer_cases = set(run([args.python, args.peer, "--list"], args.timeout).split())
        except Failed as e:
            notes.append(f"The peer could not be run, no figures are PyTorch's: {e}.")
    for row in rows:
        row["threads"] = threads_of(row["name"], args.threads)
        row["case"] = peer_case(row["name"])
        row["jobs"] = kernels.onednn_jobs(row["name"]) if args.onednn else []
        if row["case"] in peer_cases:
            row["jobs"] += ["tuned"] if args.tuned_only else ["tuned", "plain"]
        elif not row["jobs"]:
            row["note"] = "no peer" if not peer_cases else "the peer has no such case"

    for index in range(args.rounds):
        for number, row in enumerate(rows):
            if row["note"].startswith("failed"):
                continue
            print(f"\rround {index + 1}/{args.rounds}, case {number + 1}/{len(rows)} {row['name']}\x1b[K"
                  if sys.stderr.isatty() else f"round {index + 1}/{args.rounds}: {row['name']}",
                  end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
            jobs = ["ours"] + row["jobs"]
            if index % 2:
                jobs.reverse()
            try:
                for job in jobs:
                    if job == "ours":
                        result, seen = run_ours(row["binary"], row["name"], args)
                        context.update(seen)
                    elif job in ("direct", "winograd"):
                        result = run_onednn(row["name"], job, row["threads"], args)
                    else:
                        result = run_peer(row["case"], job == "tuned", row["threads"], args)
                    row[job].append(result)
            except Failed as e:
                row["note"] = f"failed: {e}"
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    for row in rows:
        for job in PEER_JOBS:
            pairs = zip(row["ours"], row[job])  # one pair a round
            row[job + "_ratio"] = [ratio_of(o, p) for o, p in pairs]
    return rows, context, notes


# ---------------------------------------------------------------- what is written ----
def quantity(values, key_rate, key_unit):
    """The median as "812 images/s", or as a time where there is no rate."""
    if not values:
        return "–"
    if all(key_rate in v for v in values):
        return f"{statistics.median(v[key_rate] for v in values):,.0f} {key_unit}/s"
    seconds = statistics.median(v["seconds"] for v in values)
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def spread(ratios):
    if not ratios:
        return "–", "–"
    return f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


def memory_ratio(row):
    """Our process's largest resident size as a part of what the peer's takes beyond its own start, or nothing."""
    ours = [o["peak_rss_mib"] for o in row["ours"] if "peak_rss_mib" in o]
    peer = [p["memory_mib"] for p in row["tuned"] if p.get("memory_mib", 0) > 0]
    return statistics.median(ours) / statistics.median(peer) if ours and peer else None


def table_of(rows):
    plain, shares, memory = (any(present(row) for row in rows) for present in
                             (lambda row: row["plain"], lambda row: any("share_of_peak" in o for o in row["ours"]),
                              lambda row: memory_ratio(row) is not None))
    head = ["case", "threads", "qdistill", "PyTorch, tuned", "ratio (median)", "ratio (range)"]
    if plain:
        head += ["PyTorch, as installed", "ratio (median)"]
    if shares:
        head.append("of the peak")
    if memory:
        head.append("memory")
    lines = [head]
    for row in rows:
        unit = next((p["unit"] for p in row["tuned"] if p["unit"] in COUNTERS), "")
        if not unit and any("images_per_second" in o for o in row["ours"]):
            unit = "images"
        # Rates are shown only if both sides have one; else both show times.
        counter = COUNTERS.get(unit, "")
        has_rate = bool(counter) and all(counter in o for o in row["ours"])
        peer = [quantity(row[j], "rate" if has_rate else "", unit) for j in ("tuned", "plain")]
        cells = [short_name(row["name"]), str(row["threads"]), quantity(row["ours"], counter if has_rate else "", unit),
                 peer[0] if row["tuned"] else row["note"].split(":")[0] or "–", *spread(row["tuned_ratio"])]
        if plain:
            cells += [peer[1], spread(row["plain_ratio"])[0]]
        if shares:
            share = [o["share_of_peak"] for o in row["ours"] if "share_of_peak" in o]
            cells.append(f"{statistics.median(share):.0%}" if share else "–")
        if memory:
            part = memory_ratio(row)
            cells.append(f"{part:.2f}" if part is not None else "–")
        lines.append(cells)
    return lines


def tables(rows):
    """All of them, each with the text in front."""
    measured = kernels.entries(rows)
    apart = [e["row"] for e in measured] + [row for row in rows if any("cost_percent" in o for o in row["ours"])]
    steps = [row for row in rows if all(row is not other for other in apart)]
    out = []
    if steps:
        text = ""
        if any("share_of_peak" in o for row in steps for o in row["ours"]):
            text = ("Of the peak: the operations of the direct algorithms a second (a training step counted as three "
                    "forward passes) over the multiply-adds that the same number of threads can do, measured in each "
                    "run; Winograd can pass 100 %.")
        if any(memory_ratio(row) is not None for row in steps):
            text += (" Memory: the largest resident size of our whole process as a part of what the peer's takes beyond "
                     "importing itself; below 1 is less.")
        out.append((text, table_of(steps)))
    if kernels.conv_summary(measured):
        out.append(("Convolutions: median of the layers' ratios, in brackets the least and the largest layer.",
                    kernels.conv_summary(measured)))
    if measured:
        out.append(("\n\n".join(kernels.product_summary(measured)), kernels.table(measured, short_name, spread)))
    if kernels.cost_table(rows, spread):
        out.append(("What a quantizer adds to a training step of the teacher with batch normalisation (`none`: noise).",
                    kernels.cost_table(rows, spread)))
    return out


def aligned(lines, markdown):
    lines = [[c.replace("|", "\\|") for c in line] for line in lines] if markdown else lines
    width = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = []
    for n, line in enumerate(lines):
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, width))]
        out.append("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip())
        if n == 0:
            rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(width)]
            out.append("| " + " | ".join(rule) + " |" if markdown else "  ".join("-" * w for w in width))
    return "\n".join(out)


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def system_name():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (AttributeError, OSError, KeyError):
        return platform.system()


def git_commit():
    try:
        commit = run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], 10).strip()
        changes = run(["git", "-C", ROOT, "status", "--porcelain", "--", "include", "src", "benchmarks"], 30)
        return commit + (" with uncommitted changes" if changes else "")
    except Failed:
        return "not known"


def document(rows, context, notes, args, image):
    peers = sorted({p["peer"] for row in rows for job in ["ours"] + PEER_JOBS for p in row[job] if "peer" in p})
    # What our program adds to the context by itself (compiler, flags, instruction set); not what names the machine.
    known = {"date", "host_name", "executable", "num_cpus", "mhz_per_cpu", "cpu_scaling_enabled", "caches", "load_avg",
             "library_build_type", "json_schema_version", "aslr_enabled", "library_version"}
    own = "; ".join(f"{k} {v}" for k, v in context.items() if k not in known and isinstance(v, (str, int, float)))
    command = ["benchmarks/compare.py"] + [f"--bench {os.path.basename(b)}" for b in args.bench]
    command += [f"--peer {os.path.basename(args.peer)}"] if args.peer else []
    command += [f"--onednn {os.path.basename(args.onednn)}"] if args.onednn else []
    command += [f"--filter '{args.filter}'"] if args.filter != "." else []
    command += [f"--rounds {args.rounds} --iters {args.iters} --min-time {args.min_time:g}"]
    facts = [
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("machine", f"{cpu_model()}, {os.cpu_count()} processors, {system_name()}"),
        ("qdistill", "commit " + git_commit() + (f"; {own}" if own else "")),
        ("peer", "; ".join(peers) or "none"),
        ("command", f"`{' '.join(command)}`"),
    ]
    if hasattr(os, "getloadavg"):
        facts.insert(2, ("load at the end", f"{os.getloadavg()[0]:.1f} (1 minute mean; above the threads in use, other "
                                            "programs disturbed the figures)"))
    parts = ["\n".join(f"- {name}: {value}" for name, value in facts)]
    parts += notes
    parts.append("Ratio: how many times as fast qdistill is as the peer (above 1: faster), the median and the range of "
                 f"{args.rounds} interleaved round{'s' if args.rounds != 1 else ''}. \"Tuned\" is PyTorch with its "
                 "channels-last layout and without mapping memory anew for every activation.")
    for text, lines in tables(rows):
        parts += [text] * bool(text) + [aligned(lines, markdown=True)]
    failures = [f"- {row['name']}: {row['note']}" for row in rows if row["note"].startswith("failed")]
    if failures:
        parts.append("Not measured in full:\n\n" + "\n".join(failures))
    if image:
        parts.append(f"![Speed relative to PyTorch]({image})")
    return "\n\n".join(parts)


def bars(rows):
    """Ratios as horizontal bars with their range, the peer a line at 1; None if there is no ratio."""
    rows = [row for row in rows if row["tuned_ratio"]]
    if not rows:
        return None
    top, step, left, right, width = 66, 26, 230, 70, 760
    height = top + step * len(rows) + 46
    limit = max(1.2, 1.08 * max(max(row["tuned_ratio"]) for row in rows))
    tick = next(t for t in (0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e3, 1e4, 1e6) if limit / t <= 8 or t == 1e6)

    def x(v):
        return round(left + (width - left - right) * v / limit, 1)

    bottom = top + step * len(rows)
    s = [f'<svg xmlns="http://www.w3.org/2000/svg" class="qb" viewBox="0 0 {width} {height}" width="{width}" '
         f'height="{height}" role="img" aria-label="Speed of qdistill relative to PyTorch">',
         "<style>.qb{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
         ".qb .bg{fill:#fff}.qb text{fill:#1f2328}.qb .m{fill:#5b626b}.qb .h{font-size:15px;font-weight:600}"
         ".qb .g{stroke:#e1e4e8}.qb .one{stroke:#1f2328;stroke-width:1.5}.qb .b{fill:#1844be}.qb .s{fill:#cc8300}"
         ".qb .e{stroke:#1f2328;fill:none}"
         "@media(prefers-color-scheme:dark){.qb .bg{fill:#14171c}.qb text{fill:#e6e8eb}.qb .m{fill:#a3abb5}"
         ".qb .g{stroke:#2c323a}.qb .one{stroke:#e6e8eb}.qb .b{fill:#4f95fb}.qb .s{fill:#e77b34}.qb .e{stroke:#e6e8eb}}"
         "</style>",
         f'<rect class="bg" width="{width}" height="{height}"/>',
         '<text x="16" y="24" class="h">Speed relative to PyTorch (tuned) on the same machine</text>',
         '<text x="16" y="43" class="m">Above 1: qdistill is faster. Bar: median of the rounds; line: least to largest.'
         '</text>']
    for i in range(int(limit / tick) + 1):
        v = i * tick
        s.append(f'<line class="g" x1="{x(v)}" y1="{top - 6}" x2="{x(v)}" y2="{bottom}"/>')
        s.append(f'<text class="m" x="{x(v)}" y="{bottom + 18}" text-anchor="middle">{v:g}</text>')
    for i, row in enumerate(rows):
        y = top + step * i
        r = row["tuned_ratio"]
        middle = statistics.median(r)
        name = short_name(row["name"]) + f", {row['threads']} thread" + "s" * (row["threads"] != 1)
        name = name if len(name) <= 34 else name[:33] + "…"
        s.append(f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{html.escape(name)}</text>')
        s.append(f'<rect class="{"b" if middle >= 1 else "s"}" x="{left}" y="{y + 3}" width="{x(middle) - left:.1f}" '
                 f'height="{step - 9}"/>')
        s.append(f'<path class="e" d="M{x(min(r))} {y + 11.5}H{x(max(r))}M{x(min(r))} {y + 7.5}v8M{x(max(r))} '
                 f'{y + 7.5}v8"/>')
        s.append(f'<text x="{x(max(max(r), 1)) + 7:.1f}" y="{y + 16}">{middle:.2f}</text>')
    s.append(f'<line class="one" x1="{x(1)}" y1="{top - 6}" x2="{x(1)}" y2="{bottom}"/>')
    s.append("</svg>\n")
    return "\n".join(s)


def write(path, content):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    beside = path + ".tmp"
    with open(beside, "w", encoding="utf-8") as f:
        f.write(content)
    os.replace(beside, path)


def with_block(old, block):
    """`old` with the text between the marks replaced; the marks are added at its end where they are missing."""
    block = f"{BEGIN}\n\n{block}\n\n{END}"
    begin, end = old.find(BEGIN), old.find(END)
    if 0 <= begin < end:
        return old[:begin] + block + old[end + len(END):]
    return (old.rstrip() or "# Benchmarks") + "\n\n" + block + "\n"


def main():
    args = parse_args()
    try:
        rows, context, notes = measure(args)
    except Failed as e:
        print(f"compare.py: {e}", file=sys.stderr)
        return 1
    if not rows:
        print(f"compare.py: no case matches --filter {args.filter}", file=sys.stderr)
        return 1
    for note in notes:
        print(note)
    print("\n\n".join((text + "\n\n") * bool(text) + aligned(lines, markdown=False) for text, lines in tables(rows)))
    picture = bars(rows)
    image = ""
    if picture:
        write(args.image, picture)
        image = os.path.relpath(args.image, os.path.dirname(os.path.abspath(args.doc)))
    old = ""
    if os.path.exists(args.doc):
        with open(args.doc, encoding="utf-8") as f:
            old = f.read()
    write(args.doc, with_block(old, document(rows, context, notes, args, image)))
    if args.json:
        write(args.json, json.dumps({"rows": rows, "context": context}, indent=1) + "\n")
    for row in rows:
        if row["note"].startswith("failed"):
            print(f"{row['name']}: {row['note']}", file=sys.stderr)
    return 1 if any(row["note"].startswith("failed") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
