"""Finding, fetching and reading weights. No test asks a network: the hub is offline, urlopen is replaced."""

import argparse
import hashlib
import io
import os
import pickle
import re
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cvbench import weights
from cvbench.core.errors import BadWeights, MissingWeights, UsageError
from cvbench.models import MODELS
from cvbench.weights import Source

STATE = {"conv.weight": torch.arange(4096.0).reshape(64, 64), "conv.bias": torch.ones(64)}
LOSSES = {"loss.logvar": torch.zeros(()), "discriminator.weight": torch.ones(3)}
ADDRESS = "https://weights.example.org/net.pt"


def saved(content: Any, path: Path, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **how)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---- layouts


def as_single_safetensors(folder: Path) -> Path:
    save_file(STATE, folder / "net.safetensors")
    return folder / "net.safetensors"


def as_diffusers_folder(folder: Path) -> Path:
    save_file(STATE, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def as_lightning(folder: Path) -> Path:
    arguments = argparse.Namespace(n_hiddens=8, downsample=(4, 8, 8))
    content = {"epoch": 1, "state_dict": {**STATE, **LOSSES}, "hyper_parameters": {"args": arguments}}
    return saved(content, folder / "last.ckpt")


def as_plain(suffix: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: saved(STATE, folder / f"net{suffix}", **how)


def as_parallel(folder: Path) -> Path:
    return saved({f"module.{name}": value for name, value in STATE.items()}, folder / "flownet.pkl")


def as_averaged(folder: Path) -> Path:
    wrong = {name: torch.zeros_like(value) for name, value in STATE.items()}
    ema = {f"module.{name}": value for name, value in STATE.items()}
    return saved({"state_dict": {"gen_model": wrong}, "ema_state_dict": ema}, folder / "checkpoint.ckpt")


def as_generator(folder: Path) -> Path:
    return saved({"state_dict": {"gen_model": STATE}, "ema_state_dict": {}}, folder / "checkpoint.ckpt")


def as_rife_zip(folder: Path) -> Path:
    """Pack as RIFE's archives are: code beside the weights, and what a Mac leaves."""
    content = as_parallel(folder).read_bytes()
    with zipfile.ZipFile(folder / "RIFE_train_log.zip", "w") as archive:
        archive.writestr("train_log/flownet.pkl", content)
        archive.writestr("train_log/RIFE_HDv3.py", "raise SystemExit('this must not run')")
        archive.writestr("__MACOSX/train_log/._flownet.pkl", b"\0")
    return folder / "RIFE_train_log.zip"


def as_zipped_safetensors(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "net.zip", "w") as archive:
        archive.write(as_single_safetensors(folder), "net.safetensors")
    return folder / "net.zip"


LAYOUTS = [
    as_single_safetensors,
    as_diffusers_folder,
    as_lightning,
    as_plain(".pt"),
    as_plain(".pth"),
    as_plain(".bin", _use_new_zipfile_serialization=False),
    as_parallel,
    as_averaged,
    as_generator,
    as_rife_zip,
    as_zipped_safetensors,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_official_layout_gives_the_same_tensors(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    file = weights.weights_file(layout(tmp_path))
    state = weights.read_tensors(file, allowed=(argparse.Namespace,))
    fitted = weights.fit(state, STATE, str(file), drop=("loss.", "discriminator."))
    assert set(fitted) == set(STATE)
    assert all(torch.equal(fitted[name], STATE[name]) for name in STATE)


def test_what_stands_beside_the_tensors_can_be_read(tmp_path: Path) -> None:
    checkpoint = weights.read_checkpoint(as_lightning(tmp_path), allowed=(argparse.Namespace,))
    assert checkpoint["hyper_parameters"]["args"].downsample == (4, 8, 8)


def test_a_class_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"asks for argparse\.Namespace"):
        weights.read_tensors(as_lightning(tmp_path))


def test_a_folder_of_several_files_is_refused_unless_one_has_the_usual_name(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="holds no file of weights"):
        weights.weights_file(tmp_path)
    only = as_plain(".ckpt")(tmp_path)
    assert weights.weights_file(tmp_path) == only
    as_plain(".pt")(tmp_path)
    with pytest.raises(BadWeights, match=r"holds net\.ckpt, net\.pt: name the one"):
        weights.weights_file(tmp_path)
    as_diffusers_folder(tmp_path)
    assert weights.weights_file(tmp_path).name == "diffusion_pytorch_model.safetensors"


def test_an_archive_must_hold_one_file_of_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.pt", b"a")
        archive.writestr("b.pt", b"b")
    with pytest.raises(BadWeights, match=r"not a\.pt, b\.pt; unpack"):
        weights.read_tensors(tmp_path / "two.zip")


# ---- files that are not what they should be


class Malicious:
    """Unpickling it would create the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def evil_checkpoint(folder: Path, marker: Path) -> Path:
    return saved({"state_dict": STATE, "callbacks": Malicious(marker)}, folder / "evil.ckpt")


def evil_old_checkpoint(folder: Path, marker: Path) -> Path:
    content = {"state_dict": STATE, "callbacks": Malicious(marker)}
    return saved(content, folder / "evil.pt", _use_new_zipfile_serialization=False)


def evil_pickle(folder: Path, marker: Path) -> Path:
    (folder / "evil.pkl").write_bytes(pickle.dumps({"a": Malicious(marker)}))
    return folder / "evil.pkl"


def evil_zip(folder: Path, marker: Path) -> Path:
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        archive.write(evil_pickle(folder, marker), "flownet.pkl")
    return folder / "evil.zip"


@pytest.mark.parametrize("make", [evil_checkpoint, evil_old_checkpoint, evil_pickle, evil_zip])
def test_a_malicious_pickle_is_refused_and_does_not_run(make: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    file = make(tmp_path, marker)
    with pytest.raises(BadWeights, match=r"refused: it asks for (posix\.mkdir|more than tensors), .*run code"):
        weights.read_tensors(file, allowed=(argparse.Namespace,))
    assert not marker.exists()


def test_the_malicious_pickle_would_run_if_it_were_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(evil_pickle(tmp_path, marker).read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("keep", [0.5, 0.98])
@pytest.mark.parametrize(
    "layout",
    [as_single_safetensors, as_plain(".ckpt"), as_plain(".bin", _use_new_zipfile_serialization=False), as_rife_zip],
)
def test_a_file_cut_short_is_refused(layout: Callable[[Path], Path], keep: float, tmp_path: Path) -> None:
    file = layout(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(BadWeights, match=f"{file.name} is damaged, cut short or no file of weights"):
        weights.read_tensors(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Google Drive can't scan this file for viruses", "is a web page"),
        (b"\n<HTML>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "is a Git LFS pointer"),
        (bytes(range(256)) * 20, "is damaged"),
    ],
)
def test_what_downloads_leave_behind_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    for suffix in (".ckpt", ".safetensors", ".zip"):
        file = tmp_path / f"net{suffix}"
        file.write_bytes(content)
        with pytest.raises(BadWeights, match=says):
            weights.read_tensors(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "lr": 0.1}, "holds no tensors, only epoch, lr"),
        ([torch.ones(1)], "holds a list, not a state dict"),
        ({"state_dict": {}}, "holds no tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=says):
        weights.read_tensors(saved(content, tmp_path / "net.pt"))


def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    file = as_plain(".pt")(tmp_path)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("net/constants.pkl", b"")  # what torch tells a program by
    with pytest.raises(BadWeights, match="is a TorchScript program"):
        weights.read_tensors(file)


def test_the_message_for_a_damaged_file_gives_torchs_reason(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"<junk")
    with pytest.raises(BadWeights, match=r"\(UnpicklingError: Unsupported operand 60\); fetch it again"):
        weights.read_tensors(tmp_path / "net.pt")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="cannot be read"):
        weights.read_tensors(tmp_path / "net.pt")


def test_a_file_of_another_architecture_lists_what_differs() -> None:
    found = {"a.weight": torch.ones(2), "b.weight": torch.ones(3), "x.weight": torch.ones(1), "loss.w": torch.ones(1)}
    wanted = {"a.weight": torch.ones(2), "b.weight": torch.ones(4), "c.weight": torch.ones(1)}
    message = (
        r"net\.pt belongs to another architecture; 1 missing: c\.weight; 1 unexpected: x\.weight; "
        r"1 misshaped: b\.weight \(3,\) instead of \(4,\)$"
    )
    with pytest.raises(BadWeights, match=message):
        weights.fit(found, wanted, "net.pt", drop=("loss.",))


def test_whole_numbers_are_no_weights() -> None:
    found = {"a.weight": torch.ones(2, dtype=torch.int8), "a.count": torch.ones(1, dtype=torch.int64)}
    wanted = {"a.weight": torch.ones(2), "a.count": torch.ones(1, dtype=torch.int64)}
    with pytest.raises(BadWeights, match=r"1 of another kind: a\.weight torch\.int8 instead of torch\.float32$"):
        weights.fit(found, wanted, "net.pt")


def test_long_lists_of_differences_are_cut() -> None:
    wanted = {f"w{i}": torch.ones(1) for i in range(9)}
    with pytest.raises(BadWeights, match=r"9 missing: w0, w1, w2, w3 …$"):
        weights.fit({}, wanted, "net.pt")


def test_only_the_parts_kept_count() -> None:
    state = {"encoder.w": torch.ones(1), "teacher.w": torch.ones(1), "encoder.loss": torch.ones(1)}
    kept = weights.fit(state, {"encoder.w": torch.ones(1)}, "net.pt", drop=("encoder.loss",), keep=("encoder.",))
    assert list(kept) == ["encoder.w"]


# ---- networks


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)


def built(state: dict[str, Tensor] | None, seed: int = 0, dtype: torch.dtype = torch.float32) -> Net:
    return weights.network(Net, state, "net.pt", seed=seed, device=torch.device("cpu"), dtype=dtype)


def test_a_network_takes_the_files_values_in_the_dtype_asked_for() -> None:
    trained = {**Net().state_dict(), "conv.bias": torch.arange(64.0), "norm.running_mean": torch.ones(64)}
    net = built({name: v.half() if v.is_floating_point() else v for name, v in trained.items()})
    assert net.conv.bias.tolist() == list(range(64))
    assert net.norm.running_mean.tolist() == [1] * 64
    assert {v.dtype for v in net.parameters()} == {torch.float32}
    assert {v.dtype for v in built(trained, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
    assert not net.training
    assert not net.conv.weight.requires_grad


def test_an_untrained_network_is_drawn_from_its_seed() -> None:
    state = torch.get_rng_state()
    first, again, other = (built(None, seed).conv.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_are_counted() -> None:
    assert weights.count(Net()) == 64 * 64 + 64 + 2 * 64


# ---- where weights lie

HUB = Source(("vae/diffusion_pytorch_model.safetensors", "vae/config.json"), repo="someone/net")
BY_HAND = Source(("net.ckpt",), page="https://drive.example.org/net")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CVBENCH_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", ["mine/net.ckpt", "mine.ckpt", "net.ckpt", "mine.safetensors", "mine.zip", "mine.pt"])
def test_the_weights_folder_is_searched(place: str, folder: Path) -> None:
    assert weights.locate("mine", BY_HAND) is None
    file = saved(STATE, folder / place)
    assert weights.locate("mine", BY_HAND) == file


def test_a_name_that_many_models_share_is_no_place(folder: Path) -> None:
    saved(STATE, folder / "model.ckpt")
    assert weights.locate("mine", Source(("taming/model.ckpt",), page="https://example.org")) is None


def test_any_one_file_in_the_models_own_folder_is_found(folder: Path) -> None:
    saved(STATE, folder / "mine" / "finetuned.pt")
    found = weights.path_of("mine", BY_HAND)
    assert weights.weights_file(found) == folder / "mine" / "finetuned.pt"


@pytest.mark.parametrize("inside", ["", "vae"])
def test_files_that_belong_together_are_found_as_their_folder(inside: str, folder: Path) -> None:
    home = folder / "mine" / inside
    home.mkdir(parents=True)
    as_diffusers_folder(home)
    assert weights.locate("mine", HUB) == home
    assert weights.locate("mine", HUB, {"mine": folder / "mine"}) == home
    assert weights.locate("mine", HUB, {"mine": home / "diffusion_pytorch_model.safetensors"}) == home


def test_a_path_given_by_name_comes_first(folder: Path, tmp_path: Path) -> None:
    saved(STATE, folder / "mine.ckpt")
    given = saved(STATE, tmp_path / "elsewhere" / "other.pt")
    assert weights.locate("mine", BY_HAND, {"mine": given, "yours": tmp_path}) == given


def test_a_given_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"--weights mine=.*nowhere: there is no such file or folder"):
        weights.locate("mine", BY_HAND, {"mine": tmp_path / "nowhere"})


def test_a_file_of_the_published_name_must_have_the_published_hash(folder: Path) -> None:
    file = saved(STATE, folder / "mine.ckpt")
    good = sha256(file.read_bytes())
    assert weights.locate("mine", Source(("net.ckpt",), sha256=good)) == file
    assert weights.locate("mine", Source(("net.ckpt",), sha256=good[:8])) == file
    wrong = Source(("net.ckpt",), sha256="0" * 64, page="https://example.org/net")
    with pytest.raises(BadWeights, match=rf"not the published file: SHA-256 {good}, expected 0{{64}}.*example\.org"):
        weights.locate("mine", wrong)
    own = saved(STATE, folder / "finetuned.ckpt")
    assert weights.locate("mine", wrong, {"mine": own}) == own


def test_what_cannot_be_fetched_says_where_to_get_and_put_it() -> None:
    with pytest.raises(
        MissingWeights, match=r"by hand.*File: net\.ckpt.*drive\.example\.org.*mine=PATH.*mine/net\.ckpt"
    ):
        weights.fetch("mine", BY_HAND)
    with pytest.raises(MissingWeights, match="not fetched yet"):
        weights.path_of("mine", BY_HAND)


def test_unpublished_weights_say_so() -> None:
    source = Source(("net.ckpt",), unpublished="their authors kept them")
    with pytest.raises(MissingWeights, match=r"cannot be fetched: their authors kept them\. If you have them, pass"):
        weights.fetch("mine", source)


def test_a_gated_repository_without_network_names_gate_and_command() -> None:
    source = Source(("vae/net.safetensors",), repo="someone/net", revision="abc", gated=True)
    command = r"gated: accept its licence.*hf download someone/net vae/net\.safetensors --revision abc --local-dir mine"
    with pytest.raises(MissingWeights, match=command):
        weights.fetch("mine", source)


def hub_cache(*files: str) -> Path:
    """Lay files out as the hub's cache has them; return their snapshot."""
    home = Path(os.environ["HF_HOME"]) / "hub" / "models--someone--net"
    snapshot = home / "snapshots" / ("a" * 40)
    for file in files:
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_bytes(b"weights")
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text("a" * 40)
    return snapshot


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the hub library, which reads HF_HOME when it is imported, to the test's own cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path(os.environ["HF_HOME"]) / "hub"))


def test_the_hubs_cache_is_searched_without_network(hub: None) -> None:
    assert weights.locate("mine", HUB) is None
    snapshot = hub_cache(*HUB.files)
    assert weights.locate("mine", HUB) == snapshot / "vae"
    one = Source(HUB.files[:1], repo="someone/net", sha256=sha256(b"weights"))
    assert weights.fetch("mine", one) == snapshot / HUB.files[0]


def test_a_cached_file_with_a_wrong_hash_is_not_used(hub: None) -> None:
    hub_cache(*HUB.files)
    with pytest.raises(BadWeights, match="not the published file"):
        weights.locate("mine", Source(HUB.files, repo="someone/net", sha256="1" * 64))


# ---- weights inside the package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the folder of the package."""
    monkeypatch.setattr("cvbench.weights.sources.PACKAGE", tmp_path / "package")
    return tmp_path / "package"


def part(package: Path, **other: Any) -> Source:
    """A file in the package, and its source."""
    content = saved(STATE, package / "models" / "tiny" / "mine.pt").read_bytes()
    return Source(("models/tiny/mine.pt",), bundled=True, **{"sha256": sha256(content), **other})


def test_a_file_of_the_package_is_found_there(package: Path) -> None:
    source = part(package)
    for find in (weights.locate, weights.path_of, weights.fetch):
        assert find("mine", source) == package / "models" / "tiny" / "mine.pt"
    assert source.origin == "part of cvbench (models/tiny/mine.pt)"
    holding = weights.verify({"mine": source})[0]
    assert (holding.state, holding.bad) == (f"verified, SHA-256 {source.sha256}", False)


def test_a_file_of_the_package_with_another_hash_is_refused(package: Path) -> None:
    wrong = part(package, sha256="0" * 64)
    with pytest.raises(BadWeights, match=r"not the published file.*expected 0{64}; reinstall cvbench$"):
        weights.locate("mine", wrong)
    assert weights.locate("mine", part(package, sha256="")) == package / "models" / "tiny" / "mine.pt"


def test_a_file_that_the_package_lacks_asks_to_install_it_again(package: Path) -> None:
    gone = Source(("models/tiny/mine.pt",), bundled=True, sha256="0" * 64)
    message = r"weights of mine should lie at .*package.models.tiny.mine\.pt: reinstall cvbench.*--weights mine=PATH"
    for find in (weights.path_of, weights.fetch):
        with pytest.raises(MissingWeights, match=message):
            find("mine", gone)
    row = ("mine", "missing: reinstall cvbench", "–", "part of cvbench (models/tiny/mine.pt)")
    assert [(holding.row, holding.bad) for holding in weights.listing({"mine": gone})] == [(row, True)]


def test_a_model_of_the_package_trained_again_takes_its_place(folder: Path, package: Path, tmp_path: Path) -> None:
    source = part(package)
    again = saved({"other": torch.ones(1)}, tmp_path / "again" / "mine.pt")
    assert weights.locate("mine", source, {"mine": again}) == again
    assert weights.listing({"mine": source}, {"mine": again})[0].state == "here, not the published file"
    searched = saved({"other": torch.ones(1)}, folder / "mine.pt")
    assert weights.locate("mine", source) == searched


# ---- downloads


class Reply(io.BytesIO):
    """What urlopen returns; `said` is the length that the server announced, `dies` an error while reading."""

    def __init__(self, content: bytes, said: int | None = None, dies: Exception | None = None) -> None:
        super().__init__(content)
        self.headers = {} if said is None else {"Content-Length": str(said)}
        self.dies = dies

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.dies and not content:
            raise self.dies
        return content


CONTENT = bytes(range(256)) * 8192  # 2 MiB: two blocks


def serve(monkeypatch: pytest.MonkeyPatch, reply: Reply | Exception) -> list[str]:
    asked: list[str] = []

    def urlopen(address: str, timeout: float) -> Reply:
        asked.append(address)
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def by_url(content: bytes = CONTENT, **other: Any) -> Source:
    return Source(("net.pt",), **{"url": ADDRESS, "sha256": sha256(content), **other})


def cached() -> list[str]:
    folder = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_a_download_is_whole_and_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, Reply(CONTENT, len(CONTENT)))
    steps: list[tuple[int, int]] = []
    path = weights.fetch("mine", by_url(), progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert steps == [(1 << 20, 2 << 20), (2 << 20, 2 << 20)]
    assert weights.fetch("mine", by_url()) == path
    assert asked == [ADDRESS]
    assert cached() == ["net.pt"]


def test_a_server_that_announces_no_length_is_believed_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Reply(CONTENT))
    assert weights.fetch("mine", by_url()).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(CONTENT[:-1], len(CONTENT)), "closed after 2097151 of 2097152 bytes"),
        (Reply(CONTENT[:100], len(CONTENT), TimeoutError("timed out")), "TimeoutError: timed out"),
        (urllib.error.URLError("no route to host"), "no route to host"),
    ],
)
def test_an_interrupted_download_leaves_nothing(
    reply: Reply | Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, reply)
    with pytest.raises(MissingWeights, match=f"{says}.*On a machine with network: download {ADDRESS}"):
        weights.fetch("mine", by_url())
    assert cached() == []
    assert weights.locate("mine", by_url()) is None


def test_a_download_with_the_wrong_hash_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Reply(CONTENT[::-1], len(CONTENT)))
    with pytest.raises(BadWeights, match=rf"{ADDRESS} is not the published file.*expected {sha256(CONTENT)}"):
        weights.fetch("mine", by_url())
    assert cached() == []


def test_a_part_left_by_another_tool_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints" / "net.pt"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(BadWeights, match="delete it and fetch it again"):
        weights.fetch("mine", by_url())


# what `git hash-object` gives for CONTENT
BLOB = "c83fd13f04e9d24e26ff1b4e0522d8f3472a6583"


def test_a_file_known_by_its_id_in_git_is_compared_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = by_url(sha256="", git_blob=BLOB)
    serve(monkeypatch, Reply(CONTENT))
    with pytest.raises(MissingWeights, match="does not say how long"):
        weights.fetch("mine", source)
    serve(monkeypatch, Reply(CONTENT[::-1], len(CONTENT)))
    with pytest.raises(BadWeights, match=f"expected {BLOB}"):
        weights.fetch("mine", source)
    serve(monkeypatch, Reply(CONTENT, len(CONTENT)))
    assert weights.fetch("mine", source).read_bytes() == CONTENT
    assert weights.listing({"mine": source})[0].state == "verified"


def test_only_https_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, Reply(CONTENT))
    with pytest.raises(MissingWeights, match="no address"):
        weights.fetch("mine", by_url(url="file:///etc/passwd"))
    assert asked == []


# ---- hashes and listings


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    file.write_bytes(b"one")
    assert weights.file_digest(file) == weights.file_digest(file) == sha256(b"one")
    file.write_bytes(b"other")
    assert weights.file_digest(file) == sha256(b"other")


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    as_diffusers_folder(tmp_path)
    first = weights.path_digest(tmp_path)
    (tmp_path / "README.md").write_text("not weights")
    assert weights.path_digest(tmp_path) == first
    (tmp_path / "config.json").write_text('{"levels": 2}')
    second = weights.path_digest(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert len({first, second, weights.path_digest(tmp_path)}) == 3


@pytest.fixture
def collection(folder: Path) -> dict[str, Source]:
    """One model of every kind."""
    good, wrong, plain = (saved(STATE, folder / name / "net.ckpt") for name in ("good", "wrong", "plain"))
    saved(STATE, folder / "own" / "finetuned.ckpt")
    content = plain.read_bytes()
    (folder / "short.ckpt").write_bytes(content[: len(content) // 2])
    right = sha256(good.read_bytes())
    assert wrong.exists()
    return {
        "good": Source(("net.ckpt",), page="https://example.org/good", sha256=right),
        "wrong": Source(("net.ckpt",), page="https://example.org/wrong", sha256="0" * 64),
        "plain": Source(("net.ckpt",), page="https://example.org/plain"),
        "own": Source(("net.ckpt",), page="https://example.org/own", sha256=right),
        "short": Source(("net.ckpt",), page="https://example.org/short"),
        "away": Source(("net.ckpt",), page="https://example.org/away"),
        "kept": Source(("net.ckpt",), unpublished="never"),
    }


def test_the_listing_says_what_is_where(collection: dict[str, Source], folder: Path) -> None:
    found = {holding.name: holding for holding in weights.listing(collection)}
    states = {name: holding.state.split(":")[0] for name, holding in found.items()}
    assert states == {
        "good": "verified",
        "wrong": "unusable",
        "plain": "here, no hash published",
        "own": "here, not the published file",
        "short": "here, no hash published",
        "away": "not here",
        "kept": "unpublished",
    }
    assert [name for name, holding in found.items() if holding.bad] == ["wrong"]
    assert found["good"].size == (folder / "good" / "net.ckpt").stat().st_size
    assert found["own"].where == str(folder / "own")
    assert found["away"].where == "https://example.org/away"
    assert found["kept"].row == ("kept", "unpublished", "–", "unpublished")
    assert len(found["good"].row) == len(weights.COLUMNS)


def test_verifying_reads_the_files(collection: dict[str, Source], folder: Path) -> None:
    found = {holding.name: holding for holding in weights.verify(collection)}
    assert [name for name, holding in found.items() if holding.bad] == ["wrong", "own", "short"]
    assert found["own"].state.startswith("here, not the published file, SHA-256 ")
    assert "cut short" in found["short"].state
    plain = sha256((folder / "plain" / "net.ckpt").read_bytes())
    assert found["plain"].state == f"here, no hash published, SHA-256 {plain}"
    assert found["good"].state.startswith("verified, SHA-256 ")


def test_every_shard_is_verified(folder: Path) -> None:
    names = ("net-1.safetensors", "net-2.safetensors")
    (folder / "mine").mkdir()
    for name in names:
        save_file(STATE, folder / "mine" / name)
    (folder / "mine" / "net.json").write_text("{}")
    source = Source((*names, "net.json"), repo="someone/net")
    good = weights.verify({"mine": source})[0]
    assert (good.bad, good.size) == (False, sum((folder / "mine" / name).stat().st_size for name in names))
    (folder / "mine" / names[1]).write_bytes(b"short")
    assert weights.verify({"mine": source})[0].bad


def test_a_folder_of_weights_that_is_not_there_is_an_error_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVBENCH_WEIGHTS", str(tmp_path / "nowhere"))
    for find in (weights.locate, weights.fetch):
        with pytest.raises(UsageError, match=r"CVBENCH_WEIGHTS is .*nowhere"):
            find("mine", BY_HAND)
    for listing in (weights.listing, weights.verify):
        with pytest.raises(UsageError, match="CVBENCH_WEIGHTS"):
            listing({"mine": BY_HAND})


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.source])
def test_what_is_missing_is_said_so_that_a_record_can_keep_it(name: str) -> None:
    source = MODELS[name].source
    assert source is not None
    text = weights.missing_text(name, source, "offline")
    assert name in text
    assert not re.search(r"this machine|\bhere\b", text)


def test_a_path_that_no_file_system_takes_does_not_exist() -> None:
    with pytest.raises(MissingWeights, match="there is no such file"):
        weights.locate("mine", BY_HAND, {"mine": Path("x" * 5000)})


def test_a_missing_given_path_is_listed_as_unusable(tmp_path: Path) -> None:
    holding = weights.listing({"mine": BY_HAND}, {"mine": tmp_path / "nowhere"})[0]
    assert holding.bad
    assert "there is no such file" in holding.state
