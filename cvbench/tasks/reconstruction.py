"""From a request to records: who takes part, on which data, and what is kept."""

from collections.abc import Sequence
from pathlib import Path

from cvbench import models
from cvbench.core.config import load_config
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.protocol import protocol as named_protocol
from cvbench.core.records import ModelFacts, RunRecord
from cvbench.data import DATASETS, open_dataset
from cvbench.engine import pictures
from cvbench.engine.coding import DTYPES
from cvbench.engine.loop import Evaluation, Progress, Request, silent, unavailable
from cvbench.engine.probing import Probes, pick_device
from cvbench.engine.subject import Contender, Custom, Listed, Setting, facts_of, networks_of
from cvbench.metrics import resolve as resolve_metrics
from cvbench.nets.tensors import VideoVAE
from cvbench.store import RowStore, write_record


def run(request: Request, progress: Progress = silent, store: RowStore | None = None) -> list[RunRecord]:
    """Evaluate every model on every data set and return one record each, also for models that could not run.

    Records are written to `request.out` when given. Work found in the store is not done again.
    Raises UsageError for a request that makes no sense, and with `strict` the first failure of any kind.
    """
    device = pick_device(request.device)
    setting = Setting(request.protocol, device, request.weights, request.init)
    datasets = [open_dataset(spec, request.roots, request.limit, request.protocol.reader) for spec in request.data]
    contenders, refused = line_up(request.models, setting, request.strict)
    probes = Probes(resolve_metrics(request.metrics, request.protocol), device, request.weights)
    records = []
    for dataset in datasets:
        evaluation = Evaluation(request, dataset, contenders, probes, store or RowStore(), progress)
        found = evaluation.records()
        found += [unavailable(facts, error, dataset, request) for facts, error in refused]
        records += sorted(found, key=lambda record: request.models.index(record.model.name))
        if request.out:
            for record in found:
                write_record(request.out, record)
            keep_pictures(request, evaluation, found)
    return records


def keep_pictures(request: Request, evaluation: "Evaluation", records: Sequence[RunRecord]) -> None:
    """Store pictures of the worst, median and best samples for the report, where they are not stored yet."""
    if request.out is None:
        return
    share = pictures.BUDGET // len(request.data)  # the budget is the whole report's
    choice = pictures.choose(records, request.pictures)
    if choice and not pictures.stored(request.out, records, choice, share):
        pictures.save(request.out, records, choice, evaluation.shots(choice), share)


def line_up(
    specs: Sequence[str], setting: Setting, strict: bool
) -> tuple[list[Contender], list[tuple[ModelFacts, Exception]]]:
    """Return the models that can run, and for each of the others its facts and what went wrong.

    Raises UsageError for unknown names; these are mistakes of the request, not of a model.
    """
    contenders: list[Contender] = []
    refused: list[tuple[ModelFacts, Exception]] = []
    for spec in specs:
        try:
            contenders.append(enlist(spec, setting))
        except UsageError:
            raise
        except CvbenchError as error:
            if strict:
                raise
            refused.append((_facts_of_refused(spec), error))
    return contenders, refused


def _facts_of_refused(spec: str) -> ModelFacts:
    """Return what is known of a model that could not be enlisted: of one on the hub that cannot be asked, its name."""
    name = spec.partition("@")[0]
    return facts_of(spec, models.parse(spec)[1]) if name in models.MODELS else ModelFacts(spec, "")


def enlist(spec: str, setting: Setting) -> Contender:
    """Return the contender for a registry name or a user's own model."""
    if not models.is_custom(spec):
        return Listed(spec, setting)
    vae, source = models.load_custom(spec)
    for network in networks_of(vae):
        network.to(setting.device, DTYPES[setting.protocol.dtype]).eval().requires_grad_(False)
    return Custom(spec, vae, setting, source)


def evaluate(
    model: str | VideoVAE,
    data: str = "sample",
    metrics: Sequence[str] = ("psnr", "ssim", "lpips"),
    protocol: EvalProtocol | str = "cvvae-2405",
    *,
    limit: int | None = None,
    device: str = "auto",
) -> RunRecord:
    """Measure one model, by name or any object with `encode` and `decode`, on one data set.

    Nothing is printed and nothing written but cached rows; small enough to call from a training loop: the model
    stays where it is and is put back into training mode.
    Raises UsageError and UnknownName for a wrong request, MissingWeights when the model's weights are not there.
    """
    chosen = named_protocol(protocol) if isinstance(protocol, str) else protocol
    config = load_config(Path.cwd(), DATASETS)
    names = (model,) if isinstance(model, str) else (type(model).__name__,)
    request = Request(
        names, (data,), tuple(metrics), chosen, limit=limit, device=device, roots=config.data, weights=config.weights
    )
    if isinstance(model, str):
        return _one(request, None)
    networks = networks_of(model)
    training = [network.training for network in networks]
    try:
        for network in networks:
            network.eval()
        return _one(request, model)
    finally:
        for network, mode in zip(networks, training, strict=True):
            network.train(mode)


def _one(request: Request, model: VideoVAE | None) -> RunRecord:
    """Run a request of one model, given by name or as an object, on one data set."""
    held = next((p.device for n in networks_of(model) for p in n.parameters()), None) if model is not None else None
    device = held if held is not None and request.device == "auto" else pick_device(request.device)
    setting = Setting(request.protocol, device, request.weights)
    contender = enlist(request.models[0], setting) if model is None else Custom(request.models[0], model, setting)
    dataset = open_dataset(request.data[0], request.roots, request.limit, request.protocol.reader)
    probes = Probes(resolve_metrics(request.metrics, request.protocol), device, request.weights)
    return Evaluation(request, dataset, [contender], probes, RowStore(), silent).records()[0]
