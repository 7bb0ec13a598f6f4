"""What is wrong with the networks that a configuration names: generator, discriminator and teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from traiNNer.archs import NETWORKS
from traiNNer.build.recognised_network import is_auto, recognised
from traiNNer.build.teacher import TARGET, teacher_spec
from traiNNer.losses import LOSSES, uses_discriminator
from traiNNer.registry import ConfigError, Problem, did_you_mean, normalise

_NETWORKS_ELSEWHERE = (
    "artcnn", "autoencoder", "basicvsr", "camixersr", "cascadedgaze", "cfsr", "dis_", "docres", "duf", "dwt",
    "ecbsr", "edsr", "edvr", "eimn", "elan", "emt", "esc", "flexnet", "gater", "grformer", "hit_", "hma", "ipt",
    "lkfmixer", "lmlt", "man", "metaflexnet", "metagan", "msrresnet", "ridnet", "scnet", "scunet_aaf6aa", "sebica",
    "spanf", "srformer", "stylegan2", "swin2mose", "temporalspan", "tfdat", "tscunet",
)  # fmt: skip
"""How names of networks begin that other trainers have and this one has not."""
NAMED_OTHERWISE = {
    "dat_small": "dat_s", "dat_medium": "dat", "swinir_small": "swinir_s", "swinir_medium": "swinir_m",
    "realplksr_s": "realplksr_tiny", "cugan": "realcugan",
}  # fmt: skip
"""neosr's names of sizes; not read by themselves, since its DAT takes another mean off the image."""


def check_generator(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with `network_g`; paths are from that key."""
    spec = mapping(raw.get("network_g"))
    if not spec:
        yield Problem(
            (), f"is required, such as {{type: paragonsr2_nano}}; known: {', '.join(NETWORKS.names())}"
        )
        return
    if is_auto(spec):
        yield from _check_recognised(raw, spec)
        return
    yield from check_network({"scale": raw.get("scale", 4), **spec}, enlarges=True)


def _check_recognised(raw: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Problem]:
    """`type: auto`: the file says which network it is."""
    path = mapping(raw.get("path"))
    file = path.get("pretrain_network_g")
    if not file:
        yield Problem((), "type auto takes the network from a file: name it in path.pretrain_network_g")
        return
    try:
        found = recognised(str(file), path.get("param_key_g"), spec, raw.get("scale", 4))
    except ConfigError as error:
        yield from (Problem((), text) for text in error.problems)
        return
    yield from check_network(found.spec, enlarges=True)


def check_network(spec: Mapping[str, Any], *, enlarges: bool) -> list[Problem]:
    """Generators have a scale and discriminators have none."""
    name = spec.get("type")
    if not name or not isinstance(name, str):
        return NETWORKS.check(spec)
    if NETWORKS.find(name) is None:
        return [Problem(("type",), _unknown(name, enlarges=enlarges))]
    if ("scale" in NETWORKS.parameters(name)) != enlarges:
        kinds = ("discriminator", "generator") if enlarges else ("generator", "discriminator")
        return [Problem(("type",), f"{name} is a {kinds[0]}, not a {kinds[1]}")]
    return [*NETWORKS.check(spec), *_check_numbers(spec)]


def _unknown(name: str, *, enlarges: bool) -> str:
    """What a network of that name is called here, or that there is none and which there are of its kind."""
    if ours := NAMED_OTHERWISE.get(name.lower()):
        return f"{name!r} is called {ours} here"
    known = [other for other in NETWORKS.names() if ("scale" in NETWORKS.parameters(other)) == enlarges]
    listed = f"; known: {', '.join(known)}"
    if normalise(name).startswith(tuple(map(normalise, _NETWORKS_ELSEWHERE))):
        return f"the network {name!r} of other trainers does not exist here{listed}"
    return f"no network named {name!r}{did_you_mean(name, known) or listed}"


_MOST = 100_000
"""Most channels, layers or heads: beyond it even the description of a network takes minutes to make."""


def _check_numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Numbers, at any depth, that no network of this world has."""
    if isinstance(value, int | float) and abs(value) > _MOST:
        yield Problem(
            path, f"should be at most {_MOST:,} (got {value:.4g})" if abs(value) < 1e300 else "is too large"
        )
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield from _check_numbers(item, (*path, key))


_FILE = ("path", "pretrain_network_g_teacher")


def check_teacher(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """A teacher with a file and losses that compare with it belong together."""
    path, listed = mapping(raw.get("path")), mapping(raw.get("train")).get("losses")
    specs = [mapping(loss) for loss in listed] if isinstance(listed, list) else []
    asking = [index for index, loss in enumerate(specs) if loss.get("target") == TARGET]
    file = path.get("pretrain_network_g_teacher")
    spec = teacher_spec(mapping(raw.get("network_g_teacher")), file)
    for index in asking:
        if spec is None:
            text = "teacher needs one: name its file in path.pretrain_network_g_teacher"
            yield Problem(("train", "losses", index, "target"), text)
        if uses_discriminator(LOSSES.find(str(specs[index].get("type", "")))):
            text = "teacher is for losses that compare two images, and this one asks the discriminator"
            yield Problem(("train", "losses", index, "target"), text)
    if spec is None:
        return
    if not file:
        yield Problem(
            ("network_g_teacher",), "needs its weights: name the file in path.pretrain_network_g_teacher"
        )
        return
    if not asking:
        yield Problem(_FILE, "no loss asks the teacher: write target: teacher into an entry of train.losses")
    yield from _check_teaching(raw, spec, str(file))


def _check_teaching(raw: Mapping[str, Any], spec: Mapping[str, Any], file: str) -> Iterator[Problem]:
    """What the teacher makes has to be as large as what the generator makes."""
    scale = raw.get("scale", 4)
    if not is_auto(spec):
        yield from (
            p.below("network_g_teacher") for p in check_network({"scale": scale, **spec}, enlarges=True)
        )
        found = spec.get("scale")
    else:
        try:
            found = recognised(file, mapping(raw.get("path")).get("param_key_g_teacher"), spec, scale).scale
        except ConfigError as error:
            yield from (Problem(_FILE, text) for text in error.problems)
            return
    if found not in (None, scale):
        yield Problem(_FILE, f"is of a network that upscales by {found}, and this run upscales by {scale}")


def mapping(value: Any) -> Mapping[str, Any]:
    """A part of a tree that may be missing or of another kind, which is said elsewhere."""
    return value if isinstance(value, Mapping) else {}
