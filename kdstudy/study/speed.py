"""What `make bench` measured, as tables and sentences: machines, ratios, accuracies, growth, ways, ceilings.

A row of data/benchmarks is one timing. Rates are medians over timings; a ratio is taken between timings of the same
repeat, and shown as the median over repeats with the lowest and the highest.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy import stats as scipy_stats

from kdstudy.core import paths
from kdstudy.core.registry import unknown
from kdstudy.stats import paired
from kdstudy.store.published import Published

FOLDER = paths.published("data/benchmarks")
MACHINE = ["device", "hardware", "cores", "torch"]
DEVICES = {"cpu": "CPU", "cuda": "GPU"}
PARTS = {
    "distil": "engine and plain loop",
    "distil_accuracy": "their accuracy",
    "stacked": "perceptrons",
    "side_by_side": "ways side by side",
    "precision": "accuracy of ways",
    "ceilings": "ceilings",
    "step": "a step",
    "growth": "growth",
}
WAY = ["way", "dtype", "layout"]
NAMES = {"engine": "one by one", "processes": "one process a core"}
KEPT = {"cpu": "processes", "cuda": "vmap"}  # what the engine and `kdstudy.train.steppers` do on a device
CEILING = {"convolution": ("flops", "matmul"), "batch norm, sum, ReLU": ("moved", "copy")}
UNITS = {"matmul": "GFLOP/s", "copy": "GB/s", "triad": "GB/s"}


def rows(part: str, folder: Path = FOLDER) -> pd.DataFrame:
    """All timings of a part; an empty table if it was never measured."""
    path = folder / f"{part}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*MACHINE, "load"])


def absent(frame: pd.DataFrame) -> str:
    """Markdown: the devices that have no timing."""
    lacking = [name for device, name in DEVICES.items() if device not in set(frame["device"])]
    return "\n\n".join(f"**Not measured on a {name}:** no {name} was at hand." for name in lacking)


def facts(frame: pd.DataFrame) -> str:
    """Hardware, versions, the number of timings of each point, and how busy the machine was before."""
    if frame.empty:
        return "nothing measured"
    made = [f"{r.hardware}, {r.cores} cores, torch {r.torch}" for r in frame[MACHINE].drop_duplicates().itertuples()]
    n = sorted({int(v) + 1 for v in (frame["repeat"].min(), frame["repeat"].max())}) if "repeat" in frame else []
    n = [f"n = {n[-1]} timings"] if n else []
    return " · ".join([*made, *n, f"load before them {frame['load'].min():g} to {frame['load'].max():g}"])


def measured(folder: Path = FOLDER) -> pd.DataFrame:
    """The machines, with the number of timings of each part and the load before them."""
    found = []
    for part, title in PARTS.items():
        for where, group in rows(part, folder).groupby(MACHINE, sort=False):
            load = f"{group['load'].min():g} to {group['load'].max():g}"
            found.append({"part": title} | dict(zip(MACHINE, where)) | {"timings": len(group), "load": load})
    return pd.DataFrame(found)


def compared(frame: pd.DataFrame, amount: str, base: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """Every side against `base`: rates (`amount` per second) and their ratio, within each repeat."""
    found = []
    if frame.empty:
        return pd.DataFrame()
    for where, group in frame.groupby([*MACHINE, *by], sort=False):
        rates = group.assign(rate=group[amount] / group["seconds"]).pivot(index="repeat", columns="side", values="rate")
        for side in (s for s in group["side"].unique() if s != base):
            ratio = rates[side] / rates[base]
            found.append(
                dict(zip([*MACHINE, *by], where))
                | {"side": side, "against": base, "per second": rates[side].median()}
                | {"per second, against": rates[base].median(), "ratio": ratio.median()}
                | {"lowest": ratio.min(), "highest": ratio.max(), "n": len(ratio)}
            )
    return pd.DataFrame(found)


def lean(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a page shows it, without what a machine's line of facts says if all rows share it."""
    known = ["device", "cores", "torch"]
    known += ["hardware"] if "hardware" in table and table["hardware"].nunique() == 1 else []
    return table.drop(columns=known, errors="ignore")


def stacked(frame: pd.DataFrame) -> pd.DataFrame:
    """Perceptrons side by side against one by one and against a plain loop, at each batch size."""
    both = [compared(frame, "steps", base, ["batch", "r"]) for base in ("one by one", "plain loop")]
    found = pd.concat(both)
    return found[found["side"] == "side by side"] if len(found) else found


def sides(frame: pd.DataFrame) -> pd.DataFrame:
    """How each side of the distillation benchmark worked."""
    shown = ["side", "teacher", "student", "data", "classes", "students", "seeds", "epochs", "batch", "dtype"]
    shown += ["processes", "threads", "loaders"]
    return lean(frame[["hardware", *shown]].drop_duplicates()) if len(frame) else frame


def reached(frame: pd.DataFrame, side: str, base: str) -> pd.DataFrame:
    """Test accuracy of two sides, and the difference paired by seed with its 95 % interval."""
    found = []
    for where, group in frame.groupby(MACHINE, sort=False):
        by_seed = group.pivot(index="seed", columns="side", values="accuracy")
        i = paired.interval(by_seed[side] - by_seed[base])
        pair = {"side": side, "against": base, "mean": by_seed[side].mean(), "mean, against": by_seed[base].mean()}
        spread = {"sd": by_seed[side].std(ddof=1), "sd, against": by_seed[base].std(ddof=1)}
        found.append({"hardware": where[1]} | pair | spread | {"difference": i.mean, "low": i.low, "high": i.high,
                                                                "n": i.n})  # fmt: skip
    return pd.DataFrame(found)


def same(found: pd.DataFrame) -> str:
    """Markdown: whether both sides reached the same accuracy, as far as the seeds can tell."""
    lines = []
    for row in found.to_dict("records"):
        inside = row["low"] <= 0 <= row["high"]
        verdict = "no difference is seen, within these limits" if inside else "**they differ**"
        mean, low, high = (f"{100 * row[k]:+.2f}" for k in ("difference", "low", "high"))
        lines.append(
            f"On {row['hardware']}, {row['side']} less {row['against']} is {mean} points of test accuracy "
            f"[{low}, {high}], n = {row['n']} seeds, whose standard deviations are {100 * row['sd']:.2f} and "
            f"{100 * row['sd, against']:.2f}: {verdict}."
        )
    return "\n\n".join(lines)


def precisions(frame: pd.DataFrame) -> pd.DataFrame:
    """Side by side against one by one in bfloat16, and one by one in bfloat16 against float32."""
    pairs = [("side by side, bfloat16", "one by one, bfloat16"), ("one by one, bfloat16", "one by one, float32")]
    return pd.concat([reached(frame, *pair) for pair in pairs], ignore_index=True)


def published() -> pd.DataFrame:
    """All published runs."""
    return pd.DataFrame(Published().rows().values())


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What published networks for images took: seconds of one core for a run (mean), and hours for all of them."""
    if "net" not in rows:
        return pd.DataFrame()
    pictured = rows[rows["net"].notna()]
    groups = pictured.groupby(["dataset", "net", "epochs", "device"], sort=False)["seconds"]
    table = pd.DataFrame({"runs": groups.size(), "seconds for a run": groups.mean(), "hours": groups.sum() / 3600})
    return table.reset_index()


def growth(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds as fixed + slope x n by least squares; `of proportional`: growth of the time over growth of n."""
    found = []
    if frame.empty:
        return pd.DataFrame()
    for where, group in frame.groupby(["hardware", "kind", "axis"], sort=False):
        line, median = scipy_stats.linregress(group["n"], group["seconds"]), group.groupby("n")["seconds"].median()
        small, large = median.index.min(), median.index.max()
        found.append(
            dict(zip(["hardware", "kind", "axis"], where))
            | {"from": small, "to": large, "fixed": line.intercept, "slope": line.slope, "r²": line.rvalue**2}
            | {"of proportional": (median[large] / median[small]) / (large / small)}
        )
    return pd.DataFrame(found)


def linear(frame: pd.DataFrame) -> str:
    """Markdown: how many of the costs grow no faster than in proportion."""
    table = growth(frame)
    if table.empty:
        return ""
    good = int((table["of proportional"] <= 1).sum())
    worst = table.loc[table["of proportional"].idxmax()]
    return (
        f"{good} of {len(table)} times grow no faster than in proportion; the fastest growing, {worst['kind']} by "
        f"{worst['axis']}, at {worst['of proportional']:.2f} of proportional growth."
    )


# ---------------------------------------------------------------- ways side by side, and the machine's ceilings


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Images per second of every way, network and R, with the operations per second that they are."""
    if frame.empty:
        return frame
    keys = [*MACHINE, "net", "r", *WAY, "threads", "processes", "batch", "flops"]
    found = frame.groupby(keys, sort=False)["seconds"].agg(["median", "size"]).reset_index()
    rate = found["r"] * found["batch"] / found["median"]
    return found.assign(rate=rate, gflops=rate * found["flops"] / 1e9, used=found["threads"] * found["processes"])


def ways(frame: pd.DataFrame, net: str) -> pd.DataFrame:
    """Images per second of a network: a row for each way with every core, a column for each R, the fastest first."""
    found = rates(frame)
    if found.empty:
        return found
    if net not in set(found["net"]):
        raise unknown(f"network {net!r} was not measured; there are", net, dict.fromkeys(found["net"]))
    found = whole(found[found["net"] == net])
    found = found.assign(way=found["way"].replace(NAMES))
    wide = found.pivot(index=["hardware", *WAY], columns="r", values="rate")
    return wide.sort_values(wide.columns.max(), ascending=False).rename(columns="R = {}".format)


def whole(found: pd.DataFrame) -> pd.DataFrame:
    """Rates that had the whole machine: every core, or as many processes as there were networks."""
    if found.empty:
        return found
    return found[(found["used"] == found["cores"]) | (found["way"] == "processes")]


def fastest(frame: pd.DataFrame) -> str:
    """Markdown: the fastest way for each machine, network and R, and by how much the next one was slower."""
    found, lines = rates(frame), []
    if found.empty:
        return ""
    for (hardware, net), group in whole(found).groupby(["hardware", "net"], sort=False):
        parts = []
        for r, mine in group.groupby("r"):
            first, second = mine.nlargest(2, "rate").to_dict("records")
            parts.append(f"R = {r} {way_name(first)} ({first['rate'] / second['rate']:.2f} times {way_name(second)})")
        lines.append(f"- {net} on {hardware}: {'; '.join(parts)}")
    return "\n".join(lines)


def kept(frame: pd.DataFrame) -> str:
    """Markdown: the engine's way on each device against the fastest other one, several networks side by side."""
    found, lines = whole(rates(frame)), []
    found = found[found["r"] > 1] if len(found) else found
    for (device, hardware), mine in found.groupby(["device", "hardware"], sort=False) if len(found) else ():
        own = mine["way"] == KEPT[device]
        best = [rows.groupby(["net", "r"])["rate"].max() for rows in (mine[own], mine[~own])]
        ratio = best[0] / best[1]
        lines.append(
            f"What the engine does on {hardware}, {NAMES.get(KEPT[device], KEPT[device])}, makes "
            f"{ratio.min():.2f} to {ratio.max():.2f} times the images of the fastest other way, "
            "where several networks are trained."
        )
    return "\n\n".join(lines)


def way_name(row: dict[str, object]) -> str:
    """A way in words."""
    return f"{NAMES.get(row['way'], row['way'])}, {row['dtype']}, {row['layout']}"


def ceilings(frame: pd.DataFrame) -> pd.DataFrame:
    """The best that was measured of each kind: matrix products in GFLOP/s, copies and triads in GB/s."""
    if frame.empty:
        return frame
    found = frame.assign(best=frame["done"] / frame["seconds"] / 1e9)
    at = found.groupby([*MACHINE, "what", "dtype", "threads"], sort=False)["best"].idxmax()
    return found.loc[at].assign(unit=lambda f: f["what"].map(UNITS))


def limits(frame: pd.DataFrame) -> pd.DataFrame:
    """That as a page shows it."""
    best = ceilings(frame)
    return best[["hardware", "what", "dtype", "threads", "best", "unit"]] if len(best) else best


def fractions(frame: pd.DataFrame, tops: pd.DataFrame, net: str = "resnet20") -> pd.DataFrame:
    """Each way's GFLOP/s as a fraction of the best matrix product of its precision on as many cores."""
    found, best = rates(frame), ceilings(tops)
    if found.empty or best.empty:
        return pd.DataFrame()
    best = best[best["what"] == "matmul"][["device", "hardware", "dtype", "threads", "best"]]
    best = best.rename(columns={"threads": "used", "best": "ceiling"})
    joined = found[found["net"] == net].merge(best, on=["device", "hardware", "dtype", "used"])
    shown = joined.assign(fraction=joined["gflops"] / joined["ceiling"])
    return shown[["hardware", "way", "dtype", "layout", "r", "used", "rate", "gflops", "ceiling", "fraction"]]


def step(frame: pd.DataFrame, tops: pd.DataFrame) -> pd.DataFrame:
    """Where the time of a step goes, by kind of operation, and how near each kind is to its own ceiling."""
    if frame.empty:
        return frame
    best, found = ceilings(tops), []
    for row in frame.to_dict("records"):
        mine = best[(best["hardware"] == row["hardware"]) & (best["threads"] == row["threads"])]
        done, what = CEILING.get(row["kind"], ("", ""))
        precise = row["dtype"] if what == "matmul" else "float32"
        top = mine[(mine["what"] == what) & (mine["dtype"] == precise)]["best"].max()
        rate = row[done] * row["steps"] * row["batch"] / row["seconds"] / 1e9 if done else float("nan")
        found.append({k: row[k] for k in ("hardware", "kind", "seconds")}
                     | {"rate": rate, "unit": UNITS.get(what, ""), "fraction": rate / top})  # fmt: skip
    table = pd.DataFrame(found)
    share = table["seconds"] / table.groupby("hardware")["seconds"].transform("sum")
    table.insert(2, "share", share)
    return table.drop(columns="seconds").sort_values(["hardware", "share"], ascending=[True, False])
