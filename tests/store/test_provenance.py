"""What a stored row rests on: its digest covers every function that a run calls, and changes with what it rests on."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pictures
import pytest
from conftest import TINY, mixed_runs, tiny_run

import kdstudy
from kdstudy.core.source import Sources
from kdstudy.core.spec import Data
from kdstudy.data import registry
from kdstudy.engine import ask, stacks, teachers
from kdstudy.store import provenance
from kdstudy.store.published import Published
from kdstudy.store.working import Record, Store
from kdstudy.train import batchnorm, cnn, metrics

PACKAGE = Path(kdstudy.__file__).parent
GOLDEN = Path(__file__).with_name("golden_digests.json")


def test_the_digests_are_those_written_down():
    """Moving and renaming change none. Who changes the meaning of code writes the file anew, and trains again."""
    assert provenance.current() == json.loads(GOLDEN.read_text("utf-8"))


def test_rows_of_a_table_are_stale_as_each_is_alone():
    noisy = Data(TINY.name, (*TINY.options, ("noise", 0.3)))
    asked = [*mixed_runs(seeds=1, dtype="float32"), replace(tiny_run(), data=noisy)]
    ask.ask([*asked, replace(tiny_run("kd"), teacher=teachers.of(tiny_run(seed=7), "exact"))])
    Published().publish("universe", [Record(row, {}) for row in Store().rows().values()])
    frame = Published().frame()
    assert len(frame) > 30 and not provenance.stale_rows(frame).any()
    rows = Published().rows(frame["key"])
    frame.loc[frame.index[::5], "code"] = "0" * 12
    alone = [provenance.stale(rows[k] | {"code": c}) for k, c in zip(frame["key"], frame["code"])]
    assert list(provenance.stale_rows(frame)) == alone and any(alone) and not all(alone)


EDITS = {
    "a kernel's constant": ("BLOCK = 1024", "BLOCK = 512", {"training:images", "training:own", "network:"}),
    "how the rate falls": ("0.5 * (1 + math.cos", "0.6 * (1 + math.cos", {"training:"}),
    "one condition's target": ("target=target, nontarget=0.0", "target=target, nontarget=0.1", {"condition:tckd"}),
    "the first weights": ("bound = fan_in**-0.5", "bound = fan_in**-0.4", {"training:mlp"}),
    "a measure": (".abs().sum() / len(label)", ".abs().sum() / 2", {"measure:ece"}),
    "noise in labels": (
        "drawn = torch.rand(len(label), generator=g) < fraction", "drawn = 0",
        {"transform:noise", "transform:noisy_validation"},
    ),
    "a network's width": ("sizes = (channels, width, 2 * width, 4 * width)", "sizes = (1, 2)", {"network:cnn"}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_makes_stale_what_rests_on_it_and_nothing_else(edit, monkeypatch):
    old, new, touched = EDITS[edit]
    before = provenance.current()
    (module,) = [m for m, text in provenance.SOURCES.texts.items() if old in text]
    texts = provenance.SOURCES.texts | {module: provenance.SOURCES.texts[module].replace(old, new)}
    monkeypatch.setattr(provenance, "SOURCES", Sources(texts, provenance.IGNORED))
    changed = {root for root, digest in provenance.current().items() if digest != before[root]}
    assert changed and {t for t in touched if any(c.startswith(t) for c in changed)} == touched
    assert all(c.startswith(tuple(touched)) for c in changed)


def called(work) -> set[str]:
    """ "module:name" of every function of the package that is called meanwhile."""
    seen = set()

    def watch(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)):
            module = ".".join(Path(path).relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            seen.add(f"{module}:{frame.f_code.co_qualname.partition('.')[0]}")

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {name for name in seen if not name.endswith((":<module>", ":<lambda>"))}


NO_MEANING = (  # who trains where, and what is loaded, kept and looked up
    "kdstudy:", "kdstudy.engine.", "kdstudy.study.", "kdstudy.store.working:", "kdstudy.data.registry:",
    "kdstudy.data.dataset:",
)  # fmt: skip


def unexplained(seen: set[str], rows: list[dict]) -> set[str]:
    """What was called, but is not reached from what the rows rest on."""
    entries = [provenance._entry(*root.split(":", 1)) for row in rows for root in provenance.roots(row)]
    reached = provenance.SOURCES.reached(*entries)
    ours = {name for name in seen if name.partition(":")[0] not in provenance.IGNORED}
    return {name for name in ours - reached if not name.startswith(NO_MEANING)}


def test_the_digest_covers_every_function_that_training_perceptrons_calls():
    runs = mixed_runs(seeds=1, dtype="float32")
    taught = [r.teacher for r in runs if r.teacher]
    registry.load.cache_clear()
    records = []

    def work() -> None:
        records.extend(stacks.train(list(dict.fromkeys(taught)), {}, True))
        left = {r.key: stacks.tensors({n: r.arrays[n] for n in stacks.LEFT}) for r in records}
        records.extend(stacks.train(runs, left, False))

    seen = called(work)
    assert len(seen) > 60 and not unexplained(seen, [r.row for r in records])


def test_the_digest_covers_every_function_that_training_images_calls(cache):
    data = pictures.pictures()
    runs = [pictures.run("kd", net=net, dtype="bfloat16", epochs=1) for net in ("cnn2", "resnet8", "wrn-10-1")]
    measured = {f"test_{name}": 0.0 for name in metrics.MEASURES | metrics.WITH_TEACHER}
    rows = [r.columns | measured for run in runs for r in (run, run.teacher)]

    def work() -> None:
        left = pictures.teach(runs, data)
        for run in runs:
            cnn.train([run], data, left)

    batchnorm.loops.cache_clear()  # what another test has compiled is called here too
    seen = called(work)
    known = provenance._registered("data set")
    seen = {name for name in seen if not name.startswith(("kdstudy.data.", "kdstudy.data.pictures"))}
    rows = [row | {"dataset": next(iter(known))} for row in rows]
    assert "kdstudy.train.batchnorm:loops" in seen and not unexplained(seen, rows)


def test_results_are_read_and_known_to_be_stale_without_torch():
    code = "import sys\nfrom kdstudy.store import provenance, results\nprovenance.current()\n"
    code += "print({'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(provenance.current(), indent=1) + "\n", "utf-8")
