"""A script for another process: a network of neurons and connections in SANA-FE, without snn2hw.

python in_sanafe.py net.json result.json      Each group of neurons sits on a core of Loihi 1, as its loihi.yaml has it.
"""

import json
import sys

import sanafe

given, output = sys.argv[1:]
with open(given) as file:
    net = json.load(file)
architecture = sanafe.load_loihi()
cores = architecture.cores()
network = sanafe.Network()
groups = {}
for group in net["groups"]:
    group_of_neurons = network.create_neuron_group(
        group["name"], group["size"], log_spikes=True, default_synapse_hw_name=group["synapses"]
    )
    for index in range(group["size"]):
        neuron = group_of_neurons[index]
        if "spikes" in group:
            train = [bool(step) for step in group["spikes"][index]]
            neuron.set_attributes(soma_hw_name=f"loihi_inputs[{index}]", model_attributes={"spikes": train})
        else:
            attributes = {"threshold": float(group["threshold"][index]), "bias": float(group["bias"][index])}
            rest = {"reset": 0.0, "reset_mode": "hard", "leak_decay": 0.0}
            neuron.set_attributes(soma_hw_name="loihi_lif", model_attributes=attributes | rest)
        neuron.map_to_core(cores[group["core"]])
    groups[group["name"]] = group_of_neurons
for source, target, edges in net["connections"]:
    pairs = [(a, b) for a, b, _ in edges]
    groups[source].connect_neurons_sparse(groups[target], {"weight": [float(w) for _, _, w in edges]}, pairs)
chip = sanafe.SpikingChip(architecture)
chip.load(network)
totals = chip.sim(net["steps"])
printed = {key: totals[key] for key in ("energy", "spikes", "packets_sent", "neurons_updated", "neurons_fired")}
with open(output, "w") as file:
    json.dump(printed, file)
