"""A run's key: equal meaning, equal key; any other meaning, another key; bad values refused by name."""

import dataclasses
import json
import math

import jaxtyping
import pytest
from conftest import says

from kdstudy.core import spec
from kdstudy.core.spec import Condition, Data, Recipe, Run, pairs
from kdstudy.distill import conditions

TEACHER = Run(Data("synthetic"), Recipe((256,), 20), Condition("hard"), 10_003)
RUN = Run(
    Data("synthetic", pairs({"classes": 10, "noise": 0.1})),
    Recipe((16, 8), 30, lr=0.2),
    Condition("kd", pairs({"tau": 4.0, "alpha": 0.9})),
    3,
    TEACHER,
)

OTHER = {
    Data: {"name": "digits", "options": (("classes", 10), ("noise", 0.2))},
    Recipe: {"hidden": (16,), "epochs": 31, "batch": 127, "lr": 0.3, "weight_decay": 1e-4, "momentum": 0.0,
             "dtype": "float64", "net": "resnet8", "augment": True},
    Condition: {"name": "label_smoothing_matched", "params": (("alpha", 0.9), ("tau", 5.0))},
}  # fmt: skip
PART = {Data: "data", Recipe: "recipe", Condition: "condition"}
assert all(values.keys() == {f.name for f in dataclasses.fields(kind)} for kind, values in OTHER.items())
CHANGED = [(kind, field, value) for kind, values in OTHER.items() for field, value in values.items()]


def changed(run: Run, kind: type, field: str, value: object) -> Run:
    """The run with one field of one of its parts replaced; another network has no hidden layers to choose."""
    rest = {"net": {"hidden": ()}, "augment": {"hidden": (), "net": "resnet8"}}.get(field, {})
    part = dataclasses.replace(getattr(run, PART[kind]), **{field: value}, **rest)
    return dataclasses.replace(run, **{PART[kind]: part})


@pytest.fixture
def unchecked(monkeypatch):
    """Types unchecked, as for a user: what a value may be is then the package's own affair."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_the_key_of_a_run_stays_what_it_was():
    """Stored results are addressed by it: a new key for an old meaning would orphan them all."""
    assert TEACHER.key == "06e578524a3af8f981f7"
    assert RUN.key == "9b402ad23fd6e420543d"


@pytest.mark.parametrize("kind, field, value", CHANGED, ids=[f"{k.__name__}.{f}" for k, f, _ in CHANGED])
def test_each_field_changes_the_key(kind, field, value):
    other = changed(RUN, kind, field, value)
    assert other != RUN and other.key != RUN.key
    taught = dataclasses.replace(RUN, teacher=changed(TEACHER, kind, field, value))
    assert taught.key not in (RUN.key, other.key)


def test_fields_younger_than_the_keys_say_nothing_at_their_defaults():
    plain, net = Recipe((16,), 30), Recipe((), 30, net="resnet8")
    assert {"net", "augment"}.isdisjoint(Run(RUN.data, plain, RUN.condition, 0).columns)
    one, two = (Run(RUN.data, dataclasses.replace(net, augment=a), RUN.condition, 0) for a in (False, True))
    assert one.key != two.key
    assert one.columns["net"] == "resnet8" and "augment" not in one.columns
    assert two.columns["augment"] == 1


def test_seed_teacher_and_recipe_version_change_the_key(monkeypatch):
    others = [
        dataclasses.replace(RUN, seed=4),
        dataclasses.replace(RUN, teacher=None),
        dataclasses.replace(RUN, teacher=dataclasses.replace(TEACHER, seed=10_004)),
    ]
    before = [RUN.key, TEACHER.key, *(r.key for r in others)]
    monkeypatch.setattr(spec, "RECIPE_VERSION", spec.RECIPE_VERSION + 1)
    after = [dataclasses.replace(r).key for r in (RUN, TEACHER, *others)]
    assert len({*before, *after}) == 10


def test_the_order_of_options_carries_no_meaning():
    forth, back = ({"noise": 0.1, "classes": 10}, {"classes": 10, "noise": 0.1})
    assert pairs(forth) == pairs(back) == (("classes", 10), ("noise", 0.1))
    for kind, field, values in ((Data, "options", (10, 0.1)), (Condition, "params", (0.5, 4.0))):
        ordered = tuple(zip("ab", values))
        one, two = (changed(RUN, kind, field, order) for order in (ordered, ordered[::-1]))
        assert one == two and hash(one) == hash(two) and one.key == two.key


def test_whole_and_real_numbers_of_equal_value_have_equal_keys(unchecked):
    one, two = (
        dataclasses.replace(RUN, condition=conditions.make("kd", alpha=alpha, tau=tau), recipe=Recipe([16], 30, lr=lr))
        for alpha, tau, lr in ((1, 4, 1), (1.0, 4.0, 1.0))
    )
    assert one == two and one.key == two.key
    assert Recipe((16.0,), 30.0, batch=128.0) == Recipe((16,), 30)
    assert json.dumps(dataclasses.asdict(Recipe((16.0,), 30.0))) == json.dumps(dataclasses.asdict(Recipe((16,), 30)))


def test_a_run_cannot_change_after_its_key_was_read():
    with pytest.raises(dataclasses.FrozenInstanceError, match=says("cannot assign to field 'seed'")):
        RUN.seed = 4
    assert len({RUN, dataclasses.replace(RUN), dataclasses.replace(RUN, seed=4)}) == 2


@pytest.mark.parametrize(
    "field, value, found, allowed",
    [
        ("hidden", (16, 0), "(16, 0)", "positive whole numbers"),
        ("hidden", (5.7,), "(5.7,)", "positive whole numbers"),
        ("epochs", -1, "-1", "a whole number of at least 0"),
        ("epochs", 2.5, "2.5", "a whole number of at least 0"),
        ("batch", -1, "-1", "a whole number of at least 1"),
        ("batch", 0.5, "0.5", "a whole number of at least 1"),
        ("lr", 0, "0.0", "a number above 0"),
        ("lr", math.nan, "nan", "a number above 0"),
        ("weight_decay", -1e-4, "-0.0001", "a number of at least 0"),
        ("momentum", 1, "1.0", "0 <= momentum < 1"),
        ("momentum", -0.1, "-0.1", "0 <= momentum < 1"),
        ("dtype", "float16", "'float16'", "'float32', 'float64'"),
    ],
)
def test_recipes_that_cannot_be_are_refused(unchecked, field, value, found, allowed):
    with pytest.raises(ValueError, match=says(f"{field}: found {found}, allowed: {allowed}")):
        Recipe(**{"hidden": (16,), "epochs": 3} | {field: value})


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=says("seed: found -1, allowed: a whole number of at least 0")):
        dataclasses.replace(RUN, seed=-1)


def test_columns_are_flat_and_say_everything():
    assert RUN.columns == {
        "key": RUN.key, "dataset": "synthetic", "condition": "kd", "tau": 4.0, "alpha": 0.9, "seed": 3,
        "hidden": "16x8", "epochs": 30, "batch": 128, "lr": 0.2, "weight_decay": 0.0, "momentum": 0.9,
        "dtype": "float32", "options": '{"classes": 10, "noise": 0.1}', "teacher": TEACHER.key,
    }  # fmt: skip
    assert {type(v) for v in RUN.columns.values()} == {str, int, float}
    assert json.loads(json.dumps(RUN.columns)) == RUN.columns


def test_a_run_without_options_teacher_or_hidden_layer():
    row = Run(Data("digits"), Recipe((), 0), Condition("hard"), 0).columns  # it stays as it was drawn
    assert (row["options"], row["teacher"], row["hidden"], row["epochs"]) == ("{}", "", "0", 0)


def test_no_parameter_hides_another_column():
    plain = dataclasses.replace(RUN, condition=Condition("hard")).columns
    assert not any(conditions.parameters(name).keys() & plain.keys() for name in conditions.CONDITIONS)
