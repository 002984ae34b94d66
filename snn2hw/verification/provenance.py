"""Which model a bundle was made from, and whether it is still the same."""

from __future__ import annotations

from snn2hw.errors import ModelError, Snn2hwError
from snn2hw.exporters.bundle import Bundle
from snn2hw.files import sha256
from snn2hw.frontends.options import ModelOptions
from snn2hw.frontends.source import LoadedModel, is_in_memory, load_model
from snn2hw.network.nir_file import same_network


def model_of(
    bundle: Bundle, model: str | None, weights: str | None, trust_pickle: bool
) -> tuple[LoadedModel | None, str]:
    """The model a bundle came from, or None and why it cannot be had. `model` and `weights` are where it is now.

    A bundle that says that its model's file is to be trusted is not believed: that is for `trust_pickle`. What was
    converted or taken for granted is in the model's notes, for the caller to tell.
    """
    source = bundle.manifest["source"]
    exported_with = source["options"]
    named = model is not None or weights is not None
    if not named and is_in_memory(source["model"]):
        return None, "it was compiled from a model in memory: hand that in, as in snn2hw.load(PATH, net=MODEL)"
    name, weights = model or source["model"], weights or exported_with.get("weights")
    if not named and (file := bundle.source_file) is not None:
        what, option = ("model", "--model") if weights is None else ("weights file", "--weights")
        if not file.is_file():
            return None, f"the {what} {source['file']} is no longer there; name it with {option}"
        if sha256(file) != source["sha256"]:
            return None, f"the {what} {source['file']} was changed after the export; name the old one with {option}"
        name, weights = (str(file), None) if weights is None else (name, str(file))
    if exported_with.get("trust_pickle") and not trust_pickle and not named:
        return (
            None,
            "the model's file runs code when it is loaded; if you trust its maker, allow it with --trust-pickle",
        )
    options = ModelOptions(
        weights=weights,
        input_shape=tuple(exported_with["input_shape"]),
        timesteps=int(exported_with["timesteps"]),
        arch=exported_with.get("arch"),
        connect=exported_with.get("connect"),
        iand_order=exported_with.get("iand_order"),
        neuron=exported_with.get("neuron"),
        trust_pickle=trust_pickle,
        dt=exported_with.get("dt"),
        time=exported_with.get("time"),
    )
    try:
        loaded = load_model(name, options)
    except Snn2hwError as error:
        if named:
            raise
        return None, f"the model cannot be loaded: {error}"
    if not same_network(loaded.network, bundle.network):
        if named:
            raise ModelError(
                f"{weights or name}: its weights are not those that the bundle was made from. Name that model, or "
                "export this one."
            )
        return None, "the model now has other weights than at the export; name a weights file when exporting"
    return loaded, ""
