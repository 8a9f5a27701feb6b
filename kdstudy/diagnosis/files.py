"""Somebody's logits from a file or a folder: the arguments of `diagnose`, by the readers of `formats`.

Names that people use stand for the known ones (`NAMES`). Large arrays stay on disk. With `heldout`, a second file's
`teacher_logits`, `labels` and `student_logits` are those of held-out examples.
"""

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from kdstudy.diagnosis import formats
from kdstudy.diagnosis.formats import HELDOUT, IN_METADATA, KNOWN, NAMES, READERS, SAVE, Arrays, Sources
from kdstudy.diagnosis.inputs import Unusable, unusable


def read(path: str, heldout: str | None = None, labels: str | None = None) -> tuple[Arrays, list[str]]:
    """The arguments of `diagnose` that a file holds, and the names it holds beside them, which are left out.

    Logits and labels stay as they are, names become text; `notes`, if there is anything to say, tell what stood for
    what. `labels`: a file of labels alone. Raises Unusable: no such file, none that can be read, an array missing or of
    objects.
    """
    arrays, names = _read_one(path, labels)
    if heldout is not None:
        other, more = _read_one(heldout)
        if stated := [name for name in HELDOUT.values() if name in arrays]:
            raise unusable(f"{stated[0]} in {printable(path)} too", "held-out examples once", heldout)
        arrays |= {new: other[old] for old, new in HELDOUT.items() if old in other}
        names += [name for name in more if name not in names]
    return arrays, names


def _read_one(path: str, labels: str | None = None) -> tuple[Arrays, list[str]]:
    """What one file holds: arrays that are known, names that are not."""
    where, sources = printable(path), _sources(path)
    if labels is not None or (list(sources) == [""] and (labels := _beside(path))):
        found = _sources(labels)
        name = _meant(found).get("labels") or (next(iter(found)) if len(found) == 1 else None)
        if name is None:
            raise unusable(f"arrays {_listed(found)}", "one, or labels", printable(labels))
        sources["labels"] = found[name]
    meant = _meant(sources)
    with _whole(where):
        arrays = {known: _plain(known, sources[name]()) for known, name in meant.items()}
        split = sources["split"]() if "split" in sources else None
    others = [name for name in sources if name not in meant.values() and name != "split"]
    if missing := [name for name in formats.NEEDED if name not in arrays]:
        there = f"arrays {_listed(n or '(without a name)' for n in sources)}" if sources else "no arrays"
        near = "".join(f"; rename {guess} if it is the {name}" for name in missing for guess in _near(name, others))
        todo = "; name the file of labels with --labels FILE" if missing == ["labels"] else ""
        allowed = "both under these names" if len(missing) == 2 else f"{missing[0]} too"
        raise unusable(f"{there}, but no {' and no '.join(missing)}", f"{allowed}{near}{todo}", where)
    if split is not None:
        arrays = _split(where, arrays, split)
    if told := [f"{name} is read as {known}" for known, name in meant.items() if name not in (known, "")]:
        arrays["notes"] = told
    return arrays, others


def _meant(sources: Mapping[str, object]) -> dict[str, str]:
    """Known name -> the file's name for it: the known one, else the first that people use."""
    lower = {name.lower(): name for name in reversed(sources)}
    found = {known: known for known in KNOWN if known in sources}
    if "" in sources:
        found["teacher_logits"] = ""
    for known, names in NAMES.items():
        if known not in found and (there := [lower[n] for n in names.split() if n in lower]):
            found[known] = there[0]
    if found.get("teacher_logits") == "teacher_logits" and found.get("topk_indices") in ("indices", "token_ids"):
        found.pop("topk_indices")  # of something else
    return found


@contextmanager
def _whole(where: str) -> Iterator[None]:
    """Whatever is wrong with a file as one sentence that names it."""
    try:
        yield
    except Unusable as error:
        raise Unusable(f"{where}: {error}") from None
    except formats.BROKEN as error:
        why = printable(" ".join(str(error).split()) or type(error).__name__)
        found = f"a file that is cut off or broken ({why if len(why) <= 160 else f'{why[:160]}...'})"
        raise unusable(found, f"a whole one; {SAVE}", where) from None


def _sources(path: str) -> Sources:
    """Names that a file has, each with what loads it; Unusable for a kind of file that cannot be read."""
    where = printable(path)
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):
            open(path, "rb").close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise unusable(f"no file that can be read ({why})", "a file of logits; check the path", where) from None
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise unusable("no ordinary file", "a file of logits; name the file itself", where)
    suffix = "folder" if stat.S_ISDIR(kind) else os.path.splitext(path)[1].lower().removeprefix(".")
    suffix = formats.ALIASES.get(suffix, suffix)
    if suffix not in READERS:
        allowed = ", ".join(f".{name}" for name in READERS if name != "folder")
        raise unusable(f"the suffix {f'.{suffix}' if suffix else ''!r}", f"{allowed}; {SAVE}", where)
    with _whole(where):
        return READERS[suffix](path)


def _beside(path: str) -> str | None:
    """The file of labels that goes with one of logits alone: its name with labels for logits, or just labels."""
    here, stem = Path(path).parent, Path(path).stem
    words = [stem.replace("logits", word) for word in ("labels", "targets", "y")] if "logits" in stem else []
    there = [here / f"{name}{Path(path).suffix}" for name in (*words, "labels", "targets", "y")]
    return next((str(file) for file in there if file.is_file() and file != Path(path)), None)


def _split(where: str, arrays: Arrays, split: Iterable[object]) -> Arrays:
    """Rows by `split`: training ones under their names, all others as held out."""
    words = [str(word) for word in split]
    if unknown := sorted(word for word in set(words) if word.lower() not in formats.SPLITS):
        raise unusable(f"split {unknown[0][:40]!r}", ", ".join(formats.SPLITS), where)
    heldout = np.array([word.lower() != formats.SPLITS[0] for word in words], dtype=bool)
    for name, other in HELDOUT.items():
        if name in arrays and heldout.any() and len(arrays[name]) == len(heldout):
            arrays |= {name: arrays[name][~heldout], other: arrays[name][heldout]}
    return arrays


# ---------------------------------------------------------------- values and names


def _plain(name: str, value: object) -> object:
    """Arrays as they are; what is about classes as a list, of names as text; what is one number as that."""
    if name not in (*IN_METADATA, "num_classes"):
        return value
    value = np.array(value.tolist()) if isinstance(value, Tensor) else value  # bfloat16 is none of numpy's types
    if name in ("tau", "num_classes"):
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise unusable(f"{value.size} values in {name}", "one number")
        return float(value.item()) if name == "tau" else int(np.nan_to_num(value.item()))
    return [_text(v) for v in value.ravel().tolist()] if name == "class_names" else value.ravel().tolist()


def _text(value: object) -> str:
    """One name; bytes as UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else printable(str(value))
    except UnicodeDecodeError:
        raise unusable(f"a class name that is not UTF-8 ({value!r})", "UTF-8") from None


def printable(text: str) -> str:
    """Text that any terminal and any file can take: what is no Unicode is escaped, and it stays on one line."""
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def _listed(names: Iterable[str]) -> str:
    names = [printable(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _near(name: str, others: Iterable[str]) -> list[str]:
    """The name that may be meant."""
    return [printable(guess) for guess in difflib.get_close_matches(name, list(others), n=1, cutoff=0.5)]


def ignored(names: Iterable[str]) -> list[str]:
    """What is left out, each with the known name that it is near to."""
    return [printable(name) + "".join(f" (did you mean {near}?)" for near in _near(name, KNOWN)) for name in names]
