"""Balance delays: when each node answers, and the delays that make the branches of every join meet."""

from __future__ import annotations

from snn2hw import ir


def balance_delays(graph: ir.Graph, *, timesteps: int) -> ir.Schedule:
    """The schedule of a graph: a synapse takes one cycle, everything else none (docs/program.md, Time).

    Every state is reset in the cycle in which the node answers the first step of a sample.
    """
    latency: dict[str, int] = {}
    delays: dict[str, tuple[int, ...]] = {}
    for node in graph:
        arrival = max((latency[source] for source in node.inputs), default=0)
        delays[node.name] = tuple(arrival - latency[source] for source in node.inputs)
        latency[node.name] = arrival + (1 if ir.is_synapse(node) else 0)
    stateful = [node.name for node in graph if ir.has_state(node)]
    return ir.Schedule(
        timesteps=timesteps,
        latency=latency,
        delays=delays,
        reset_offset={name: (latency[name] + 1) % timesteps for name in stateful},
    )
