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
    assert download.fetch("clinc150", "domains.json") == own / "domains.json"
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    assert download.fetch("clinc150", "domains.json") == mine / "domains.json"
    (mine / "domains.json").unlink()
    assert download.fetch("clinc150", "domains.json") == own / "domains.json"


def test_absent_without_a_network_is_one_clear_error(cache, tmp_path, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", offline)
    url = download.SOURCES["clinc150"][1] + "data_full.json"
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


def test_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "own"))
    monkeypatch.delenv("KDSTUDY_DATA", raising=False)
    assert download.at_hand("digits") and not download.at_hand("clinc150")
    folder, _, sha256 = download.SOURCES["clinc150"]
    (tmp_path / "own" / folder).mkdir(parents=True)
    for file in sha256:
        assert not download.at_hand("clinc150")
        (tmp_path / "own" / folder / file).touch()
    assert download.at_hand("clinc150")
