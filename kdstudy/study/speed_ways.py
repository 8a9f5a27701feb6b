"""The ways to train networks side by side, and the machine's ceilings, as `make bench` measured them."""

import pandas as pd

from kdstudy.study.speed import MACHINE

WAY = ["way", "dtype", "layout"]
NAMES = {"engine": "one by one", "processes": "one process a core"}
KEPT = {"cpu": "processes", "cuda": "vmap"}  # what the engine and `kdstudy.train.steppers` do on a device
CEILING = {"convolution": ("flops", "matmul"), "batch norm, sum, ReLU": ("moved", "copy")}
UNITS = {"matmul": "GFLOP/s", "copy": "GB/s", "triad": "GB/s"}


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
            parts.append(f"R = {r} {said(first)} ({first['rate'] / second['rate']:.2f} times {said(second)})")
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


def said(row: dict[str, object]) -> str:
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
