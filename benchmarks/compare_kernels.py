"""What compare.py knows of single kernels: which of our cases a oneDNN program can run too, and the tables of kernels
beside oneDNN and OpenBLAS.

The oneDNN program has the interface `--threads N [--algo winograd] --json conv:BATCH,IN,H,W,OUT,K` and prints one JSON
line for each of the passes fwd, bwd_d, bwd_w: peer, pass, median_s, gflops. OpenBLAS runs inside our own program, in
the cases `openblas/...`, whose counters are gflops, openblas_gflops and ratio.
"""
import json
import re
import statistics

# As bench_kernels names its convolutions: conv/teacher/32x76x16x16_to_126_k3/forward/exact
CONV = re.compile(r"^conv/[^/]+/(\d+)x(\d+)x(\d+)x(\d+)_to_(\d+)_k(\d+)/"
                  r"(forward|backward_data|backward_weights)(/exact)?")
PASSES = {"forward": "fwd", "backward_data": "bwd_d", "backward_weights": "bwd_w"}
DIRECTIONS = {"forward": "forward", "backward_data": "data", "backward_weights": "weights"}
PEERS = {"direct": "oneDNN, direct", "winograd": "oneDNN, Winograd", "openblas": "OpenBLAS"}


def kind_of(name):
    """The group of a convolution in the summary: "3 x 3, fast"; nothing for other cases."""
    m = CONV.match(name)
    if not m:
        return ""
    if m.group(2) == "3":
        return "first layer"
    return f"{m.group(6)} x {m.group(6)}, {'exact' if m.group(8) else 'fast'}"


def onednn_jobs(name):
    """oneDNN's algorithms to set beside our case: its direct one, and Winograd beside ours. It has none for 5 x 5."""
    kind = kind_of(name)
    return ["direct", "winograd"] if kind == "3 x 3, fast" else ["direct"] if kind else []


def onednn_command(program, name, algorithm, threads):
    batch, channels, height, width, out, k = CONV.match(name).groups()[:6]
    return [program, "--threads", str(threads), "--algo", algorithm, "--json",
            f"conv:{batch},{channels},{height},{width},{out},{k}"]


def onednn_result(out, name):
    """The figures of our case's direction. Raises ValueError where they are missing."""
    wanted = PASSES[CONV.match(name).group(7)]
    for line in out.splitlines():
        r = json.loads(line)
        if r["pass"] == wanted:
            return {"seconds": float(r["median_s"]), "rate": float(r["gflops"]), "unit": "flop", "peer": r["peer"]}
    raise ValueError(f"no pass {wanted}")


def entries(rows):
    """One for each case and peer that were measured: the row, the peer, GF/s of both, a ratio for each round."""
    out = []
    for row in rows:
        found = {job: ([p["rate"] for p in row[job]], row[job + "_ratio"]) for job in ("direct", "winograd")}
        found["openblas"] = ([o["openblas_gflops"] for o in row["ours"] if "openblas_gflops" in o],
                             [o["ratio"] for o in row["ours"] if "ratio" in o])
        for peer, (rates, ratios) in found.items():
            if ratios:
                out.append({"row": row, "peer": peer, "ours": statistics.median(o["gflops"] for o in row["ours"]),
                            "theirs": statistics.median(rates), "ratios": ratios})
    return out


def table(found, short_name, spread):
    lines = [["case", "threads", "qdistill, GF/s", "peer", "peer, GF/s", "ratio (median)", "ratio (range)"]]
    for e in found:
        lines.append([short_name(e["row"]["name"]), str(e["row"]["threads"]), f"{e['ours']:.3g}", PEERS[e["peer"]],
                      f"{e['theirs']:.3g}", *spread(e["ratios"])])
    return lines


def conv_summary(found):
    """Median, least and largest of the layers' median ratios, by kind and direction; nothing without convolutions."""
    groups = {}
    for e in found:
        name = e["row"]["name"]
        if kind_of(name):
            key = kind_of(name), e["peer"], e["row"]["threads"]
            groups.setdefault(key, {}).setdefault(CONV.match(name).group(7), []).append(statistics.median(e["ratios"]))
    lines = [["convolutions", "threads", "peer"] + list(DIRECTIONS.values())]
    for (kind, peer, threads), layers in sorted(groups.items()):
        cells = [kind, str(threads), PEERS[peer]]
        for direction in DIRECTIONS:
            r = layers.get(direction, [])
            cells.append(f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" if r else "–")
        lines.append(cells)
    return lines if groups else []


def product_summary(found):
    """The geometric mean of the matrix products' median ratios, a sentence for each number of threads."""
    groups = {}
    for e in found:
        if e["row"]["name"].startswith("openblas/gemm/"):
            groups.setdefault(e["row"]["threads"], []).append(statistics.median(e["ratios"]))
    return [f"Matrix products beside OpenBLAS, {threads} thread{'s' * (threads != 1)}: geometric mean of {len(r)} "
            f"shapes {statistics.geometric_mean(r):.2f}, least {min(r):.2f}, largest {max(r):.2f}."
            for threads, r in sorted(groups.items())]


def cost_table(rows, spread):
    """What quantizers add to a step, in per cent: the cases with the counter cost_percent."""
    lines = [["quantizer", "threads", "added time, % (median)", "range of the rounds"]]
    for row in rows:
        costs = [o["cost_percent"] for o in row["ours"] if "cost_percent" in o]
        if costs:
            lines.append([row["name"].split("/")[1], str(row["threads"]), *spread(costs)])
    return lines if len(lines) > 1 else []
