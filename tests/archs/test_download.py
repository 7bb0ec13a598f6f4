"""Weights named by an address, against a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from traiNNer.archs import build_network, load_network
from traiNNer.archs.download import local_file
from traiNNer.archs.weights_file import read_weights
from traiNNer.registry import ConfigError


class Counted(SimpleHTTPRequestHandler):
    """Serves a folder, and counts what is asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/cut.pth":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(bytes(1000))
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, list[str]]]:
    """Address and folder of a site, and what was asked of it; the cache of torch is another folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    asked: list[str] = []
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    monkeypatch.setattr(Counted, "asked", asked, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Counted, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder, asked
        server.shutdown()
        thread.join()


def test_an_address_is_downloaded_once_and_read_as_its_file(site: tuple[str, Path, list[str]]) -> None:
    address, folder, asked = site
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    (folder / "other").mkdir()
    torch.save({"params": net.state_dict()}, folder / "net.pth")
    torch.save({"params": {"a": torch.zeros(1)}}, folder / "other/net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    for fragment in ("", f"#sha256={digest}", f"#sha256={digest.upper()}"):
        loaded = load_network(f"{address}/net.pth{fragment}")
        assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    assert asked == ["/net.pth"]
    assert list(read_weights(f"{address}/other/net.pth")[0]) == ["a"]  # of the same name, elsewhere


def test_a_file_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path))
    assert local_file("~/a.pth") == tmp_path / "a.pth"
    assert local_file("~~/a.pth") == Path("~~/a.pth")


def test_what_is_not_the_file_that_was_meant_is_refused_and_not_kept(
    site: tuple[str, Path, list[str]],
) -> None:
    address, folder, asked = site
    torch.save({"params": {"a": torch.zeros(1)}}, folder / "net.pth")
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"net\.pth: its SHA-256 is [0-9a-f]{64}, and 0{64} was asked for"
        ):
            read_weights(f"{address}/net.pth#sha256={'0' * 64}")
    assert len(asked) == 2
    with pytest.raises(ConfigError, match="what follows # should be sha256="):
        read_weights(f"{address}/net.pth#md5=00")


def test_what_cannot_be_downloaded_is_said_with_the_place_of_a_copy(
    site: tuple[str, Path, list[str]],
) -> None:
    address = site[0]
    with pytest.raises(
        ConfigError, match=r"cannot be downloaded \(File not found\); .* put the file at .*-no\.pth"
    ):
        read_weights(f"{address}/no.pth")
    with pytest.raises(ConfigError, match=r"cannot be downloaded \(.*refused.*\)"):
        read_weights("http://127.0.0.1:9/no.pth")


def test_a_download_that_was_cut_off_is_not_taken_for_the_file(
    site: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, _, asked = site
    for _ in range(2):  # asked for again instead of read as a damaged file
        with pytest.raises(ConfigError, match=r"the connection broke after 1,000 of 100,000 bytes"):
            read_weights(f"{address}/cut.pth")
    assert asked == ["/cut.pth"] * 2
    assert [path.suffix for path in (tmp_path / "cache/checkpoints").iterdir()] in ([], [".lock"])
