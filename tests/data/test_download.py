"""Files of a data set: found, downloaded, checked against their hashes and refused."""

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torch
from conftest import says
from tiny_files import NOWHERE, load, publish, put, tiny_clinc

from kdstudy.data import download
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")


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


def altered(file: Path, was: bytes, wanted: bytes) -> str:
    """The beginning of what is said of a file."""
    found, expected = (hashlib.sha256(data).hexdigest() for data in (was, wanted))
    return f"^{re.escape(str(file))} has sha256 {found}, expected {expected}"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The published files, which nobody serves."""
    publish(monkeypatch, "clinc150", tiny_clinc())
    return tiny_clinc()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder."""
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    return tmp_path / "mine" / "clinc150"


def test_what_is_absent_is_downloaded_once(server, files, cache, monkeypatch):
    root, url = server
    publish(monkeypatch, "clinc150", files, url)
    put(root, files)
    first = load("clinc150", features=4)
    assert (cache / "clinc150" / "domains.json").read_bytes() == files["domains.json"]
    publish(monkeypatch, "clinc150", files, NOWHERE)
    assert torch.equal(load("clinc150", features=4).train.x, first.train.x)


def test_the_users_folder_comes_first(cache, files, mine):
    own = put(cache / "clinc150", files) / "domains.json"
    assert download.fetch("clinc150", "domains.json") == own
    put(mine, files)
    assert download.fetch("clinc150", "domains.json") == mine / "domains.json"
    (mine / "domains.json").unlink()
    assert download.fetch("clinc150", "domains.json") == own


@pytest.mark.parametrize("folders", [1, 2])
def test_absent_without_a_network_is_one_clear_error(folders, cache, tmp_path, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", offline)
    where, here = f"{cache}/clinc150", "this folder"
    if folders == 2:
        monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
        where, here = f"{tmp_path}/mine/clinc150 or {where}", "one of these folders"
    url = download.SOURCES["clinc150"][1] + "data_full.json"
    message = (
        f"data set 'clinc150': data_full.json is not in {where}, and could not be downloaded from {url} "
        f"(OSError: network is unreachable). Try again with a network, or put the file into {here}"
    )
    with pytest.raises(DataError, match=says(message)) as caught:
        load("clinc150")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_refused_connection_is_a_data_error_too(files):
    with pytest.raises(DataError, match=r"could not be downloaded from http://127\.0\.0\.1:9/.*\(ConnectionError: "):
        load("clinc150")


def test_a_wrong_download_is_not_kept(server, cache, files, monkeypatch):
    root, url = server
    publish(monkeypatch, "clinc150", files, url)
    put(root, {"data_full.json": b"an error page"})
    with pytest.raises(DataError, match="does not match the known hash"):
        load("clinc150")
    assert not list((cache / "clinc150").iterdir())


def test_a_wrong_file_of_the_user_is_refused_and_left_alone(cache, files, mine):
    put(mine, {"data_full.json": b"{}"})
    put(cache / "clinc150", files)
    wrong = altered(mine / "data_full.json", b"{}", files["data_full.json"])
    todo = f"replace it by {NOWHERE}data_full.json, or remove it or unset KDSTUDY_DATA to have it downloaded$"
    with pytest.raises(DataError, match=f"{wrong}. It lies in KDSTUDY_DATA and is left as it is: {todo}"):
        load("clinc150")
    assert (mine / "data_full.json").read_bytes() == b"{}"


def test_a_wrong_file_of_our_own_is_kept_aside_and_downloaded_again(server, cache, files, monkeypatch):
    root, url = server
    folder = put(cache / publish(monkeypatch, "clinc150", files, url), files | {"domains.json": b"half"})
    put(root, files)
    wrong = altered(folder / "domains.json", b"half", files["domains.json"])
    with pytest.warns(UserWarning, match=f"{wrong}; kept aside as domains.json.bad, downloading it again$"):
        load("clinc150", features=4)
    assert (folder / "domains.json.bad").read_bytes() == b"half"
    assert (folder / "domains.json").read_bytes() == files["domains.json"]


def test_a_wrong_file_that_cannot_be_renamed_is_reported(cache, files):
    folder = put(cache / "clinc150", {"data_full.json": b"half"})
    put(folder / "data_full.json.bad", {"in the way": b""})
    wrong = altered(folder / "data_full.json", b"half", files["data_full.json"])
    with pytest.raises(DataError, match=rf"{wrong}, and cannot be renamed to \S+\.bad \(.+\): remove it by hand$"):
        load("clinc150")
    assert (folder / "data_full.json").read_bytes() == b"half"


def test_at_hand(cache, files):
    assert download.at_hand("digits")
    for file in files:
        assert not download.at_hand("clinc150")
        put(cache / "clinc150", {file: b""})
    assert download.at_hand("clinc150")
