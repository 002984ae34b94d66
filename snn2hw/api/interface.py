"""check, compile and load: how a deployment begins in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snn2hw import deployment
from snn2hw.api.advice import advised_in_python
from snn2hw.api.compiling import Net, compile_loaded, load_net, uncalibrated
from snn2hw.api.deployment import Deployment
from snn2hw.api.reading import SamplesLike, read_once, shape_in
from snn2hw.api.results import Check
from snn2hw.api.talk import InPython
from snn2hw.errors import Blocker, ModelError, QuantisationError, UnsupportedError
from snn2hw.exporters.bundle import Bundle, read_bundle
from snn2hw.exporters.export import blockers_of, choose
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel
from snn2hw.frontends.torch.time_in import TimeIn
from snn2hw.network.nir_file import same_network
from snn2hw.passes.calibrate import CALIBRATION_SAMPLES
from snn2hw.pipeline import Options
from snn2hw.targets import DEFAULT_CHIP
from snn2hw.verification.provenance import model_of

DEFAULT_TARGET = "lava"


@advised_in_python
def check(
    net: Net | Path,
    example: SamplesLike | None = None,
    *,
    timesteps: int | None = None,
    target: str = DEFAULT_TARGET,
    chip: str = DEFAULT_CHIP,
    input_shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    arch: str | None = None,
    connect: str | None = None,
    iand_order: str | None = None,
    neuron: str | None = None,
    trust_pickle: bool = False,
    dt: float | None = None,
    time: TimeIn | None = None,
) -> Check:
    """Find everything that keeps a model from being deployed: each with its layer, what is wrong, and what to do.

    Args:
        net: a module, a NIR graph, a file (.pt, .pth, .nir), "package.module:factory" or "file.py:factory".
        example: samples [N, *shape] or [N, T, *shape] that show the shape of the input; `input_shape` does too.
        timesteps: time steps a sample, 1 unless given: nothing of the structure hangs on it.
        target, chip: what it is to be deployed to.
    The other arguments are those of `compile`. Your module stays as it is.
    """
    options = _options(timesteps, input_shape, weights, arch, connect, iand_order, neuron, trust_pickle, dt, time)
    chosen, name = choose(target), _name(net)
    blockers: Sequence[Blocker] = ()
    loaded: LoadedModel | None = None
    try:
        loaded = load_net(_net(net), options, _shape(example, timesteps), InPython(), default_timesteps=1)
        blockers = blockers_of(uncalibrated(loaded, chip), [chosen])
    except (UnsupportedError, QuantisationError) as error:
        blockers = error.blockers
    conventions = {} if loaded is None else loaded.conventions
    return Check(model=name, target=target, blockers=tuple(blockers), conventions=conventions)


@advised_in_python
def compile(
    net: Net | Path,
    samples: SamplesLike | None = None,
    *,
    timesteps: int | None = None,
    target: str | Sequence[str] = DEFAULT_TARGET,
    chip: str = DEFAULT_CHIP,
    weight_bits: int = 8,
    layer_bits: Mapping[str, int] | None = None,
    input_bits: int = 8,
    method: str = "max",
    input_shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    arch: str | None = None,
    connect: str | None = None,
    iand_order: str | None = None,
    neuron: str | None = None,
    trust_pickle: bool = False,
    dt: float | None = None,
    time: TimeIn | None = None,
    progress: bool | None = None,
) -> Deployment:
    """Compile a model to integers. Your module stays as it is: its mode, device, dtypes, hooks and parameters.

    Args:
        net: a module, a NIR graph, a file (.pt, .pth, .nir), "package.module:factory" or "file.py:factory".
        samples: what the ranges are calibrated on: x [N, *shape], shown at every step, or [N, T, *shape], as a tensor
            or array; (x, y); a Dataset or DataLoader; the name of a file or set. None: what the file was trained on.
        timesteps: time steps a sample, T, where neither the samples nor the file say it.
        target: the back ends that `verify` requires and `export` writes.
        chip: the chip whose arithmetic the program keeps to.
        weight_bits, input_bits: bits of the weights and of the graded input, 2 to 8.
        layer_bits: bits of the weights of single layers, by name, where they have others.
        method: how the weights' scales are chosen: "max", "percentile", "mse" or "balanced".
        input_shape: of one step of one sample, where the samples leave it open.
        weights: a file of weights for a factory.
        arch, connect, iand_order, neuron: for files that hold weights alone.
        trust_pickle: let the file run code while it is loaded: only for files whose maker you trust.
        dt: the time step of a NIR graph in seconds.
        time: how the module takes time, where that is not found out: "step", "first", "second" or "inside".
        progress: whether bars are shown; None: on a terminal and in a notebook.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    for name in targets:
        choose(name)
    talk = InPython(progress)
    options = _options(timesteps, input_shape, weights, arch, connect, iand_order, neuron, trust_pickle, dt, time)
    if samples is not None:
        samples = read_once(samples, CALIBRATION_SAMPLES)
    loaded = load_net(_net(net), options, _shape(samples, timesteps), talk)
    how = Options(
        timesteps=loaded.timesteps,
        weight_bits=weight_bits,
        layer_bits=layer_bits or {},
        input_bits=input_bits,
        method=method,
        chip=chip,
    )
    return Deployment(compiled=compile_loaded(loaded, samples, how, talk), loaded=loaded, targets=targets)


@advised_in_python
def load(
    path: str | Path,
    *,
    net: Net | Path | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
) -> Deployment:
    """Read a bundle that `export` wrote.

    Args:
        path: the bundle's folder. Every file of it is checked.
        net: the model it was made from, where that was a module in memory or is no longer where it was.
        weights: a file of weights for a factory, where it is no longer where it was.
        trust_pickle: let the model's file run code while it is loaded.
    Raises BundleError if the bundle is incomplete or was changed, ModelError if `net` is another model.
    """
    bundle = read_bundle(Path(path))
    file = None if weights is None else str(weights)
    if net is None or isinstance(net, (str, Path)):
        loaded, missing = model_of(bundle, None if net is None else str(net), file, trust_pickle)
    else:
        loaded, missing = _same_as(bundle, net), ""
    source = bundle.manifest["source"]
    place = bundle.source_file
    compiled = deployment.Deployment(
        program=bundle.program,
        network=bundle.network,
        network_check=deployment.NetworkCheck(**bundle.manifest["network_vs_torch"]),
        source=deployment.Source(
            model=source["model"],
            file=None if place is None else str(place),
            sha256=source["sha256"],
            options=source["options"],
        ),
        calibrated_on=bundle.manifest["calibration"]["data"],
        calibration_samples=bundle.manifest["calibration"]["samples"],
        conventions={
            name: deployment.Convention(**convention) for name, convention in bundle.manifest["conventions"].items()
        },
        bits=bundle.bits,
    )
    return Deployment(compiled=compiled, loaded=loaded, missing=missing, bundle=bundle, targets=tuple(bundle.backends))


def _same_as(bundle: Bundle, net: Net) -> LoadedModel:
    """A model in memory, which must be the one that the bundle was made from."""
    said = bundle.manifest["source"]["options"]
    options = ModelOptions(
        input_shape=tuple(said["input_shape"]),
        timesteps=int(said["timesteps"]),
        dt=said.get("dt"),
        time=said.get("time"),
    )
    loaded = load_net(net, options, None, InPython())
    if not same_network(loaded.network, bundle.network):
        raise ModelError(
            f"{loaded.source.model}: its weights are not those that {bundle.path} was made from. Hand in that model, "
            "or compile this one."
        )
    return loaded


def _options(
    timesteps: int | None,
    input_shape: Sequence[int] | None,
    weights: str | Path | None,
    arch: str | None,
    connect: str | None,
    iand_order: str | None,
    neuron: str | None,
    trust_pickle: bool,
    dt: float | None,
    time: TimeIn | None,
) -> ModelOptions:
    return ModelOptions(
        weights=None if weights is None else str(weights),
        input_shape=None if input_shape is None else tuple(int(size) for size in input_shape),
        timesteps=timesteps,
        arch=arch,
        connect=connect,
        iand_order=iand_order,
        neuron=neuron,
        trust_pickle=trust_pickle,
        dt=dt,
        time=time,
    )


def _net(net: Net | Path) -> Net:
    return str(net) if isinstance(net, Path) else net


def _name(net: Net | Path) -> str:
    return str(net) if isinstance(net, (str, Path)) else type(net).__name__


def _shape(samples: SamplesLike | None, timesteps: int | None) -> tuple[int, ...] | None:
    return None if samples is None else shape_in(samples, timesteps, "train")
