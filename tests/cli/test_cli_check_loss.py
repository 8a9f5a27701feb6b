"""`kdstudy check-loss`: a function of somebody's file, what is stated on the line, exit code and one sentence."""

import json

import pytest
from command import shell

kdstudy = pytest.fixture(shell)

FILE = """
import torch.nn.functional as F

number = 3

def mine(z, v, y, T=4.0, alpha=0.9, kind="sum"):
    soft = F.kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft

def top(z, v, y):
    at = v.topk(3, -1).indices
    return mine(z.gather(-1, at), v.gather(-1, at), y * 0, 1.0, 1.0)

def distance(s, t):
    return F.kl_div(s.log_softmax(-1), t.softmax(-1), reduction="none").sum(-1)
"""
LINES = [  # words, exit code, what is printed
    ("mine", "", 0, "info correct"),
    ("mine", "-b alpha=0.5 -b kind=mean", 1, "error other_alpha: the loss is right for another alpha than stated"),
    ("mine", "--tau 2 -b T=2 --weights 0.1,3.6", 0, "0.1 CE(z, y) + 3.6 KL(p^tau || q^tau)"),
    ("mine", "--divergence {}:distance --hard torch.nn.functional:cross_entropy", 0, "info correct"),
    ("mine", "--class-weights 1,1,1,1,1,1,1 --reduction sum", 1, "another reduction than stated"),
    ("top", "--tau 1 --alpha 1 --top-k 3,renormalised", 0, "of the teacher's 3 largest, renormalised"),
    ("mine", "--weights half", 2, "error: weights: found 'half', allowed: (hard, soft)"),
    ("mine", "--top-k 9", 2, "error: top_k: found 9, allowed: k or (k, kind), 0 < k < 7"),
    ("mine", "--class-weights 3", 2, "error: class_weights: found [3], allowed: 7 numbers"),
    ("mine", "-b alpha", 2, "error: -b: found 'alpha', allowed: NAME=NUMBER"),
    ("number", "", 2, "TypeError: number is a int"),
    ("absent", "", 2, "give FILE.py:NAME or MODULE:NAME"),
]


@pytest.mark.parametrize(("name", "words", "code", "printed"), LINES)
def test_a_line_gives_an_exit_code_and_says_why(name, words, code, printed, tmp_path, kdstudy):
    (path := tmp_path / "losses.py").write_text(FILE)
    got = kdstudy("check-loss", f"{path}:{name}", "--classes", "7", *words.format(path).split())
    assert got[0] == code and printed in got[1 + (code == 2)], got
    assert code != 2 or (got[1], got[2].count("\n")) == ("", 1)


def test_the_report_as_json(tmp_path, kdstudy):
    (path := tmp_path / "losses.py").write_text(FILE)
    code, printed, _ = kdstudy("check-loss", f"{path}:mine", "--classes", "7", "--json")
    assert code == 0 and json.loads(printed)["ok"]
