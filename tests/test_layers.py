"""The package's shape: imports point downwards, what is optional stays so, functions and files stay short."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import kdstudy

PACKAGE = Path(kdstudy.__file__).parent
FILES = {p.stem: p for p in sorted(PACKAGE.glob("*.py")) if p.stem != "__init__"}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}

LEVELS = [
    {"spec"},
    {
        "anatomy",
        "clinc150",
        "datasets",
        "downloads",
        "factorial",
        "faults",
        "images",
        "lossfaults",
        "mantel",
        "measures",
        "models",
        "objective",
        "observe",
        "own_data",
        "own_files",
        "provenance",
        "registry",
        "shapes",
        "stats",
        "synthetic",
        "targets",
        "treatments",
    },
    {
        "lossfit",
        "lossreport",
        "published",
        "findings_limits",
        "signals",
        "signals_classes",
        "signals_input",
        "signals_pairing",
        "signals_parts",
        "signals_rows",
        "store",
        "training",
    },
    {
        "calibration_plan",
        "composed",
        "executors",
        "findings",
        "findings_base",
        "findings_data",
        "findings_teacher",
        "identities",
        "identities_limits",
        "logitfiles",
        "losscalls",
        "losscheck",
        "lossnames",
        "parquetfile",
        "plans",
        "plans_failures",
        "runs",
        "signals_weights",
    },
    {"calibration", "calibration_table", "derived", "notebooks", "signals_levels"},
    {"claims", "diagnosis"},
    {"catalogue", "diagnosis_example", "diagnosis_report", "wording"},
    {"style"},
    {
        "book",
        "figures",
        "figures_capacity",
        "figures_classes",
        "figures_decomposition",
        "figures_diagnosis",
        "figures_domain",
        "figures_fewclasses",
        "figures_geometry",
        "figures_instance",
        "figures_levels",
        "figures_mislabelled",
        "figures_noise",
        "figures_search",
        "figures_silent",
        "figures_smoothed",
        "figures_teachers",
        "figures_temperature",
        "figures_toogood",
        "figures_unequal",
        "scoreboard",
    },
    {"diagnosis_page", "publish", "reproduce"},
    {"cli", "cli_diagnose"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
SIDEWAYS = {  # within a level, and why
    ("synthetic", "models"): "its random streams",
    ("datasets", "models"): "the stream that splits a training set",
    ("datasets", "synthetic"): "one data set among others",
    ("datasets", "images"): "some data sets among others",
    ("datasets", "treatments"): "what can be done to any of them",
    ("images", "downloads"): "where the files of a set are",
    ("images", "models"): "the stream that splits a training set",
    ("images", "synthetic"): "the check of a whole number",
    ("treatments", "models"): "its random streams",
    ("composed", "executors"): "what a teacher leaves, and its record",
    ("runs", "composed"): "the teachers that are no network",
    ("identities_limits", "identities"): "where an identity is entered",
    ("anatomy", "shapes"): "the parts of what a teacher tells",
    ("anatomy", "datasets"): "the labels that logits belong to",
    ("plans_failures", "plans"): "the study that it changes",
    ("plans_failures", "composed"): "the teachers that are no network",
    ("datasets", "clinc150"): "one data set among others",
    ("datasets", "own_data"): "a user's own among others",
    ("datasets", "downloads"): "where the files of a set are",
    ("downloads", "clinc150"): "its address and digests",
    ("factorial", "stats"): "paired differences and intervals",
    ("own_data", "own_files"): "what its files hold",
    ("own_data", "clinc150"): "the features of texts",
    ("own_data", "downloads"): "where features are kept",
    ("own_data", "models"): "the stream that splits a class",
    ("own_files", "downloads"): "the error that a set's files raise",
    ("shapes", "models"): "the streams that permutations are drawn from",
    ("shapes", "objective"): "the target that a summary is of",
    ("registry", "objective"): "the target that a condition returns",
    ("faults", "objective"): "the target that a condition returns",
    ("faults", "registry"): "where a condition is entered",
    ("faults", "targets"): "KD, which each fault spoils",
    ("targets", "shapes"): "what targets are assembled from",
    ("targets", "objective"): "the target that a condition returns",
    ("targets", "registry"): "where a condition is entered",
    ("observe", "models"): "the stream that draws the watched examples",
    ("observe", "shapes"): "the mass and the similarity that are watched",
    ("published", "store"): "the record that both keep",
    ("signals", "signals_classes"): "class structure among the signals",
    ("signals", "signals_input"): "the checked logits",
    ("signals", "signals_pairing"): "how labels and predictions agree",
    ("signals", "signals_rows"): "what each row shows",
    ("signals_classes", "signals_input"): "the checked logits",
    ("signals_parts", "signals_input"): "the checked logits",
    ("signals_rows", "signals_input"): "the checked logits",
    ("findings", "findings_base"): "what a finding is",
    ("findings", "findings_data"): "rules about the values",
    ("findings", "findings_teacher"): "rules about the teacher",
    ("findings_data", "findings_base"): "where a rule is entered",
    ("findings_teacher", "findings_base"): "where a rule is entered",
    ("losscheck", "losscalls"): "how the loss is called",
    ("losscheck", "lossnames"): "the findings that explanations are",
    ("runs", "executors"): "where runs are trained",
    ("logitfiles", "parquetfile"): "one kind of file among others",
    ("figures_diagnosis", "figures_geometry"): "the order of classes in a heat map",
    ("cli", "cli_diagnose"): "one command among others",
    ("figures_domain", "figures"): "what several chapters draw",
    ("figures_domain", "figures_geometry"): "class geometry, which this chapter shows",
    ("figures_mislabelled", "figures_noise"): "axes and names of the noise",
    ("figures_unequal", "figures_noise"): "how its lines look",
    ("figures_fewclasses", "figures_temperature"): "each level's effect, and lines of effects",
    ("figures_temperature", "figures_decomposition"): "the data sets that have the whole grid",
    ("figures_smoothed", "figures_teachers"): "teachers, and what students gain by another",
    ("figures_toogood", "figures_teachers"): "teachers, and what students gain by another",
}
EXPERIMENT = [
    "spec",
    "datasets",
    "models",
    "objective",
    "registry",
    "shapes",
    "targets",
    "observe",
    "measures",
    "stats",
    "training",
    "store",
    "published",
    "plans",
    "runs",
]
OPTIONAL = [
    "IPython",
    "jupyter_book",
    "myst_nb",
    "nbclient",
    "nbformat",
    "papermill",
    "pooch",
    "pydantic",
    "torchvision",
    "typer",
]
BODY, LINES = 30, 250


def imports(name: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            inner = [f"kdstudy.{a.name}" for a in node.names] if node.module == "kdstudy" else [node.module]
        elif isinstance(node, ast.Import):
            inner = [a.name for a in node.names]
        else:
            continue
        found |= {parts[1] for i in inner if (parts := i.split("."))[0] == "kdstudy" and len(parts) > 1}
    return found


EDGES = {(name, used) for name in FILES for used in imports(name)}


def test_every_module_has_its_level():
    assert FILES.keys() == LEVEL.keys(), "say in LEVELS where a new module belongs"
    assert sum(map(len, LEVELS)) == len(LEVEL)


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    up = {used for used in imports(name) if LEVEL[used] >= LEVEL[name] and (name, used) not in SIDEWAYS}
    assert not up, f"{name} (level {LEVEL[name]}) imports {', '.join(sorted(up))}, which is not below it"


def test_what_is_allowed_sideways_is_needed_and_stays_on_its_level():
    assert SIDEWAYS.keys() == {(a, b) for a, b in EDGES if LEVEL[a] == LEVEL[b]}


def test_training_names_no_condition_and_no_data_set():
    from kdstudy import datasets, targets

    words = {n.value for n in ast.walk(TREES["training"]) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not words & {*targets.CONDITIONS, *datasets.names()}


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import importlib
for name in {names}:
    importlib.import_module(name)
print("imported", *sorted(m for m in sys.modules if m.partition(".")[0] in {blocked}))
"""


def test_the_experiment_imports_without_what_the_book_and_the_command_need():
    names = ["kdstudy", *(f"kdstudy.{name}" for name in EXPERIMENT)]
    code = BLOCKED.format(blocked=OPTIONAL, names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("imported", 0), done.stderr


def definitions() -> list[tuple[str, ast.AST]]:
    """Every function and class with its dotted name; methods and nested functions included."""
    found = []

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{where}.{child.name}"
                found.append((name, child))
            visit(child, name)

    for module, tree in TREES.items():
        visit(tree, module)
    return found


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    functions = [(n, d) for n, d in definitions() if not isinstance(d, ast.ClassDef)]
    assert len(functions) > 100
    long = {name: lines for name, node in functions if (lines := body_lines(node)) > BODY}
    assert not long, f"over {BODY} lines: {long}"
    assert sorted(body_lines(node) for _, node in functions)[len(functions) // 2] <= 8


def test_files_are_short():
    long = {name: n for name, path in FILES.items() if (n := len(path.read_text("utf-8").splitlines())) > LINES}
    assert not long, f"over {LINES} lines, to be split by concept: {long}"


def test_everything_public_says_what_it_is():
    inside = {name for name, node in definitions() if not isinstance(node, ast.ClassDef)}
    silent = [
        name
        for name, node in definitions()
        if not any(part.startswith("_") for part in name.split("."))
        and name.rpartition(".")[0] not in inside
        and not ast.get_docstring(node)
    ]
    silent += [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not silent


def test_no_module_names_are_shadowed_by_the_public_api():
    for name in FILES:
        assert importlib.import_module(f"kdstudy.{name}") is getattr(kdstudy, name)
    assert sorted(kdstudy.__all__) == kdstudy.__all__
    assert all(hasattr(kdstudy, name) for name in kdstudy.__all__)
