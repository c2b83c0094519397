"""A model under test is found whole, held still, and given back as it was."""

import copy
import dataclasses
import functools
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from small import SMALL as FEW_CHANNELS
from torch import Tensor, nn

import cvbench
from cvbench import weights
from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol, derive, protocol
from cvbench.core.records import RunRecord
from cvbench.core.types import Traits
from cvbench.engine.coding import code
from cvbench.engine.subject import Listed, Own, Setting, networks_of
from cvbench.models.own import OwnModel, Workspace
from cvbench.store import upkeep

SMALL = protocol("cvbench-1", ["frames=5", "size=48"])
CPU = torch.device("cpu")


def evaluate(model: Any, data: Path, used: EvalProtocol = SMALL) -> RunRecord:
    return cvbench.evaluate(model, data=str(data), metrics=["psnr"], protocol=used)  # type: ignore[operator]


def own(model: Any, used: EvalProtocol = SMALL) -> Own:
    return Own("m", model, Setting(used, CPU, {}))


class Net(nn.Module):
    """Dims pixels; in training mode it drops half of them and moves its statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.9))
        self.norm, self.dropout = nn.BatchNorm3d(3, affine=False), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(x)) * self.gain

    def encode(self, videos: Tensor) -> Tensor:
        return self(videos)

    def decode(self, latents: Tensor, frames: int) -> Tensor:
        return latents


class Around:
    """A model that calls what it holds somewhere."""

    def __init__(self, call: Callable[[Tensor], Tensor], **held: Any) -> None:
        self.call = call
        vars(self).update(held)

    def encode(self, videos: Tensor) -> Tensor:
        return self.call(videos)

    def decode(self, latents: Tensor, frames: int) -> Tensor:
        return latents


class InSlots:
    __slots__ = ("__net",)

    def __init__(self, net: nn.Module) -> None:
        self.__net = net

    def __call__(self, x: Tensor) -> Tensor:
        return self.__net(x)  # type: ignore[no-any-return]


class Unregistered(nn.Module):
    """Holds a network where torch does not see it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.parts = [net]

    def encode(self, videos: Tensor) -> Tensor:
        return self.parts[0](videos)  # type: ignore[no-any-return]

    def decode(self, latents: Tensor, frames: int) -> Tensor:
        return latents


def of_class(net: nn.Module) -> Any:
    return type("OfClass", (Around,), {"net": net})(lambda x: net(x))


def of_globals(net: nn.Module) -> Any:
    function = eval("lambda x: NET(x)", {"NET": net})
    return Around(function)


PLACES: dict[str, Callable[[nn.Module], Any]] = {
    "itself": lambda net: net,
    "list": lambda net: Around(lambda x: x, parts=[[net]]),
    "dict": lambda net: Around(lambda x: x, parts={"a": {"b": net}}),
    "tuple": lambda net: Around(lambda x: x, parts=(1, (net,))),
    "queue": lambda net: Around(lambda x: x, parts=deque([net])),
    "object": lambda net: Around(lambda x: x, inner=types.SimpleNamespace(inner=types.SimpleNamespace(net=net))),
    "slot": lambda net: Around(InSlots(net)),
    "partial": lambda net: Around(functools.partial(lambda net, x: net(x), net)),
    "closure": lambda net: Around(lambda x: net(x)),
    "default": lambda net: Around(lambda x, net=net: net(x)),
    "bound method": lambda net: Around(net.forward),
    "list of a module": Unregistered,
    "class": of_class,
    "global": of_globals,
    "compiled": lambda net: torch.compile(net, backend="eager"),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_network_is_found_wherever_it_is(place: Callable[[nn.Module], Any]) -> None:
    net = Net()
    found = [module for network in networks_of(place(net)) for module in network.modules()]
    assert any(module is net for module in found)
    assert len(set(map(id, found))) == len(found)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_networks_are_held_still_and_given_back(place: Callable[[nn.Module], Any]) -> None:
    net = Net().train()
    net.norm.eval()  # as of a frozen part
    subject = own(place(net))
    modes, state = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    with subject.held_still():
        assert not any(module.training for module in net.modules())
        code(subject, torch.rand(1, 3, 1, 16, 16), [0])
    assert [m.training for m in net.modules()] == modes == [True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_networks_of_a_factory_are_cast_and_evaluated(place: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    net = Net().train()

    model, half = place(net), Setting(derive(SMALL, ["dtype=bf16"]), CPU, {})
    Own("m", model, half, OwnModel(model, "factory", Workspace(tmp_path)))
    assert net.gain.dtype == torch.bfloat16
    assert not any(module.training for module in net.modules())


class Merging(nn.Module):
    """Folds its weights when it is evaluated, and unfolds them for training, as LoRA layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.folded, self.inner = False, nn.Identity()

    def train(self, mode: bool = True) -> "Merging":
        self.folded = not mode
        return super().train(mode)


def test_what_a_module_does_on_changing_its_mode_is_undone() -> None:
    net = Net().train()
    net.lora = Merging()
    net.lora.inner.eval()
    with own(net).held_still():
        assert net.lora.folded
    assert (net.lora.folded, net.lora.training, net.lora.inner.training) == (False, True, False)


def test_modes_come_back_after_an_error() -> None:
    net = Net().train()
    with pytest.raises(KeyboardInterrupt), own(net).held_still():
        raise KeyboardInterrupt
    assert net.dropout.training


class Caching(Net):
    """Builds what it needs of a size when it first sees it, from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[Any, Tensor] = {}
        self.table = torch.arange(4.0)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape not in self.cache:
            self.cache[x.shape] = torch.ones(x.shape[-1])
        return x * self.gain * self.cache[x.shape]


def test_training_goes_on_after_an_evaluation_as_if_there_had_been_none(pictures: Path) -> None:
    def states() -> list[Any]:
        draws = [torch.get_rng_state().tolist(), str(np.random.get_state())]  # beartype draws of Python's
        return [*draws, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()]

    net = Caching().train()
    loss = net(torch.rand(1, 3, 5, 48, 48)).mean()
    net.cache.clear()
    before = states()
    with torch.autocast("cpu", torch.bfloat16):
        inside = states()
        evaluate(net, pictures)
        assert states() == inside
    assert states() == before
    loss.backward()
    net(torch.rand(1, 3, 5, 48, 48)).mean().backward()  # with what the evaluation left in the cache
    assert net.gain.grad is not None


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel_is_looked_through(pictures: Path, group: None) -> None:
    net = Net().train()
    wrapped = nn.parallel.DistributedDataParallel(net)
    assert evaluate(wrapped, pictures).scores == evaluate(net, pictures).scores
    assert wrapped.training
    assert net.dropout.training
    wrapped(torch.rand(1, 3, 1, 8, 8)).mean().backward()


def test_a_compiled_network_is_measured_as_the_network(pictures: Path) -> None:
    net = Net().train()
    assert evaluate(torch.compile(net, backend="eager"), pictures).scores == evaluate(net, pictures).scores


class Linear(nn.Module):
    """Dims pixels; it has a state of its own kind, and decodes without frames to an object."""

    traits = Traits(temporal=1, spatial=1, channels=3)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.9))
        self.seen: set[torch.dtype] = set()

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: object) -> None: ...

    def encode(self, videos: Tensor) -> Tensor:
        self.seen.add(videos.dtype)
        return videos * self.gain

    def decode(self, latents: Tensor) -> Any:
        return types.SimpleNamespace(sample=latents)


def test_a_network_of_half_precision_is_measured_as_it_is_and_the_signature_says_so(pictures: Path) -> None:
    net = Linear().bfloat16()
    record = evaluate(net, pictures)
    assert record.complete
    assert record.protocol.dtype == "bf16"
    assert "dtype=bf16" in str(record.scores["psnr"].signature)
    assert net.seen == {torch.bfloat16}
    assert evaluate(Linear(), pictures).protocol.dtype == "fp32"


def test_a_protocol_of_half_precision_leaves_the_callers_network_alone(pictures: Path) -> None:
    net, half = Linear().train(), derive(SMALL, ["dtype=bf16"])
    record = evaluate(net, pictures, half)
    assert record.complete
    assert net.gain.dtype == torch.float32
    assert net.gain.requires_grad
    assert net.training
    assert record.scores["psnr"].value == evaluate(Linear().bfloat16(), pictures).scores["psnr"].value
    assert record.scores["psnr"].value != evaluate(net, pictures).scores["psnr"].value


@pytest.mark.parametrize("place", ["closure", "class", "global", "bound method"])
def test_networks_that_no_copy_holds_are_refused_rather_than_cast(place: str) -> None:
    net = Net()
    model = PLACES[place](net)
    if place == "bound method":  # which copies well
        own(model, derive(SMALL, ["dtype=bf16"]))
    else:
        with pytest.raises(UsageError, match="cast it yourself"):
            own(model, derive(SMALL, ["dtype=bf16"]))
    assert net.gain.dtype == torch.float32
    assert net.gain.requires_grad


def test_pixels_of_a_codec_are_never_halved() -> None:
    seen: list[torch.dtype] = []
    subject = own(Around(lambda x: seen.append(x.dtype) or x), derive(SMALL, ["dtype=bf16"]))
    video = torch.rand(1, 3, 1, 16, 16)
    assert torch.equal(code(subject, video, [0])[0].recon, video[0])
    assert seen == [torch.float32]


def two(latents: Tensor, frames: int) -> Tensor:
    return latents[:, :, :frames]


def optional(latents: Tensor, num_frames: int | None = None) -> Tensor:
    return latents[:, :, :num_frames]


def one(latents: Tensor) -> Tensor:
    return latents[:, :, :2]


def setting(latents: Tensor, strength: float = 1.0) -> Tensor:
    return latents[:, :, :2] * strength


def keyword(latents: Tensor, *, strength: float = 1.0) -> Tensor:
    return latents[:, :, :2] * strength


def anything(*arguments: Any) -> Tensor:
    return two(*arguments)


@pytest.mark.parametrize("decode", [two, optional, one, setting, keyword, anything])
def test_frames_are_given_to_a_decode_that_takes_frames(decode: Callable[..., Tensor]) -> None:
    model = types.SimpleNamespace(encode=lambda x: x.repeat(1, 1, 2, 1, 1), decode=decode)
    video = torch.rand(1, 3, 2, 16, 16)
    assert torch.equal(code(own(model), video, [0])[0].recon, video[0])


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan"])
@pytest.mark.parametrize(
    "wrap",
    [lambda net: net, pytest.param(lambda net: torch.compile(net, backend="eager"), marks=pytest.mark.large)],
)
def test_networks_of_diffusers_are_taken_as_they_are(
    name: str, wrap: Callable[[nn.Module], Any], pictures: Path
) -> None:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    net = getattr(diffusers, name)(**FEW_CHANNELS[name], **(blocks if name == "AutoencoderKL" else {})).train()
    record = evaluate(wrap(net), pictures)
    assert record.complete, [f.error for f in record.failures]
    assert (record.model.spatial, record.model.temporal) == (8, 1 if name == "AutoencoderKL" else 4)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("model", [None, 3, {}, nn.Linear(1, 1), types.SimpleNamespace(encode=abs)], ids=str)
def test_what_cannot_encode_and_decode_is_no_model(model: object) -> None:
    with pytest.raises(UsageError, match="no methods encode and decode"):
        own(model)


def test_rows_of_an_object_stay_in_the_process(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "cache"))
    evaluate(Linear(), pictures)
    assert upkeep.size(tmp_path / "cache").rows == 0
    keyed = Linear()
    keyed.cache_key = "step 100"
    first = evaluate(keyed, pictures)
    with torch.no_grad():
        keyed.gain.fill_(0.5)
    assert evaluate(keyed, pictures).scores == first.scores  # its own word
    keyed.cache_key = "step 200"
    assert evaluate(keyed, pictures).scores["psnr"].value < first.scores["psnr"].value - 3


@pytest.mark.parametrize("field", ["sha256", "revision"])
def test_other_weights_and_another_commit_are_another_key(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, original = Setting(SMALL, CPU, {}), weights.identity
    before = Listed("tiny-image", setting)
    monkeypatch.setattr(weights, "identity", lambda *given: dataclasses.replace(original(*given), **{field: "abc"}))
    after = Listed("tiny-image", setting)
    assert before.key((1, 48, 48)) != after.key((1, 48, 48))
    assert after.facts.revision == ("abc" if field == "revision" else before.facts.revision)
