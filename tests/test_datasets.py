"""Data sets: the law of the synthetic one, splits and features of all, files found, checked and refused."""

import gzip
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kdstudy import clinc150, datasets, downloads
from kdstudy.datasets import DataError, Dataset
from kdstudy.models import generator
from kdstudy.spec import Data, pairs

REAL = os.environ.get("KDSTUDY_DATA")
SPLITS = ("train", "validation", "test")
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens


def load(name: str, **options: object) -> Dataset:
    """A data set read anew."""
    datasets.load.cache_clear()
    return datasets.load(Data(name, pairs(options)))


def says(message: str) -> str:
    """A pattern that matches this text and no other."""
    return f"^{re.escape(message)}$"


def rows(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own empty cache, no folder of the user's, and nothing in memory."""
    monkeypatch.delenv("KDSTUDY_DATA", raising=False)
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield tmp_path / "cache"
    datasets.load.cache_clear()


# ---------------------------------------------------------------- names and options


def test_names_and_options():
    assert datasets.names() == ["synthetic", "digits", "fashion_mnist", "clinc150"]
    assert datasets.options("digits") == {"seed": 0}
    assert datasets.options("clinc150") == {"variant": "full", "features": 256}


@pytest.mark.parametrize("ask", [datasets.load, datasets.check])
@pytest.mark.parametrize(
    "data, message",
    [
        (
            Data("fashion"),
            "data set 'fashion' is unknown; there are: synthetic, digits, fashion_mnist, clinc150; "
            "did you mean 'fashion_mnist'?",
        ),
        (Data("x"), "data set 'x' is unknown; there are: synthetic, digits, fashion_mnist, clinc150"),
        (
            Data("clinc150", (("varient", "small"),)),
            "data set 'clinc150' has no option 'varient'; it has: variant, features; did you mean 'variant'?",
        ),
        (Data("digits", (("train", 5),)), "data set 'digits' has no option 'train'; it has: seed"),
    ],
)
def test_unknown_names_are_refused(ask, data, message):
    with pytest.raises(ValueError, match=says(message)):
        ask(data)


@pytest.mark.parametrize(
    "name, option, value, message",
    [
        ("synthetic", "classes", 1, "classes: found 1, allowed: a whole number of at least 2"),
        ("synthetic", "sines", -1, "sines: found -1, allowed: a whole number of at least 0"),
        ("synthetic", "validation", 0, "validation: found 0, allowed: a whole number of at least 1"),
        ("synthetic", "superclasses", 21, "superclasses: found 21, allowed: at most 20, the number of classes"),
        (
            "synthetic",
            "features",
            24,
            "features: found 24, allowed: at least 25, an orthonormal direction for each of 20 classes "
            "and 5 super-classes",
        ),
        ("synthetic", "similarity", 1.0, "similarity: found 1.0, allowed: 0 <= similarity < 1"),
        ("synthetic", "softness", math.inf, "softness: found inf, allowed: a finite number of at least 0"),
        ("synthetic", "noise", math.nan, "noise: found nan, allowed: 0 <= noise <= 1"),
        ("digits", "seed", -1, "seed: found -1, allowed: a whole number of at least 0"),
        ("clinc150", "variant", "plus", "variant: found 'plus', allowed: 'full', 'small', 'imbalanced'"),
        ("clinc150", "features", 0, "features: found 0, allowed: a whole number of at least 1"),
    ],
)
def test_values_out_of_range_are_refused(name, option, value, message):
    with pytest.raises(ValueError, match=says(message)):
        load(name, **{option: value})


# ---------------------------------------------------------------- synthetic


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("classes, superclasses, features", [(20, 5, 32), (7, 3, 10), (4, 1, 5), (3, 3, 6)])
def test_cosine_similarity_is_exactly_what_was_asked(similarity, classes, superclasses, features):
    data = load(
        "synthetic", similarity=similarity, classes=classes, superclasses=superclasses, features=features, seed=3
    )
    w, g = data.extra["law"]["vectors"], data.superclass
    wanted = (similarity * (g[:, None] == g).double()).fill_diagonal_(1)
    assert_close(w @ w.T, wanted, rtol=0, atol=1e-12)
    assert g.unique().tolist() == list(range(superclasses))
    assert g.bincount().max() - g.bincount().min() <= 1


def test_posterior_is_the_formula():
    noise, softness, sines = 0.3, 0.7, 5
    data = load("synthetic", noise=noise, softness=softness, sines=sines, train=5, seed=2)
    phases = 2 * torch.pi * torch.rand(sines, generator=generator(2, "synthetic:phases"), dtype=torch.float64)
    for x, p in zip(data.train.x.double(), data.extra["train"]["posterior"]):
        scores = []
        for w in data.extra["law"]["vectors"]:
            u = sum(float(a) * float(b) for a, b in zip(w, x))
            scores.append(
                2 * u + sum(math.sin(m * u + float(phases[m - 1])) / math.sqrt(m) for m in range(1, sines + 1))
            )
        mass = [math.exp(s / softness) for s in scores]
        expected = [(1 - noise) * m / sum(mass) + noise / len(mass) for m in mass]
        assert_close(p, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise, softness", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.8), (0.2, 0.5), (1.0, 0.0)])
def test_labels_follow_the_posterior(noise, softness):
    """No class is drawn more or less often, and no label has more or less probability, than chance allows."""
    data = load("synthetic", noise=noise, softness=softness, train=8000, test=8000, seed=1)
    for split in SPLITS:
        y, p = getattr(data, split).y, data.extra[split]["posterior"]
        assert_close(p.sum(-1), torch.ones(len(y), dtype=torch.float64), rtol=0, atol=1e-12)
        count, spread = torch.bincount(y, minlength=20), (p * (1 - p)).sum(0).sqrt()
        assert ((count - p.sum(0)).abs() <= 4.5 * spread + 1e-9).all()
        own, mean = p.gather(-1, y[:, None]).squeeze(-1), (p**2).sum(-1)
        sd = ((p**3).sum(-1) - mean**2).clamp(min=0).sum().sqrt()
        assert (own - mean).sum().abs() <= 4.5 * sd + 1e-6


def test_without_noise_the_posterior_is_the_label():
    data = load("synthetic")
    for split in SPLITS:
        y = getattr(data, split).y
        assert torch.equal(data.extra[split]["posterior"], torch.nn.functional.one_hot(y, 20).double())


def test_noise_touches_training_labels_only():
    clean, noisy = load("synthetic"), load("synthetic", noise=0.4)
    for split in SPLITS:
        assert torch.equal(getattr(clean, split).x, getattr(noisy, split).x)
        assert torch.equal(clean.extra[split]["margin"], noisy.extra[split]["margin"])
    assert torch.equal(clean.validation.y, noisy.validation.y)
    assert torch.equal(clean.test.y, noisy.test.y)
    changed = (clean.train.y != noisy.train.y).double().mean()
    assert changed == pytest.approx(0.4 * 19 / 20, abs=4.5 * math.sqrt(0.38 * 0.62 / 4000))


def test_margin_is_the_log_odds_of_the_two_likeliest_classes():
    data = load("synthetic", softness=0.5)
    for split in SPLITS:
        first, second = data.extra[split]["posterior"].log().topk(2).values.unbind(-1)
        assert_close(data.extra[split]["margin"], 0.5 * (first - second), rtol=1e-7, atol=1e-9)
        assert (data.extra[split]["margin"] >= 0).all()


def test_one_sine_keeps_the_order_of_scores_and_more_do_not():
    zero, one, four = (load("synthetic", sines=s).train.y for s in (0, 1, 4))
    assert torch.equal(zero, one)
    assert (zero != four).double().mean() > 0.1


def test_synthetic_classes_are_balanced():
    count = load("synthetic", train=40_000).train.y.bincount()
    assert ((count - 2000).abs() < 4.5 * math.sqrt(40_000 * 0.05 * 0.95)).all()


@pytest.mark.parametrize("name", ["synthetic", "digits"])
def test_a_seed_gives_the_same_bits_and_another_seed_others(name):
    first, again, other = load(name, seed=4), load(name, seed=4), load(name, seed=5)
    assert first is not again
    assert first.digest == again.digest != other.digest
    for split in SPLITS:
        a, b, c = (getattr(d, split) for d in (first, again, other))
        assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
        assert not torch.equal(a.x, c.x)


def test_load_answers_from_memory():
    assert datasets.load(Data("digits")) is datasets.load(Data("digits"))


def well_formed(data: Dataset) -> None:
    """What every data set promises."""
    assert re.fullmatch("[0-9a-f]{16}", data.digest)
    seen: set[bytes] = set()
    for split in SPLITS:
        x, y = getattr(data, split).x, getattr(data, split).y
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and len(x) == len(y)
        assert x.isfinite().all() and 0 <= y.min() and y.max() < len(data.classes)
        assert not seen & rows(x), f"{split} shares examples with a split before it"
        seen |= rows(x)
    assert data.train.y.unique().tolist() == list(range(len(data.classes)))


@pytest.mark.parametrize("name", ["synthetic", "digits"])
def test_made_sets_are_well_formed_and_share_no_example(name):
    well_formed(load(name))


# ---------------------------------------------------------------- digits


def test_digits_are_stratified_and_scaled_by_their_training_split():
    data = load("digits")
    assert [len(getattr(data, s).y) for s in SPLITS] == [997, 300, 500]
    whole = sum(getattr(data, s).y.bincount() for s in SPLITS)
    for split in SPLITS:
        y = getattr(data, split).y
        assert ((y.bincount() - whole * len(y) / 1797).abs() < 1.5).all()
    assert data.train.x.mean().abs() < 1e-5
    assert data.train.x.std(correction=0) == pytest.approx(1, abs=1e-5)
    grey = set(data.train.x.unique().tolist())  # 17 levels: one map from grey to x serves all splits
    assert len(grey) == 17
    assert set(data.test.x.unique().tolist()) <= grey


# ---------------------------------------------------------------- sets from files


def publish(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], url: str = NOWHERE) -> str:
    """Make `files` the published files of a set; returns the set's folder."""
    folder = datasets.SOURCES[name][0]
    sha256 = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    monkeypatch.setitem(downloads.SOURCES, name, (folder, url, sha256))
    return folder


def put(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (root / file).write_bytes(data)
    return root


def idx(values: np.ndarray) -> bytes:
    """A gzipped IDX file of unsigned bytes."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def tiny_fashion() -> dict[str, bytes]:
    """60 + 12 images whose first pixel is their label and whose second is their number."""
    files, rng = {}, np.random.default_rng(0)
    for half, n in (("train", 60), ("t10k", 12)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        images[:, 0, 0], images[:, 0, 1] = labels, np.arange(n) + (100 if half == "t10k" else 0)
        files |= {f"{half}-images-idx3-ubyte.gz": idx(images), f"{half}-labels-idx1-ubyte.gz": idx(labels)}
    return files


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = tiny_fashion()
    put(tmp_path / "mine" / publish(monkeypatch, "fashion_mnist", files), files)
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    return files


def test_fashion_agrees_with_torchvision(fashion, tmp_path):
    from torchvision.datasets.mnist import read_image_file, read_label_file

    raw = {}
    for file, data in fashion.items():
        (tmp_path / "plain").write_bytes(gzip.decompress(data))
        raw[file] = (read_image_file if "images" in file else read_label_file)(str(tmp_path / "plain"))
    data = load("fashion_mnist", train=50)
    well_formed(data)
    pixels = raw["train-images-idx3-ubyte.gz"].view(60, 784).double()
    order = torch.randperm(60, generator=generator(0, "fashion_mnist:split"))
    std, mean = torch.std_mean(pixels[order[:50]], correction=0)
    for split, at in (("train", order[:50]), ("validation", order[50:])):
        assert_close(getattr(data, split).x.double(), (pixels[at] - mean) / std, rtol=1e-5, atol=1e-5)
        assert torch.equal(getattr(data, split).y, raw["train-labels-idx1-ubyte.gz"][at])
    test = raw["t10k-images-idx3-ubyte.gz"].view(12, 784).double()
    assert_close(data.test.x.double(), (test - mean) / std, rtol=1e-5, atol=1e-5)
    assert torch.equal(data.test.y, raw["t10k-labels-idx1-ubyte.gz"])


def test_smaller_fashion_training_splits_are_nested_and_leave_the_rest_alone(fashion):
    large, small = load("fashion_mnist", train=50), load("fashion_mnist", train=20)
    assert torch.equal(small.train.y, large.train.y[:20])
    assert torch.equal(small.validation.y, large.validation.y)
    assert small.digest != large.digest


@pytest.mark.parametrize("train", [0, 51])
def test_fashion_names_the_sizes_there_are(fashion, train):
    message = f"train: found {train!r}, allowed: a whole number from 1 to 50"
    with pytest.raises(ValueError, match=says(message)):
        load("fashion_mnist", train=train)


DOMAINS = {"money": ["pay", "balance"], "food": ["recipe", "order"]}


def tiny_clinc(test: list[list[str]] | None = None) -> dict[str, bytes]:
    """32 training sentences of four intents in two domains; all else as in the published file."""
    objects = ("a bill", "my rent", "the pasta", "a coffee", "one pizza", "this card", "our loan", "two eggs")
    train = [
        [f"please {intent} {thing}", intent] for intent in ("recipe", "pay", "order", "balance") for thing in objects
    ]
    rows = {
        "oos_val": [["what is love", "oos"]],
        "val": [["recipe for pasta", "recipe"], ["pay this rent", "pay"]],
        "train": train,
        "oos_test": [["tell me a joke", "oos"]],
        "test": test or [["order some coffee", "order"], ["balance of this card", "balance"], ["~~~ 4711", "pay"]],
        "oos_train": [["who am i", "oos"]],
    }
    return {"data_full.json": json.dumps(rows).encode(), "domains.json": json.dumps(DOMAINS).encode()}


@pytest.fixture
def clinc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Publishes a tiny CLINC150 in the user's own folder; called again, it replaces it."""

    def make(**changes: object) -> dict[str, bytes]:
        files = tiny_clinc(**changes)
        put(tmp_path / "mine" / publish(monkeypatch, "clinc150", files), files)
        monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
        return files

    make()
    return make


def test_clinc_labels_domains_and_scale(clinc):
    data = load("clinc150", features=4)
    well_formed(data)
    assert data.classes == ("balance", "order", "pay", "recipe")
    assert data.superclasses == ("food", "money")
    assert data.superclass.tolist() == [1, 0, 1, 0]
    assert [len(getattr(data, s).y) for s in SPLITS] == [32, 2, 3]
    assert data.train.y.tolist() == [3] * 8 + [2] * 8 + [1] * 8 + [0] * 8
    assert data.test.y.tolist() == [1, 0, 2]
    assert_close(data.train.x.square().mean(-1), torch.ones(32))
    assert data.test.x[2].abs().max() == 0  # no n-gram that train knows


def test_clinc_features_are_fitted_on_train_alone(clinc):
    before = load("clinc150", features=4)
    clinc(test=[["please recipe the pasta", "recipe"], ["a wholly different sentence", "pay"]])
    after = load("clinc150", features=4)
    assert torch.equal(before.train.x, after.train.x)
    assert torch.equal(before.validation.x, after.validation.x)
    assert before.digest != after.digest
    assert_close(after.test.x[0], after.train.x[2])  # the same sentence


def test_clinc_digest_and_cache_follow_the_options(clinc):
    three, four = load("clinc150", features=3), load("clinc150", features=4)
    assert three.digest != four.digest
    assert (three.train.x.shape[1], four.train.x.shape[1]) == (3, 4)


def test_clinc_features_are_computed_once(clinc, cache, tmp_path, monkeypatch):
    first = load("clinc150", features=4)
    monkeypatch.setattr(clinc150, "features", lambda *a: pytest.fail("computed again"))
    again = load("clinc150", features=4)
    assert torch.equal(first.train.x, again.train.x)
    assert [p.suffix for p in cache.rglob("*") if p.is_file()] == [".npz"]
    assert sorted(p.name for p in (tmp_path / "mine" / "clinc150").iterdir()) == ["data_full.json", "domains.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b"not a zip file",
        lambda b: b[: len(b) // 2],
        lambda b: b[:300] + bytes([b[300] ^ 255]) + b[301:],
    ],
    ids=["empty", "text", "cut", "one byte flipped"],
)
def test_a_broken_feature_cache_is_rebuilt(clinc, cache, damage):
    first = load("clinc150", features=4)
    (file,) = cache.rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = load("clinc150", features=4)
    assert torch.equal(first.train.x, again.train.x) and torch.equal(first.test.x, again.test.x)
    assert clinc150.cached(file, lambda: pytest.fail("still broken"))["train"].shape == (32, 4)


def test_a_failed_computation_leaves_no_feature_cache(clinc, cache):
    with pytest.raises(ValueError, match="n_components"):
        load("clinc150", features=10_000)
    assert not list(cache.rglob("*.npz"))


def test_made_sets_need_no_download_tools():
    """The experiment code imports, and draws, on a machine without the tools for downloads and notebooks."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['pooch', 'sklearn', 'torchvision', 'tqdm', 'papermill']); "
        "from kdstudy import datasets, spec; print(datasets.load(spec.Data('synthetic')).digest)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == load("synthetic").digest, told.stderr


# ---------------------------------------------------------------- finding, downloading, refusing


@pytest.fixture
def server(tmp_path: Path):
    """A web server that publishes the folder it yields with its address."""
    root = put(tmp_path / "web", {})

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield root, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_absent_is_downloaded_once(server, cache, monkeypatch):
    root, url = server
    files = tiny_clinc()
    publish(monkeypatch, "clinc150", files, url)
    put(root, files)
    first = load("clinc150", features=4)
    assert (cache / "clinc150" / "domains.json").read_bytes() == files["domains.json"]
    publish(monkeypatch, "clinc150", files, NOWHERE)
    assert torch.equal(load("clinc150", features=4).train.x, first.train.x)


def test_the_users_folder_comes_first(cache, tmp_path, monkeypatch):
    files = {"domains.json": b"{}"}
    mine, own = (put(r / publish(monkeypatch, "clinc150", files), files) for r in (tmp_path / "mine", cache))
    assert datasets.fetch("clinc150", "domains.json") == own / "domains.json"
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    assert datasets.fetch("clinc150", "domains.json") == mine / "domains.json"
    (mine / "domains.json").unlink()
    assert datasets.fetch("clinc150", "domains.json") == own / "domains.json"


def test_absent_without_a_network_is_one_clear_error(cache, tmp_path, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", offline)
    url = datasets.SOURCES["clinc150"][1] + "data_full.json"
    message = (
        "data set 'clinc150': data_full.json is not in {}, and could not be downloaded from {} "
        "(OSError: network is unreachable). Try again with a network, or put the file into {}"
    )
    own, mine = f"{cache}/clinc150", f"{tmp_path}/mine/clinc150"
    with pytest.raises(DataError, match=says(message.format(own, url, "this folder"))) as caught:
        load("clinc150")
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError, match=says(message.format(f"{mine} or {own}", url, "one of these folders"))):
        load("clinc150")


def test_a_refused_connection_is_a_data_error_too(monkeypatch):
    publish(monkeypatch, "clinc150", tiny_clinc())
    with pytest.raises(DataError, match=r"could not be downloaded from http://127\.0\.0\.1:9/.*\(ConnectionError: "):
        load("clinc150")


def test_a_wrong_download_is_not_kept(server, cache, monkeypatch):
    root, url = server
    publish(monkeypatch, "clinc150", tiny_clinc(), url)
    put(root, {"data_full.json": b"an error page"})
    with pytest.raises(DataError, match="does not match the known hash"):
        load("clinc150")
    assert not list((cache / "clinc150").iterdir())


def test_a_wrong_file_of_the_user_is_refused_and_left_alone(cache, tmp_path, monkeypatch):
    files = tiny_clinc()
    file = (
        put(tmp_path / "mine" / publish(monkeypatch, "clinc150", files), {"data_full.json": b"{}"}) / "data_full.json"
    )
    put(cache / "clinc150", files)
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    message = (
        f"{file} has sha256 {sha(b'{}')}, expected {sha(files['data_full.json'])}. It lies in KDSTUDY_DATA and is "
        f"left as it is: replace it by {NOWHERE}data_full.json, or remove it or unset KDSTUDY_DATA "
        "to have it downloaded"
    )
    with pytest.raises(DataError, match=says(message)):
        load("clinc150")
    assert file.read_bytes() == b"{}"


def test_a_wrong_file_of_our_own_is_kept_aside_and_downloaded_again(server, cache, monkeypatch):
    root, url = server
    files = tiny_clinc()
    folder = put(cache / publish(monkeypatch, "clinc150", files, url), files | {"domains.json": b"half"})
    put(root, files)
    message = (
        f"{folder}/domains.json has sha256 {sha(b'half')}, expected {sha(files['domains.json'])}; "
        "kept aside as domains.json.bad, downloading it again"
    )
    with pytest.warns(UserWarning, match=says(message)):
        load("clinc150", features=4)
    assert (folder / "domains.json.bad").read_bytes() == b"half"
    assert (folder / "domains.json").read_bytes() == files["domains.json"]


def test_a_wrong_file_that_cannot_be_renamed_is_reported(cache, monkeypatch):
    files = tiny_clinc()
    folder = put(cache / publish(monkeypatch, "clinc150", files), {"data_full.json": b"half"})
    put(folder / "data_full.json.bad", {"in the way": b""})
    message = (
        f"^{re.escape(str(folder))}/data_full.json has sha256 {sha(b'half')}, expected {sha(files['data_full.json'])}, "
        r"and cannot be renamed to data_full\.json\.bad \(.+\): remove it by hand$"
    )
    with pytest.raises(DataError, match=message):
        load("clinc150")
    assert (folder / "data_full.json").read_bytes() == b"half"


def test_where_downloads_go(tmp_path, monkeypatch):
    assert datasets.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("KDSTUDY_CACHE")
    monkeypatch.setattr(downloads, "ROOT", tmp_path / "installed")
    assert datasets.cache_folder() == Path(pooch.os_cache("kdstudy"))
    put(tmp_path / "installed" / "data", {"README.md": b""})
    assert datasets.cache_folder() == tmp_path / "installed" / "data" / "downloads"


# ---------------------------------------------------------------- the published files


def real(*files: str) -> pytest.MarkDecorator:
    there = REAL is not None and all((Path(REAL) / f).exists() for f in files)
    return pytest.mark.skipif(not there, reason=f"KDSTUDY_DATA does not have {', '.join(files)}")


@real("FashionMNIST/raw/train-images-idx3-ubyte.gz")
def test_real_fashion(monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    data = load("fashion_mnist")
    well_formed(data)
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert data.test.y.bincount().tolist() == [1000] * 10
    assert (data.train.y.bincount() + data.validation.y.bincount()).tolist() == [6000] * 10


@real("clinc150/data_full.json", "clinc150/domains.json")
def test_real_clinc(monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    data = load("clinc150")
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(15_000, 256), (3_000, 256), (4_500, 256)]
    assert data.train.y.bincount().tolist() == [100] * 150
    assert data.superclass.bincount().tolist() == [15] * 10
    centre = torch.stack([data.train.x[data.train.y == c].mean(0) for c in range(150)])
    near = (data.test.x @ torch.nn.functional.normalize(centre).T).argmax(-1)
    assert (near == data.test.y).double().mean() > 0.8  # the nearest class mean; rows follow their labels


def test_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "own"))
    monkeypatch.delenv("KDSTUDY_DATA", raising=False)
    assert downloads.at_hand("digits") and not downloads.at_hand("clinc150")
    folder, _, sha256 = downloads.SOURCES["clinc150"]
    (tmp_path / "own" / folder).mkdir(parents=True)
    for file in sha256:
        assert not downloads.at_hand("clinc150")
        (tmp_path / "own" / folder / file).touch()
    assert downloads.at_hand("clinc150")
