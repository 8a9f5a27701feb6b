"""A watched distillation: its numbers are those of autograd, and it works with the real trainers."""

import logging

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from kdstudy.diagnosis import Unusable
from kdstudy.diagnosis.report import every_finding
from kdstudy.diagnosis.watch import Watch

TAU, ALPHA, C = 3.0, 0.8, 7


def kd(z, v, y, tau=TAU, alpha=ALPHA):
    soft = kl_div((z / tau).log_softmax(-1), (v / tau).softmax(-1), reduction="batchmean")
    return (1 - alpha) * cross_entropy(z, y), alpha * tau**2 * soft


def some(n=64, classes=C):
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=g)
    v = 4 * torch.nn.functional.one_hot(y, classes) + torch.randn(n, classes, generator=g)
    return torch.randn(n, classes, generator=g), v, y


def test_numbers_are_those_of_the_loss_s_gradient():
    z, v, y = some()
    z.requires_grad_()
    watch = Watch(TAU, ALPHA)
    watch.step(z, v, y)
    got = watch.report().history.iloc[0]
    hard, soft = (torch.autograd.grad(loss, z, retain_graph=True)[0] * len(y) for loss in kd(z, v, y))
    plain = torch.autograd.grad(cross_entropy(z, y), z)[0] * len(y)
    w = ((hard + soft).gather(-1, y[:, None]) / plain.gather(-1, y[:, None]))[:, 0]
    heard, deaf = soft.norm(dim=-1).sum(), hard.norm(dim=-1).sum()
    want = {
        "mass": 1 - (v / TAU).softmax(-1).gather(-1, y[:, None]).mean(),
        "w": w.mean(),
        "w_effective": w.sum() ** 2 / (len(w) * (w**2).sum()),
        "agreement": (z.argmax(-1) == v.argmax(-1)).float().mean(),
        "soft_share": heard / (heard + deaf),
        "student_accuracy": (z.argmax(-1) == y).float().mean(),
    }
    assert {k: got[k] for k in want} == pytest.approx({k: float(x) for k, x in want.items()}, rel=1e-4)


def test_it_says_once_at_the_step_asked_what_is_wrong(caplog):
    z, v, y = some(200)
    watch = Watch(TAU, weights=(1.0, 1e-3), say_at=3)
    with caplog.at_level(logging.WARNING, "kdstudy"):
        for _ in range(6):
            watch.step(z, v.roll(1, 0), y)
    assert {"misaligned", "teacher_unheard"} <= {f.code for f in watch.said}
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == len(watch.said) and lines[0].startswith("step 3: misaligned: ")
    assert all("\n" not in line for line in lines)
    report = watch.report()
    assert report.steps == 6 and "teacher_unheard" in report.codes and not report.ok
    assert str(report).startswith("6 steps watched: mass off the label ") and len(report.as_dict()["history"]["w"]) == 6


def test_one_module_in_both_places_is_named_and_a_student_that_has_learnt_is_not():
    z, v, y = some(400)
    same, learnt = Watch(TAU, ALPHA, say_at=5), Watch(TAU, ALPHA, say_at=5)
    for step in range(20):
        same.step(v, v, y)
        learnt.step(v if step > 2 else z, v, y)
    assert "student_is_teacher" in same.report().codes
    assert not {"student_is_teacher", "teacher_unheard"} & set(learnt.report().codes)


def test_only_some_rows_of_some_steps_are_looked_at():
    z, v, y = some(5000)
    y[::2] = -100
    watch = Watch(TAU, ALPHA, every=4, rows=100)
    for _ in range(9):
        watch.step(z.view(50, 100, C), v.view(50, 100, C), y.view(50, 100))
    assert watch.report().history.index.tolist() == [4, 8]
    assert watch.report().diagnosis.facts["examples"] == 200
    with pytest.raises(Unusable, match="no step was watched: call step"):
        Watch(TAU, ALPHA).report()


def test_every_finding_is_listed_with_what_it_costs_and_what_to_do():
    rows = every_finding().set_index("code")
    assert {"misaligned", "teacher_unheard", "student_is_teacher"} <= set(rows.index)
    assert "points of test accuracy" in rows.loc["misaligned", "what it costs"]
    assert (rows != "").all(axis=None) and not rows["what to do"].str.contains("[{}]").any()


# ---------------------------------------------------------------- the real libraries

real = pytest.mark.filterwarnings("ignore")


def gpt2(layers, seed):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=8, n_layer=layers, n_head=2, bos_token_id=0,
                                     eos_token_id=1, pad_token_id=2)  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def rows(n=64):
    tokens = torch.randint(3, 31, (n, 12), generator=torch.Generator().manual_seed(0)).tolist()
    return [{"input_ids": t, "attention_mask": [1] * 12, "labels": [-100] * 4 + t[4:]} for t in tokens]


def settings(tmp_path):
    return {"output_dir": str(tmp_path), "max_steps": 6, "per_device_train_batch_size": 8, "report_to": [],
            "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}  # fmt: skip


@real
@pytest.mark.parametrize("given", [True, False])
def test_hugging_face(tmp_path, caplog, given):
    transformers = pytest.importorskip("transformers")
    from kdstudy.diagnosis.huggingface import WatchCallback

    student, teacher = gpt2(1, 0), gpt2(2, 1).eval()

    class Distilled(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **_):
            with torch.no_grad():
                v = teacher(input_ids=inputs["input_ids"]).logits
            out = model(**{k: x for k, x in inputs.items() if given or k != "labels"})
            keep = inputs["labels"][:, 1:] != -100
            loss = sum(kd(out.logits[:, :-1][keep], v[:, :-1][keep], inputs["labels"][:, 1:][keep]))
            return (loss, out) if return_outputs else loss

    callback = WatchCallback(teacher, tau=TAU, alpha=ALPHA, say_at=3)
    arguments = transformers.TrainingArguments(**settings(tmp_path), remove_unused_columns=False)
    with caplog.at_level(logging.INFO, "kdstudy"):
        Distilled(student, arguments, train_dataset=rows(), callbacks=[callback]).train()
    report = callback.watch.report()
    assert report.steps == 6 and report.diagnosis.facts["examples"] == 6 * 8 * (8 if given else 11)
    assert f"step 3: {callback.watch.said[0].code}: " in caplog.text and "6 steps watched" in caplog.text
    assert not student._forward_hooks and not teacher._forward_hooks


@real
def test_trl_gkd(tmp_path):
    names = ("trl.experimental.gkd", "datasets", "tokenizers", "transformers")
    gkd, datasets, tokenizers, transformers = (pytest.importorskip(name) for name in names)
    from kdstudy.diagnosis.huggingface import WatchCallback

    student, teacher = gpt2(1, 0), gpt2(2, 1)
    callback = WatchCallback(teacher, tau=1.0, alpha=1.0, say_at=3)
    vocabulary = {f"w{i}": i for i in range(31)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w3"))
    data = [{k: torch.tensor(v + [pad] * 2) for (k, v), pad in zip(row.items(), (2, 0, -100))} for row in rows()]
    data = [row | {"prompts": row["input_ids"][:4], "prompt_attention_mask": row["attention_mask"][:4]} for row in data]
    arguments = gkd.GKDConfig(**settings(tmp_path), lmbda=0.0, max_length=14)
    trainer = gkd.GKDTrainer(
        student, teacher, arguments, train_dataset=datasets.Dataset.from_list([{"messages": i} for i in range(64)]),
        data_collator=lambda batch: torch.utils.data.default_collate([data[row["messages"]] for row in batch]),
        processing_class=transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, bos_token="w0", eos_token="w1", pad_token="w2"
        ), callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    report = callback.watch.report()
    assert report.steps == 6 and report.diagnosis.facts["examples"] == 6 * 8 * 11


@real
def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    from kdstudy.diagnosis.lightning import WatchCallback

    class Distilled(lightning.LightningModule):
        def __init__(self, told=True):
            super().__init__()
            self.student, self.told = torch.nn.Linear(5, C), told
            self.teacher = torch.nn.Linear(5, C).requires_grad_(False)

        def training_step(self, batch, _):
            x, y = batch
            z, v = self.student(x), self.teacher(x)
            told = {"student_logits": z, "teacher_logits": v, "labels": y} if self.told else {}
            return {"loss": sum(kd(z, v, y))} | told

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.TensorDataset(torch.randn(64, 5), torch.randint(C, (64,)))

    def train(module):
        callback = WatchCallback(tau=TAU, alpha=ALPHA, say_at=2)
        quiet = {f"enable_{name}": False for name in ("checkpointing", "progress_bar", "model_summary")}
        quiet |= {"logger": False, "accelerator": "cpu"}
        lightning.Trainer(max_epochs=1, callbacks=[callback], **quiet).fit(
            module, torch.utils.data.DataLoader(data, batch_size=16)
        )
        return callback.watch

    watch = train(Distilled())
    assert watch.report().steps == 4 and watch.said
    with pytest.raises(Unusable, match="training_step: found a result without student_logits, teacher_logits, labels"):
        train(Distilled(told=False))


@real
def test_a_loop_as_timm_has_it():
    timm, optim, losses = (pytest.importorskip(f"timm{name}") for name in ("", ".optim", ".loss"))
    mixup = timm.data.Mixup(mixup_alpha=0.8, num_classes=C)
    student, teacher = (timm.create_model("test_resnet", num_classes=C) for _ in range(2))
    optimizer, watch = optim.create_optimizer_v2(student, "sgd", lr=0.01), Watch(TAU, ALPHA, say_at=2)
    for _ in range(3):
        x, y = mixup(torch.randn(8, 3, 32, 32), torch.randint(C, (8,)))
        with torch.no_grad():
            v = teacher(x)
        z = student(x)
        soft = kl_div((z / TAU).log_softmax(-1), (v / TAU).softmax(-1), reduction="batchmean")
        loss = (1 - ALPHA) * losses.SoftTargetCrossEntropy()(z, y) + ALPHA * TAU**2 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(z, v, y)
    assert watch.report().steps == 3
