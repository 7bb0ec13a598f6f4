"""Entries of OpenModelDB: those that are in it pass, and what its site refuses is named with its place."""

import json

import pytest

from traiNNer.cli.export import main
from traiNNer.release.entry_form import entry_problems, still_to_say

SHA = "91f054af6308e37b81c261ecf775a58be5fa1d37a816709db5d0fea6fceb24b8"
RELEASES = "https://github.com/Phhofm/models/releases/download/1xDeH264_realplksr/1xDeH264_realplksr"


def entry(**other):
    """The facts of 1x-DeH264-realplksr as OpenModelDB has them, some images left out, and a caption of another."""
    known = {
        "name": "1xDeH264_realplksr",
        "author": "helaman",
        "license": "CC-BY-4.0",
        "tags": ["compression-removal", "photo", "restoration"],
        "description": "A 1x de h264 model to remove h264 compression.",
        "date": "2024-08-08",
        "architecture": "realplksr",
        "size": None,
        "scale": 1,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [
            {
                "platform": "pytorch",
                "type": kind,
                "size": 29486580,
                "sha256": SHA,
                "urls": [f"{RELEASES}.{kind}"],
            }
            for kind in ("pth", "safetensors")
        ]
        + [{"platform": "onnx", "type": "onnx", "size": 9, "sha256": SHA, "urls": [f"{RELEASES}_fp32.onnx"]}],
        "trainingIterations": 210000,
        "trainingBatchSize": 8,
        "trainingHRSize": 64,
        "trainingOTF": False,
        "dataset": "Nomosv2",
        "datasetSize": 6000,
        "pretrainedModelG": "1x-DeJPG-realplksr-otf",
        "images": [
            {
                "type": "paired",
                "LR": "https://i.slow.pics/W7XnAQyq.webp",
                "SR": "https://i.slow.pics/oApzfWL5.webp",
            },
            {"type": "standalone", "caption": "1", "url": "https://images2.imgbox.com/cf/bd/lq4EWYPp_o.png"},
        ],
    }
    return {**known, **other}


def with_resource(**other):
    first, *rest = entry()["resources"]
    return {"resources": [{**first, **other}, *rest]}


REFUSED = {
    "a file of no bytes": (with_resource(size=0), "resources[0].size: "),
    "a file of another kind": (with_resource(type="zip"), "resources[0].type: "),
    "ONNX said to be of PyTorch": (with_resource(type="onnx"), "resources[0].type: "),
    "no address": (with_resource(urls=[]), "resources[0].urls: "),
    "an address that ends": (
        with_resource(urls=["https://cdn.discordapp.com/a/b.pth"]),
        "resources[0].urls[0]: ",
    ),
    "no files": ({"resources": []}, "resources: "),
    "a digest that is none": (with_resource(sha256="abc"), "resources[0].sha256: "),
    "a thumbnail": ({"images": [{**entry()["images"][0], "thumbnail": "t.png"}]}, "images[0].thumbnail: "),
    "no tags": ({"tags": []}, "tags: "),
    "a name that is no id": ({"author": "Philip Hofmann"}, "author[0]: "),
    "a day that is none": ({"date": "2024-02-30"}, "date: "),
    "white space": ({"description": "Fast. "}, "description: should not begin or end"),
    "an empty size": ({"size": []}, "size: "),
    "a scale in words": ({"scale": "1"}, "scale: "),
    "five channels": ({"inputChannels": 5}, "inputChannels: "),
    "batches of no size": ({"trainingBatchSize": "4-6"}, "trainingBatchSize: "),
    "a key that is unknown": ({"trainingHrSize": 64}, "trainingHrSize: "),
    "another scale in its name": ({"scale": 4}, "its name should begin with the scale (4x-)"),
}


def test_an_entry_of_the_database_is_accepted_whole():
    assert entry_problems(entry(), "1x-DeH264-realplksr") == []
    assert (
        entry_problems(entry(author=["a", "b-c"], license="MIT OR CC0-1.0", size=["64nf"]), "1x-Name") == []
    )
    assert still_to_say(entry()) == []


@pytest.mark.parametrize(("other", "said"), REFUSED.values(), ids=REFUSED)
def test_what_the_site_refuses_is_named_with_its_place(other, said):
    (problem,) = entry_problems(entry(**other), "1x-DeH264-realplksr")
    assert said in problem


def test_what_is_missing_or_unknown_there_is_said(tmp_path, capsys):
    path = tmp_path / "1x-Mine.json"
    path.write_text(json.dumps(entry(architecture="paragonsr2", tags=["photos"], images=[])))
    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    assert (
        "images, tags (photos is not one of theirs; did you mean 'photo'?), architecture (theirs have no"
        in said
    )
    path.write_text("{" + json.dumps(entry())[1:-1] + ",}")
    assert main([str(path)]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_a_licence_may_be_left_out_and_is_asked_for():
    said = {key: value for key, value in entry().items() if key != "license"}
    assert entry_problems(said, "1x-Name") == []
    assert "license" in still_to_say(said)
