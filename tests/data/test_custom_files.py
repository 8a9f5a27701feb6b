"""A user's own data: paths and tables that are not as they should be, and what is said about them."""

from pathlib import Path

import pytest
from conftest import says
from own_examples import GROUP, HEAD, TWO_SPLITS, refused

from kdstudy.data.custom.dataset import fingerprint, parts
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")

COLUMNS = f"allowed: columns text, label and, if wanted, superclass, split. {HEAD}"
FILL = "Fill in or remove these rows"
QUOTE = (
    "allowed: CSV with commas. "
    "Put a field with commas, quotes or line breaks inside into quotes, and double the quotes inside"
)


@pytest.mark.parametrize("ask", [fingerprint, parts])
@pytest.mark.parametrize(
    "name, found, todo",
    [
        ("no.csv", "no such file or folder", "Check the path; a relative one starts in the current folder"),
        ("./no", "no such file or folder", "Check the path; a relative one starts in the current folder"),
        (
            "./a.tsv",
            "a file of another kind",
            "Save texts as CSV with columns text and label, and give images as their folder",
        ),
    ],
)
def test_paths_are_refused(ask, name, found, todo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").touch()
    message = f"{name}: found {found}, allowed: a .csv file of texts, or a folder of images. {todo}"
    with pytest.raises(DataError, match=says(message)):
        ask(name)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", f"an empty file, {COLUMNS}"),
        (b"\n \n", f"an empty file, {COLUMNS}"),
        (b"text;label\na;b", f"columns 'text;label', {COLUMNS}"),
        (b"text,label,Text\n", f"columns 'text', 'label', 'text', {COLUMNS}"),
        (b"a,b,c,d,e,f,g\n", f"columns 'a', 'b', 'c', 'd', 'e' and 2 more, {COLUMNS}"),
        (b"x" * 99 + b",y", f"columns '{'x' * 59}..., 'y', {COLUMNS}"),
        (b"text,label\n\n", "no rows, allowed: a row for each example. Add rows below the names of the columns"),
        (
            b'text,label\na,\n"b\nb",x\n c , \n',
            f"an empty label in lines 2, 5, allowed: a label in each row. {FILL}",
        ),
        (
            b"text,label\n" + b" ,x\n" * 7,
            f"an empty text in lines 2, 3, 4, 5, 6 and 2 more, allowed: a text in each row. {FILL}",
        ),
        (
            b"text,label,superclass\na,b,\n",
            f"an empty superclass in line 2, allowed: a superclass in each row. {FILL}, or remove the column",
        ),
        (
            b"split,text,label\n,a,b\n",
            f"an empty split in line 2, allowed: a split in each row. {FILL}, or remove the column",
        ),
        (
            b"text,label\na,b\nc,d,e\n\nf\n",
            "more or fewer fields in lines 3, 5, allowed: 2 fields, one for each column. "
            "Put fields with commas inside into quotes, and leave none out",
        ),
        (b'text,label\na,b\n"c,d\n', f"a broken row from line 3 on (unexpected end of data), {QUOTE}"),
        (b'text,label\n"a"b,c\n', f"a broken row from line 2 on (',' expected after '\"'), {QUOTE}"),
        (
            b"text,label\n" + b"x" * 140_000 + b",c\n",
            f"a broken row from line 2 on (field larger than field limit (131072)), {QUOTE}",
        ),
        (b"text,label\ncaf\xe9,c\n", "byte 0xe9 at offset 14 in line 2, allowed: UTF-8. Save the file as UTF-8"),
        (
            "text,label\na,b\n".encode("utf-16-le"),
            "a NUL byte in line 1, allowed: text without NUL bytes. Save the file as UTF-8 text",
        ),
        (
            b"text,label,split\na,b,train\nc,d,Tset\ne,f,x\n",
            "split 'Tset' in lines 3, 4, allowed: train, validation (val, valid, dev), test. "
            "Correct or remove these rows",
        ),
        (b"text,label,split\na,b,train\nc,d,dev\n", TWO_SPLITS),
        (
            b"text,label,superclass\na,b,m\nc,d,f\ne,b,f\nf,b,g\n",
            f"class 'b' in 'm' and 'f' (in lines 4, 5), {GROUP}",
        ),
    ],
)
def test_tables_are_refused(tmp_path, content, message):
    file = tmp_path / "mine.csv"
    file.write_bytes(content)
    refused(file, f"{file}: found {message}")
