"""Spaces whose hyperbolicity is known, beside which a relative δ can be read.

    sphere            points of S², by great circles: as far from a tree as a space gets
    random graph      N points, 2 N edges at random (Erdős and Rényi), its largest component
    clustered graph   links by attraction and closed triangles (Holme and Kim, arXiv
                      cond-mat/0110452): a citation graph such as PubMed's
    scale-free tree   each point linked to one before it, by attraction (Barabási and Albert,
                      arXiv cond-mat/9910332)
    tree              any labelled tree, as likely as any other: δ = 0

HypLoRA's table (arXiv 2410.04010) sets its clouds beside such spaces without saying how many points
they have; here they have as many as the clouds. Graphs are measured by their shortest paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import networkx as nx
import torch
from scipy.sparse.csgraph import shortest_path

from rlpeft.analysis.hyperbolicity import Figure, delta_from_base, relative, sampled_delta

SPACES = ("sphere", "random graph", "clustered graph", "scale-free tree", "tree")

LEAST = 4
"""Points that the condition on four of them needs."""


def reference_figures(
    sizes: Sequence[int], *, num_samples: int = 20_000, seed: int = 0
) -> dict[str, Figure]:
    """Relative δ of every space, drawn once for each size; of a random graph the largest component.

    Args:
        sizes: numbers of points, 4 at least, as those of the clouds that are compared.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SPACES}
    for size in sizes:
        for name in SPACES:
            table_NN = _DRAWN[name](max(size, LEAST), generator)
            sampled = sampled_delta(table_NN, num_samples, generator=generator)
            pair = (relative(delta_from_base(table_NN), table_NN), relative(sampled, table_NN))
            found[name].append(pair)
    return {
        name: Figure(tuple(base for base, _ in values), tuple(s for _, s in values))
        for name, values in found.items()
    }


def _sphere(size: int, generator: torch.Generator) -> torch.Tensor:
    points_N3 = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    points_N3 = points_N3 / points_N3.norm(dim=-1, keepdim=True)
    angles_NN = (points_N3 @ points_N3.T).clamp(-1, 1).acos()
    return angles_NN.fill_diagonal_(0)


def _paths(graph: nx.Graph) -> torch.Tensor:
    """Shortest paths [N, N] in the largest component, float64."""
    component = graph.subgraph(max(nx.connected_components(graph), key=len))
    return torch.from_numpy(shortest_path(nx.to_scipy_sparse_array(component), unweighted=True))


def _of_graph(
    draw: Callable[[int, int], nx.Graph],
) -> Callable[[int, torch.Generator], torch.Tensor]:
    """Distances in a graph of so many points, which is drawn by a seed."""

    def table(size: int, generator: torch.Generator) -> torch.Tensor:
        seed = int(torch.randint(2**31, (), generator=generator))
        return _paths(draw(size, seed))

    return table


_DRAWN: dict[str, Callable[[int, torch.Generator], torch.Tensor]] = {
    "sphere": _sphere,
    "random graph": _of_graph(lambda n, seed: nx.gnm_random_graph(n, 2 * n, seed=seed)),
    "clustered graph": _of_graph(lambda n, seed: nx.powerlaw_cluster_graph(n, 2, 0.5, seed=seed)),
    "scale-free tree": _of_graph(lambda n, seed: nx.barabasi_albert_graph(n, 1, seed=seed)),
    "tree": _of_graph(lambda n, seed: nx.random_labeled_tree(n, seed=seed)),
}
