"""Tracing a model with torch.fx: spiking neurons are leaves, everything else is inlined down to torch's own layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nir
import torch
from torch import Tensor, fx, nn

from snn2hw.data.aliases import Shape
from snn2hw.errors import Blocker, DataError, ModelError, Snn2hwError, UnsupportedError
from snn2hw.frontends.checkpoints.checkpoint import check_finite
from snn2hw.frontends.neurons import is_multi_step, is_spiking_neuron, reset_state
from snn2hw.frontends.neurons.against_rule import check_neurons_against_rules
from snn2hw.frontends.torch.call import Kernel
from snn2hw.frontends.torch.copies import copy_of
from snn2hw.frontends.torch.functional import use_layers
from snn2hw.frontends.torch.layers import is_layer
from snn2hw.frontends.torch.lower import Lowering
from snn2hw.frontends.torch.prepare import Place, neurons_without_state, optional_arguments, prepare
from snn2hw.frontends.torch.user_model import UserModel
from snn2hw.network.heads import leaves

_PROBE_STEPS, _PROBE_SAMPLES = 2, 1  # different, so that a value without time can be told from one with it


@dataclass(frozen=True, eq=False)
class Traced:
    """A model, its NIR graph, and where each spiking NIR node is computed in the model.

    module: the traced model; its submodules are the user's own. origin: NIR node name -> name of the fx node that
    computes the same spikes. layers: paths of the modules whose parameters a NIR node of the same name holds. norms:
    path of a layer -> path of the BatchNorm2d folded into it. kernels: path of a convolution -> where its own kernel
    lies in the larger one of its NIR node, rows and columns. dtype: the model's arithmetic. user_model: the module
    that was traced, as it was.
    """

    module: fx.GraphModule
    network: nir.NIRGraph
    origin: dict[str, str]
    layers: frozenset[str]
    norms: dict[str, str]
    kernels: dict[str, Kernel]
    input_shape: Shape
    multi_step: bool
    dtype: torch.dtype
    user_model: UserModel

    def run(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Run the model on x [T, N, *input shape]; yield per step what each node in `origin` emits, and "logits".

        The model starts from its initial state. Logits are the model's output of the step, [N, K]; of several heads,
        one behind the other.
        """
        reset_state(self.module)
        with torch.no_grad():
            if self.multi_step:
                yield from self._run_multi_step(x)
            else:
                for frame in x:
                    recorder = _Recorder(self.module, self.dtype)
                    logits = _joined(self._heads(recorder.run(frame)))
                    yield {name: recorder.seen[fx_name] for name, fx_name in self.origin.items()} | {"logits": logits}
        reset_state(self.module)

    def _run_multi_step(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        recorder = _Recorder(self.module, self.dtype)
        heads = self._heads(recorder.run(x))
        for t in range(len(x)):
            step = {name: recorder.seen[fx_name][t] for name, fx_name in self.origin.items()}
            yield step | {"logits": _joined([head[t] if head.dim() == 3 else head for head in heads])}

    def _heads(self, returned: object) -> list[Tensor]:
        return [head.to(self.dtype) for _, head in leaves(returned)]


def _joined(heads: list[Tensor]) -> Tensor:
    return heads[0] if len(heads) == 1 else torch.cat(heads, dim=1)


def trace(model: nn.Module, input_shape: Shape, *, step_neurons: bool = True) -> Traced:
    """Trace a model and lower it to NIR.

    Args:
        model: any module made of the layers in layers.py, whose forward takes one step [N, *input_shape] (or,
            in SpikingJelly's multi-step mode, all steps [T, N, *input_shape]).
        input_shape: [C, H, W] or [K] of one step of one sample.
        step_neurons: run each neuron by itself beside the rule that was read from it (neuron-vs-rule); what traces one
            model again and again need not.
    Raises:
        UnsupportedError: with every construct that cannot be deployed, by layer path.
        ModelError: the model's code cannot be traced or does not accept the input shape.
    """
    multi_step = is_multi_step(model)
    check_finite(model.state_dict())
    module, heads = _trace_module(copy_of(model))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    leading = (_PROBE_STEPS, _PROBE_SAMPLES) if multi_step else (_PROBE_SAMPLES,)
    shapes = _shapes(module, torch.zeros(*leading, *input_shape, dtype=dtype), len(leading))
    lowering = Lowering(module, shapes, dtype=dtype)
    network = lowering.run(input_shape)
    state = lowering.state
    blockers = list(lowering.blockers)
    if step_neurons:
        modules = dict(model.named_modules())
        blockers += check_neurons_against_rules(
            {path: modules[path] for path in state.layers & modules.keys()}, network
        )
    if blockers:
        raise UnsupportedError(blockers)
    return Traced(
        module=module,
        network=network,
        origin=lowering.origin,
        layers=frozenset(state.layers),
        norms=state.norms,
        kernels=state.kernels,
        input_shape=input_shape,
        multi_step=multi_step,
        dtype=dtype,
        user_model=UserModel(
            module=model,
            neurons=tuple(path for path in sorted(state.layers) if is_spiking_neuron(module.get_submodule(path))),
            multi_step=multi_step,
            heads=heads,
        ),
    )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m) or super().is_leaf_module(m, module_qualified_name)


def _trace_module(model: nn.Module) -> tuple[fx.GraphModule, tuple[Place, ...]]:
    """The traced copy of a model, and where in what the model returns the logits of each head lie."""
    try:
        graph = _Tracer().trace(model, concrete_args=optional_arguments(model))
    except Exception as error:  # the user's own forward runs here: anything may be raised
        stateless = ", ".join(neurons_without_state(model))
        raise ModelError(
            f"{type(model).__name__}: its forward cannot be traced ({type(error).__name__}: {error}). snn2hw follows "
            "a forward without branches or loops that depend on the data; write one time step with neurons that keep "
            "their state (in snnTorch init_hidden=True; or use SpikingJelly's multi-step mode), and leave the loop "
            "over time to the caller." + (f" Here the caller keeps the state of {stateless}." if stateless else "")
        ) from error
    module = fx.GraphModule(model, graph)
    heads = prepare(module)
    _refuse_more_inputs(module)
    use_layers(module, model)
    return module, heads


def _refuse_more_inputs(module: fx.GraphModule) -> None:
    inputs = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    if len(inputs) > 1:
        advice = "Give all but the first a default value, or write a forward that takes the input alone"
        problem = f"the model's forward takes {len(inputs)} inputs: {', '.join(inputs)}"
        raise UnsupportedError([Blocker(layer=inputs[1], problem=problem, advice=advice)])


class _Recorder(fx.Interpreter):
    """Runs a traced model and keeps what every node returns.

    Every value is kept in the model's own arithmetic: snnTorch's surrogates return float32 whatever they are given.
    """

    def __init__(self, module: fx.GraphModule, dtype: torch.dtype) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.extra_traceback = False  # fx would append its own to the messages of our errors
        self.dtype = dtype
        self.seen: dict[str, Tensor] = {}
        self.at = ""

    def run_node(self, n: fx.Node) -> object:
        self.at = str(n.target) if n.op == "call_module" else ""
        result = super().run_node(n)
        if type(result) is tuple and result:
            result = tuple(self._cast(item) for item in result)
            first = result[0]
        else:
            result = first = self._cast(result)
        if isinstance(first, Tensor):
            self.seen[n.name] = first.clone()  # a later operation may change it in place
        return result

    def _cast(self, value: object) -> object:
        return value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _shapes(module: fx.GraphModule, sample: Tensor, leading_dims: int) -> dict[str, tuple[int, Shape]]:
    """For every traced value the number of leading dimensions (time, batch) and the shape behind them."""
    reset_state(module)
    recorder = _Recorder(module, sample.dtype)
    try:
        with torch.no_grad():
            recorder.run(sample)
    except Snn2hwError:
        raise
    except Exception as error:  # torch's and the user's own complaints about a shape
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        first = first.rstrip(".!")
        if recorder.at and isinstance(error, TypeError | AttributeError | NameError):
            kind = type(module.get_submodule(recorder.at)).__name__
            raise ModelError(
                f"{recorder.at}: this {kind} cannot be called ({type(error).__name__}: {first}). Build it so that the "
                "model runs by itself: with other arguments, or another surrogate function."
            ) from error
        raise DataError(
            f"the model does not accept an input of shape {list(sample.shape[leading_dims:])}: {first}. Give the "
            "shape of one step of one sample with --input-shape C,H,W."
        ) from error
    finally:
        reset_state(module)
    shapes: dict[str, tuple[int, Shape]] = {}
    for name, value in recorder.seen.items():
        if not value.dim():
            shapes[name] = 0, ()
            continue
        leading = 1 if leading_dims == 2 and value.shape[0] != _PROBE_STEPS else leading_dims
        shapes[name] = leading, tuple(value.shape[leading:])
    return shapes
