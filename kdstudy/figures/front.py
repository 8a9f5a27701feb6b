"""The front page: one example's target by level beside what KD gains, and figures of chapters shown there too."""

import base64
import io
import json
from collections.abc import Mapping
from html import escape
from string import Template

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdstudy.core import paths
from kdstudy.figures.chapters import temperature
from kdstudy.figures.style import LEVELS
from kdstudy.study import claims
from kdstudy.study.experiment import BASELINE, Study

TAU = 4.0  # of the picture without a script
PAGE = Template("""<figure class="kd-hero"><script type="application/json">$data</script>
<div class="kd-hero-live" hidden></div><img src="$image" alt="$alt"><figcaption>$caption</figcaption></figure>""")
TOLD = (
    "Left, what a teacher of {many} classes says of one example of class {label} besides its label: evenly (universe), "
    "as of its class in the mean (domain), of this very example (instance). Right, what KD gains over hard labels in "
    "points of test accuracy, measured on {bed} ({n} seeds, 95 % intervals), at each τ and each α, all else searched."
)
SEEN = "Bars in grey, green and purple differ most at {worst}; of the example {mass:.0f} % leave the label at τ = 4."


def image(figure: Figure) -> str:
    """A figure as the address of an image that holds it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", bbox_inches="tight")
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


CAPTIONS = {
    "gains": "What KD gains over hard labels in points of test accuracy on {beds} beds (data, regime, amount), with "
    "learning rate and weight decay of neither side searched, of KD alone, and of both. Right, how much of the gap "
    "between hard labels and their teacher KD closes; in bold, beds that vote on why KD works.",
    "ranges": "The mean mass that each temperature takes off the label by bed, {beds} in all, and, filled, at which of "
    "them KD surely gained and was within a point of the bed's best.",
}
FIGURE = '<figure><img src="{image}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'


def shown(figure: Figure, name: str, study: Study) -> object:
    """A chapter's figure for another page, with its caption: HTML that stands alone."""
    from IPython.display import HTML

    caption = CAPTIONS[name].format(beds=len(study.experiments))
    said = "; ".join(t.get_text().strip() for ax in figure.axes for t in ax.texts)
    alt = escape(f"{caption} It says: {said}")
    return HTML(FIGURE.format(image=image(figure), alt=alt, caption=escape(caption)))


def paste(name: str, html: object) -> None:
    """Make HTML available to other pages of the book."""
    from myst_nb import glue

    glue(name, html, display=False)


def levels(logits: np.ndarray, labels: np.ndarray, example: int, tau: float) -> dict[str, list[float]]:
    """Of an example's target at tau, what each level puts on the other classes: the mean mass over all examples spread
    evenly, the mean target of the example's class, the example's own. Classes in the order of the second, at tau = 4.
    """
    p = _softened(logits, tau)
    label = int(labels[example])
    mass = float((1 - p[np.arange(len(p)), labels]).mean())
    order = _order(logits, labels, label)
    shape = p[labels == label].mean(0)
    even = np.full(len(order), mass / len(order))
    return {name: np.round(v, 5).tolist()
            for name, v in zip(LEVELS, (even, shape[order], p[example][order]))}  # fmt: skip


def _softened(logits: np.ndarray, tau: float) -> np.ndarray:
    z = (logits - logits.max(1, keepdims=True)) / tau
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def _order(logits: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """The other classes, those first that the teacher takes for this one."""
    mean = _softened(logits[labels == label], TAU).mean(0)
    return np.array([k for k in np.argsort(-mean, kind="stable") if k != label])


def _example(logits: np.ndarray, labels: np.ndarray) -> int:
    """The example, rightly answered, whose target at tau = 4 is of middling distance from its class's mean."""
    p = _softened(logits, TAU)
    means = np.stack([p[labels == c].mean(0) for c in range(p.shape[1])])
    far = np.where(p.argmax(1) == labels, np.square(p - means[labels]).sum(1), np.nan)
    return int(np.nanargmin(np.abs(far - np.nanquantile(far, 0.9))))


def _curve(rows: pd.DataFrame, x: str) -> list[list[float]]:
    """What is gained at each value, in points, with its interval."""
    rows = rows.sort_values(x)
    return [[float(r[x]), *(round(100 * r[c], 2) for c in ("effect", "low", "high"))] for r in rows.to_dict("records")]


def data(study: Study, example: Mapping[str, np.ndarray]) -> dict[str, object]:
    """All that the figure needs: targets by tau and level, and the measured gains of the bed by tau and by alpha."""
    bed = next((e for e in study.experiments if e.name.startswith("synthetic")), study.experiments[0])
    units = bed.design.bed.student.hidden[0]
    taus = {tau: n for n, (width, tau) in temperature.temperatures(bed).items() if width == units}
    alphas = {float(n.removeprefix("α ").removesuffix(":kd")): n for n in bed.choices if n.startswith("α ")}
    one = Study([bed])
    gains = {x: pd.concat([claims.described(one, {n: 1, BASELINE: -1}).assign(**{x: at}) for at, n in sides.items()])
             for x, sides in (("tau", taus), ("alpha", alphas))}  # fmt: skip
    logits, labels = example["teacher_logits"].astype(float), example["labels"].astype(int)
    i, names = _example(logits, labels), [str(n) for n in example["class_names"]]
    return {
        "bed": bed.name, "n": int(gains["tau"]["n"].max()), "label": names[labels[i]],
        "classes": [names[k] for k in _order(logits, labels, int(labels[i]))],
        "colours": ["#7f7f7f", "#029e73", "#8a4fbf"], "names": list(LEVELS),
        "taus": sorted(taus), "targets": [list(levels(logits, labels, i, t).values()) for t in sorted(taus)],
        "tau": _curve(gains["tau"], "tau"), "alpha": _curve(gains["alpha"], "alpha"),
    }  # fmt: skip


def _still(found: Mapping[str, object]) -> Figure:
    """The figure at tau = 4, for those without a script."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.8), width_ratios=(1.5, 1))
    target = found["targets"][int(np.argmin(np.abs(np.array(found["taus"]) - TAU)))]
    for j, (name, values) in enumerate(zip(found["names"], target)):
        left.bar(np.arange(len(values)) + 0.28 * (j - 1), values, 0.28, color=found["colours"][j], label=name)
    left.set_xticks(range(len(target[0])), found["classes"], fontsize=7, rotation=90)
    left.set_title(f"what leaves the label of {found['label']}, τ = {TAU:g}")
    left.legend(fontsize=8)
    tau, gain, low, high = np.array(found["tau"]).T
    right.errorbar(tau, gain, (gain - low, high - gain), color="#8a4fbf", marker="o", ms=4, lw=1.3)
    right.axhline(0, color="0.3", lw=0.8)
    right.set_xscale("log")
    right.set_xticks(tau, [f"{t:g}" for t in tau])
    right.minorticks_off()
    right.set(xlabel="τ", title="KD minus hard labels (points)")
    figure.tight_layout()
    plt.close(figure)
    return figure


def hero(study: Study) -> object:
    """The figure that one can move, as HTML: book/_static/hero.js draws it; without a script it is a picture."""
    from IPython.display import HTML

    with np.load(paths.published("data/results") / "example_teacher.npz") as example:
        found = data(study, example)
    target = np.array(found["targets"][int(np.argmin(np.abs(np.array(found["taus"]) - TAU)))])
    caption = TOLD.format(many=len(found["classes"]) + 1, **found)
    seen = SEEN.format(worst=f"class {found['classes'][int(np.ptp(target, 0).argmax())]}", mass=100 * target[2].sum())
    inside = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")
    told = {"alt": escape(f"{caption} {seen}"), "caption": escape(caption)}
    return HTML(PAGE.substitute(told, data=inside, image=image(_still(found))))
