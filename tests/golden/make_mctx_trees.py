"""Writes mctx_trees.json: search trees grown by DeepMind's mctx over small table worlds.

    python3.11 -m venv /tmp/mx && /tmp/mx/bin/pip install mctx==0.0.71
    /tmp/mx/bin/python tests/golden/make_mctx_trees.py

mctx is no dependency of ours: it runs here, by hand, and `tests/core/search/test_golden.py` reads
the file. Numbers are 64-bit floats, as in our trees. Tables are dyadic fractions, so that none is
rounded; no two actions of a state have the same prior, so that nothing ties.
Axes: B roots, S states, N = num_simulations + 1 nodes, A actions.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import mctx  # noqa: E402
import numpy as np  # noqa: E402
from mctx._src import qtransforms  # noqa: E402

OUT = Path(__file__).with_name("mctx_trees.json")
NUM_STATES, DISCOUNT = 12, 0.97
C_VISIT, C_SCALE = 50.0, 0.1  # mctx calls them maxvisit_init and value_scale
PB_C_INIT, PB_C_BASE = 1.25, 19652.0
DELTA = 0.01
WIDE = 1000.0  # a spread that no tree here reaches
TRAP = -24.0  # reward of the trap world's first choice at a root, below every other Q

Json = dict[str, Any]


class Tables(NamedTuple):
    """A world."""

    next_state: jax.Array  # [S, A] i64
    reward: jax.Array  # [S, A] f64
    prior: jax.Array  # [S, A] f64
    value: jax.Array  # [S] f64


def draw_world(rng: np.random.Generator, num_actions: int, *, trap: bool) -> Json:
    """Tables of whole numbers: rewards and values in 64ths, priors in 1024ths."""
    size = (NUM_STATES, num_actions)
    world = {
        "next_state": rng.integers(NUM_STATES, size=size),
        "reward": rng.integers(-128, 129, size=size),
        "prior": np.stack([distinct_prior(rng, num_actions) for _ in range(NUM_STATES)]),
        "value": rng.integers(-256, 257, size=NUM_STATES),
    }
    if trap:
        rows = np.arange(NUM_STATES)
        world["reward"][rows, world["prior"].argmax(axis=1)] = TRAP * 64
        # Only the roots (states 0 and 1) have the trap, and nothing leads back to them.
        world["reward"][2:] = rng.integers(-128, 129, size=(NUM_STATES - 2, num_actions))
        world["next_state"] = rng.integers(2, NUM_STATES, size=size)
    return {name: table.tolist() for name, table in world.items()}


def distinct_prior(rng: np.random.Generator, num_actions: int) -> np.ndarray:
    """A whole numbers that differ, are at least 1 and have the sum 1024."""
    while True:
        cuts = np.sort(rng.choice(np.arange(1, 1024), num_actions - 1, replace=False))
        parts = np.diff(np.concatenate(([0], cuts, [1024])))
        if len(set(parts.tolist())) == num_actions:
            return parts


def read_world(world: Json) -> Tables:
    """The same as fractions."""
    return Tables(
        jnp.array(world["next_state"]),
        jnp.array(world["reward"]) / 64.0,
        jnp.array(world["prior"]) / 1024.0,
        jnp.array(world["value"]) / 64.0,
    )


def curve(total: jax.Array, curved: bool) -> jax.Array:
    """What a value-prefix head says of a sum of rewards: off by a bend, as learned ones are.

    With the bend an edge's reward depends on where the sum last started anew.
    """
    return total + total * total / 16 if curved else total


def imagine(horizon: int, curved: bool) -> Callable[..., Any]:
    """One step of a world, with prefix and depth in the embedding and the edge's difference out."""

    def step(tables: Tables, _: Any, action: jax.Array, embedding: Any) -> Any:
        state, total, prefix, depth = embedding
        total, depth = total + tables.reward[state, action], depth + 1
        state, said = tables.next_state[state, action], curve(total, curved)
        starts_anew = depth % horizon == 0
        out = mctx.RecurrentFnOutput(
            reward=said - prefix,
            discount=jnp.full_like(said, DISCOUNT),
            prior_logits=jnp.log(tables.prior[state]),
            value=tables.value[state],
        )
        kept = (jnp.where(starts_anew, 0.0, total), jnp.where(starts_anew, 0.0, said))
        return out, (state, *kept, depth)

    return step


def edges(tree: mctx.Tree) -> tuple[jax.Array, jax.Array]:
    """Q [N, A] of one tree's edges, and which of them exist [N, A] bool."""
    q = tree.children_rewards + tree.children_discounts * tree.children_values
    return q, tree.children_visits > 0


def tree_normalised(q: jax.Array, tree: mctx.Tree) -> jax.Array:
    """rllib_ez's norm: by the bounds of all edges of the tree, with a floor; 0 without edges."""
    every, exists = edges(tree)
    lowest = jnp.min(jnp.where(exists, every, jnp.inf))
    highest = jnp.max(jnp.where(exists, every, -jnp.inf))
    norm = jnp.clip((q - lowest) / jnp.maximum(highest - lowest, DELTA), 0.0, 1.0)
    return jnp.where(exists.any(), norm, 0.0)


def completed_q(tree: mctx.Tree, node: jax.Array) -> jax.Array:
    """[A]: Q, or mctx's own mixed value where there is no edge."""
    q, visits = tree.qvalues(node), tree.children_visits[node]
    prior = jax.nn.softmax(tree.children_prior_logits[node])
    mixed = qtransforms._compute_mixed_value(
        tree.raw_values[node], qvalues=q, visit_counts=visits, prior_probs=prior
    )
    return qtransforms._complete_qvalues(q, visit_counts=visits, value=mixed)


def gumbel_transform(tree: mctx.Tree, node: jax.Array) -> jax.Array:
    """mctx's completed Q with rllib_ez's norm."""
    factor = (C_VISIT + jnp.max(tree.children_visits[node])) * C_SCALE
    return factor * tree_normalised(completed_q(tree, node), tree)


def untouched_transform(tree: mctx.Tree, node: jax.Array) -> jax.Array:
    """mctx's own, and the proof that rllib_ez's clipping from below would change nothing."""
    every, exists = edges(tree)
    lowest = jnp.min(jnp.where(exists, every, jnp.inf))
    # A node without edges has one completed Q for all its actions: clipped or not, they are equal.
    bites = exists[node].any() & (completed_q(tree, node) < lowest).any()
    jax.debug.callback(refuse_clipping, bites)
    return mctx.qtransform_completed_by_mix_value(
        tree, node, value_scale=C_SCALE, maxvisit_init=C_VISIT, rescale_values=False
    )


def refuse_clipping(bites: Any) -> None:
    """Stops the generator."""
    assert not np.any(bites), "a completed Q lies below every edge of the tree"


def puct_transform(tree: mctx.Tree, node: jax.Array) -> jax.Array:
    """rllib_ez's mean-Q rule for edges not there yet, and its norm."""
    every, exists = edges(tree)
    total, count = jnp.sum(jnp.where(exists, every, 0.0), axis=1), exists.sum(axis=1)

    def pass_down(i: jax.Array, estimate: jax.Array) -> jax.Array:
        mean = (estimate[tree.parents[i]] + total[i]) / (1 + count[i])
        return estimate.at[i].set(mean)

    at_root = jnp.where(count[0] > 0, total[0] / jnp.maximum(count[0], 1), 0.0)
    start = jnp.zeros(len(count)).at[0].set(at_root)
    estimate = jax.lax.fori_loop(1, len(count), pass_down, start)
    q = jnp.where(exists[node], every[node], estimate[node])
    return tree_normalised(q, tree)


def grow(world: Json, case: Json) -> Json:
    """Runs mctx on one case: what it concluded, and its trees."""
    tables, states = read_world(world), jnp.array(case["roots"])
    zeros = jnp.zeros(len(states))
    arguments: Json = {
        "params": tables,
        "rng_key": jax.random.PRNGKey(case["seed"]),
        "root": mctx.RootFnOutput(
            prior_logits=jnp.log(tables.prior[states]),
            value=tables.value[states],
            embedding=(states, zeros, zeros, jnp.zeros(len(states), jnp.int64)),
        ),
        "recurrent_fn": imagine(case["lstm_horizon"], case["curved"]),
        "num_simulations": case["num_simulations"],
        "invalid_actions": 1.0 - jnp.array(case["legal"], jnp.float64),
    }
    if case["method"] == "puct":
        own: Json = {"pb_c_init": PB_C_INIT, "pb_c_base": PB_C_BASE, "dirichlet_fraction": 0.0}
        out = mctx.muzero_policy(**arguments, **own, qtransform=puct_transform)
        return {"policy": numbers(out.action_weights), **trees(out.search_tree)}
    out = mctx.gumbel_muzero_policy(
        **arguments,
        qtransform=untouched_transform if case["untouched"] else gumbel_transform,
        max_num_considered_actions=case["max_considered_actions"],
        gumbel_scale=case["noise_scale"],
    )
    jax.effects_barrier()
    return {
        "noise": numbers(out.search_tree.extra_data.root_gumbel, digits=17),
        "action": out.action.tolist(),
        "policy": numbers(out.action_weights),
        **trees(out.search_tree),
    }


def trees(tree: mctx.Tree) -> Json:
    """B trees: parent and action of each node [B, N - 1], visits and mean values [B, N]."""
    return {
        "root_visits": tree.children_visits[:, 0].tolist(),
        "parent": tree.parents[:, 1:].tolist(),
        "action_from_parent": tree.action_from_parent[:, 1:].tolist(),
        "visits": tree.node_visits.tolist(),
        "value": numbers(tree.node_values),
    }


def numbers(values: jax.Array, digits: int = 9) -> Any:
    """Nested lists with so many digits."""
    rounded = np.vectorize(lambda x: float(f"{x:.{digits}g}"), otypes=[float])
    return rounded(np.asarray(values)).tolist()


def cases() -> Iterator[Json]:
    """Every case; `set` is what it is compared under, `world` names its tables."""
    sizes = list(itertools.product((2, 3, 6), (4, 16, 50)))
    for size, masked, most in itertools.product(sizes, (False, True), (4, 16)):
        yield case_of("gumbel", size, masked=masked, max_considered_actions=most)
        yield case_of(
            "gumbel_noise", size, masked=masked, max_considered_actions=most, noise_scale=1.0
        )
    for size in sizes:
        yield case_of(
            "gumbel_untouched", size, kind="trap", untouched=True,
            min_max_delta=WIDE, gumbel_c_scale=C_SCALE * WIDE,
        )  # fmt: skip
        yield case_of("puct", size, method="puct")
        yield case_of("puct", size, method="puct", masked=True)
    for size, horizon in itertools.product([(2, 50), (3, 16), (6, 50)], (2, 5)):
        bent: Json = {"curved": True, "lstm_horizon": horizon}
        yield case_of("gumbel_value_prefix", size, noise_scale=1.0, **bent)
        yield case_of("puct_value_prefix", size, method="puct", **bent)


def case_of(
    name: str, size: tuple[int, int], *, kind: str = "random", masked: bool = False, **settings: Any
) -> Json:
    """One case. Masked, the first root lacks an action and the second has one only."""
    actions, simulations = size
    legal = np.ones((2, actions), int)
    if masked:
        legal[0, actions // 2] = 0
        legal[1, 1:] = 0
    usual = {
        "method": "gumbel",
        "untouched": False,
        "curved": False,
        "lstm_horizon": 1,
        "num_simulations": simulations,
        "max_considered_actions": 16,
        "noise_scale": 0.0,
        "min_max_delta": DELTA,
        "gumbel_c_scale": C_SCALE,
        "roots": [0, 1],
        "legal": legal.tolist(),
        "seed": actions * 1000 + simulations,
    }
    return {"set": name, "world": f"{kind}{actions}", **usual, **settings}


def main() -> None:
    """Draws the worlds, grows the trees, writes the file."""
    rng = np.random.default_rng(20261122)
    worlds = {
        f"{kind}{actions}": draw_world(rng, actions, trap=kind == "trap")
        for kind, actions in itertools.product(("random", "trap"), (2, 3, 6))
    }
    grown = []
    for case in cases():
        grown.append({**case, "mctx": grow(worlds[case["world"]], case)})
        print(case["set"], case["world"], case["num_simulations"], flush=True)
    shared = {"discount": DISCOUNT, "gumbel_c_visit": C_VISIT}
    shared |= {"pb_c_init": PB_C_INIT, "pb_c_base": PB_C_BASE}
    made_by = f"mctx {version('mctx')}, jax {version('jax')}, 64-bit"
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in grown)
    head = json.dumps({"made_by": made_by, "shared": shared, "worlds": worlds})
    OUT.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(grown)} cases, {OUT.stat().st_size / 1000:.0f} kB in {OUT}")


if __name__ == "__main__":
    main()
