"""Forward learning of graph neural networks (ForwardGNN), ICLR 2024: all its methods.

Expected (`small`, CoraML, seeds 0 to 2): GCN with 1, 2, 3 and 4 layers, single-forward 87.9, 88.3,
88.3 and 88.1 %, backprop 33.6, 86.6, 87.9 and 87.1 %; all claims hold. `variants`, two layers
and 200 epochs each: single-forward 88.3 %, Top-To-Input 86.8, Top-To-Loss 82.8 as in the authors'
code and 87.5 with a normalised start, forward-forward 59.0 with appended labels, so that one of its
two claims fails, and 29.4 with virtual nodes, which is the majority class (29.3). Labels appended
to the features cost single-forward more than a point (86.6 and 86.4), one-way edges none (88.0).
10 minutes each on 2 cores.

    python -m experiments table forwardgnn --preset small
    python -m experiments table forwardgnn --preset variants

Single-forward, the main method, trains every layer of a graph network alone, greedily from below,
to tell the classes apart by the embeddings of one virtual node per class
(`rules/single_forward.py`, `procedures/layerwise.py`). The others: forward-forward with the label
appended to the features or shown as an edge to a virtual node (`rules/forward_forward_graph.py`),
single-forward with top-down signals in the input (`rules/top_down.py`) or in the loss
(`rules/top_to_loss.py`), single-forward with the known labels appended to the features of the first
layer or of all (`sf-label-input`, `sf-label-all`; an option of the authors' code) and with edges
that lead to the virtual nodes alone (`one way`), and prediction of links (`objectives/links.py`) by
cross-entropy or forward-forward per layer, with top-down signals, and by backprop. What each is
trained on is in `parts/forwardgnn_problems.py`; `majority` names the class that most training nodes
have.

Seed i uses the official split i of the nodes (5-fold, 64/16/20 %, `data/splits.py`); seeds beyond 4
take the splits in turn. Links are divided by the seed in the same shares, with one fixed negative
each. Weights are those of the step with the best validation score.

Deviations from the paper:
1. Weights are initialised by the same laws, from other random numbers.
2. Bag-of-words features are stored sparsely on CPU (`sparse_features`); values are the same.
3. Memory is what the compiler reserves rather than what an allocator saw, so it is exact and the
   same at every run, but not comparable in absolute terms with the paper's.
4. Links are divided by our own random numbers, and no negative comes twice: the published edge
   splits are not distributed.
5. `variants` has GCN with one and two layers and 200 epochs per layer instead of 1000, to be
   affordable; so has the row of single-forward that the others are compared with.
6. `paper` has CoraML and Amazon Photo of the five graphs, and CiteSeer and Cora as Planetoid
   distributes them: CitationFull's CiteSeer and the features of PubMed and GitHub were not at hand.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, get_args

from experiments.harness import (
    Bench,
    Experiment,
    Peer,
    Program,
    Row,
    Run,
    each_seed,
    main,
)
from experiments.parts.forwardgnn_claims import METRICS, claims, figure
from experiments.parts.forwardgnn_problems import (
    backprop_stages,
    measure,
    optimiser,
    pose,
    single_forward_stages,
)
from experiments.parts.rates import check_rates

CORA_ML = {"nodes": 2995, "edges": 16316, "features": 2879, "classes": 7, "train": 1916}


Variant = Literal[
    "ff-label-appending",
    "ff-virtual-nodes",
    "sf-top-to-input",
    "sf-top-to-loss",
    "link-ce",
    "link-ff",
    "link-ce-top-to-input",
    "link-backprop",
    "sf-label-input",
    "sf-label-all",
]
GraphName = Literal["cora_ml", "citeseer", "cora", "pubmed", "amazon_photo", "planted"]
Method = Literal["single-forward", "backprop", "majority", Variant]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    graph: a citation graph, "amazon_photo", or "planted", a made-up graph of 120 nodes that needs
        no file.
    other_graphs: graphs that a table has all rows of once more.
    depths: numbers of layers to report; methods that are greedy train the deepest and read off the
        others.
    other_depths: the same for the rows of SAGE and GAT of a table.
    variant_depths, variant_convolutions, variant_epochs: depths, convolutions and epochs of the
        rows of all methods but the first two.
    epochs, validate_every, patience: full-batch steps per layer at most (of the whole network for
        methods that are not greedy), steps between validations, and validations without
        improvement that end a layer.
    temperature: of single-forward's losses. theta: threshold of forward-forward.
    one_way: edges to virtual nodes lead from the real nodes alone.
    clip, unnormalised_start: of SF-Top-To-Loss, see `rules/top_to_loss.py`; the authors' code
        starts from unnormalised rows.
    """

    method: Method = "single-forward"
    convolution: Literal["gcn", "sage", "gat"] = "gcn"
    graph: GraphName = "cora_ml"
    other_graphs: tuple[GraphName, ...] = ()
    depths: tuple[int, ...] = (1, 2, 3, 4)
    other_depths: tuple[int, ...] = (1, 2, 3, 4)
    epochs: int = 1000
    validate_every: int = 2
    patience: int = 100
    width: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    temperature: float = 1.0
    sparse_features: bool = True
    variant_depths: tuple[int, ...] = (1, 2, 3, 4)
    variant_convolutions: tuple[Literal["gcn", "sage", "gat"], ...] = ("gcn", "sage", "gat")
    variant_epochs: int = 1000
    theta: float = 2.0
    one_way: bool = False
    clip: float = 1.0
    unnormalised_start: bool = True

    def __post_init__(self) -> None:
        check_rates(self)
        for name in ("depths", "other_depths", "variant_depths"):
            depths = getattr(self, name)
            if not depths or min(depths) < 1:
                raise ValueError(f"{name}={depths}; name at least one, each 1 or more")
        if self.clip <= 0:
            raise ValueError(f"clip={self.clip}; it has to be positive")
        for name in ("epochs", "variant_epochs", "validate_every", "patience", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it has to be 1 or more")


def read(config: Config) -> Any:
    """The graph of the config, features binary and divided by their row's sum."""
    from jaxlearn.data import load
    from jaxlearn.data.planted_graph import planted_graph

    if config.graph == "planted":
        return planted_graph()
    return load(config.graph, binary=True, row_normalize=True)


def train_one(config: Config, seed: int, run: Run) -> dict[str, float]:
    """Train on one split and score every depth on its test part."""
    import jax

    from jaxlearn.procedures.layerwise import layerwise, predict

    if config.method == "majority":
        return {f"accuracy_{l}": majority(read(config).labels, seed) for l in config.depths}
    feature_key, key = jax.random.split(jax.random.key(seed))
    problem = pose(config, read(config), seed, feature_key)
    measured: dict[str, float] = {}
    for depth in [max(config.depths)] if problem.greedy else config.depths:
        stages = problem.stages(depth)
        trained = layerwise(
            stages,
            optimiser(config, depth),
            key,
            problem.train,
            problem.validation,
            problem.score,
            steps=config.epochs,
            evaluate_every=config.validate_every,
            patience=config.patience,
            # several processes all train the same alone: a graph fits one device
            workdir=run.folder(seed) / f"depth-{depth}" if jax.process_count() == 1 else None,
            config={**dataclasses.asdict(config), "seed": seed},
            progress=run.progress,
        )
        for l in config.depths if problem.greedy else (depth,):
            below = l if problem.greedy else 1
            outputs = predict(stages[:below], trained[:below], problem.test)
            measured[f"{problem.metric}_{l}"] = measure(problem, outputs)
            measured[f"epochs_{l}"] = sum(stage.steps for stage in trained[:below])
    if config.convolution == "gcn" and config.method in ("single-forward", "backprop"):
        measured |= {
            f"step_mb_{l}": step_megabytes(config, problem.train, l) for l in config.depths
        }
    return measured


def majority(labels: Any, seed: int) -> float:
    """Test accuracy in percent of the most frequent class of the training nodes.

    >>> import numpy as np
    >>> majority(np.zeros(100, int), 0)
    100.0
    """
    import numpy as np

    from jaxlearn.data.splits import kfold_split

    split = kfold_split(len(labels), seed % 5)
    return 100 * float((labels[split.test] == np.bincount(labels[split.train]).argmax()).mean())


def step(config: Config, depth: int, classes: int) -> tuple[Any, Any]:
    """(rule, training step): of layer `depth` alone, or of the network of `depth` layers."""
    from jaxlearn.core import make_step

    if config.method == "single-forward":
        rule = single_forward_stages(config, depth)[-1].rule
    elif config.method != "backprop":
        raise ValueError(f"method={config.method!r}; compiled are single-forward and backprop")
    else:
        rule = backprop_stages(config, depth, classes)[0].rule
    return rule, make_step(rule, optimiser(config, depth))


def abstract(config: Config, batch: dict[str, Any], depth: int) -> Program:
    """The step for shapes alone; above the first layer the features are those of a layer."""
    import jax
    import jax.numpy as jnp

    from jaxlearn.core import make_state

    given = batch["context"]
    if config.method == "single-forward" and depth > 1:
        rows = jax.ShapeDtypeStruct((given["features"].shape[0], config.width), jnp.float32)
        batch = batch | {"context": given | {"features": rows}}
    shapes = jax.eval_shape(lambda batch: batch, batch)
    rule, run = step(config, depth, CORA_ML["classes"])
    make = lambda key, batch: make_state(rule, optimiser(config, depth), key, batch)
    return Program(run, jax.eval_shape(make, jax.random.key(0), shapes), shapes)


def step_megabytes(config: Config, batch: dict[str, Any], depth: int) -> float:
    """Temporaries and arguments of one compiled training step, in 10^6 bytes."""
    import jax

    made = abstract(config, batch, depth)
    memory: Any = jax.jit(made.step).lower(made.state, made.batch).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 1e6


def program(config: Config) -> Program:
    """The step of the last layer on CoraML, its training nodes padded to 2048 with weight 0."""
    import numpy as np

    from jaxlearn.data.node_batches import node_batch
    from jaxlearn.models.gnn import MATRICES

    virtual = config.method == "single-forward"
    nodes = CORA_ML["nodes"] + (CORA_ML["classes"] if virtual else 0)
    edges = CORA_ML["edges"] + (2 * CORA_ML["train"] if virtual else 0)
    ends = np.arange(edges) % nodes
    shared = {
        "features": np.zeros((nodes, CORA_ML["features"]), np.float32),
        "matrix": MATRICES[config.convolution](ends, ends[::-1], nodes),
        "virtual": np.arange(CORA_ML["classes"], dtype=np.int32),
    }
    ids, labels = np.arange(CORA_ML["train"]), np.zeros(nodes, np.int32)
    batch = node_batch(ids, labels, shared, multiple=2048)
    return abstract(config, batch, max(config.depths))


def bench() -> Bench:
    """A step of a two-layer network, or of its layer 2 alone, on a graph as large as CoraML."""
    from functools import partial

    import jax

    from experiments.peers import graph as geometric
    from jaxlearn.core import make_state, make_step
    from jaxlearn.data.planted_graph import planted_graph

    sizes = {name: CORA_ML[name] for name in ("nodes", "classes", "features")}
    graph, (key, *keys) = planted_graph(**sizes, degree=5.4), jax.random.split(jax.random.key(0), 3)
    programs: dict[str, Program] = {}
    peers: dict[str, Peer] = {}
    timed = [name for name in VARIANTS if name.startswith(("ff-", "sf-top"))]
    for method in ("backprop", *timed, "single-forward"):
        config = Config(method=method)
        problem = pose(config, graph, 0, key)
        batch, stages = jax.device_put(problem.train), problem.stages(2)
        if problem.greedy:
            params, state = stages[0].rule.init(keys[0], batch)
            above = jax.jit(stages[0].advance)(params, state, batch["context"])
            batch = batch | {"context": above}
        tx = optimiser(config, 2)
        state = make_state(stages[-1].rule, tx, keys[1], batch)
        programs[method] = Program(make_step(stages[-1].rule, tx), state, batch)
        if method in ("backprop", "single-forward"):
            own = {"rate": config.learning_rate, "decay": config.weight_decay}
            begin = partial(geometric.start, stages[-1].rule, programs[method], **own)
            peers[method] = Peer("torch_geometric", begin)
    return Bench(programs, peers)


PAPER = {
    "single-forward": {1: 87.75, 2: 87.95, 3: 88.15, 4: 88.48},
    "backprop": {1: 31.72, 2: 86.84, 3: 88.65, 4: 86.61},
}
"""CoraML, GCN, Table 3(e), mean over the 5 splits in percent."""


def rows(preset: Config) -> list[Row]:
    """The paper's method and backprop with each convolution, and the variants.

    SAGE and GAT have `other_depths`. A preset whose method is a variant has the variants alone,
    beside the first row. The names of the rows of `other_graphs` begin with the graph.
    """
    # a field that says nothing about a row is alike in both presets, so that they share their runs
    own = dataclasses.replace(preset, other_graphs=())
    made = [own_row(own, convolution, method) for convolution, method in MAIN]
    if preset.method in VARIANTS:
        made = made[:1]
    made += variant_rows(own)
    for graph in preset.other_graphs:
        more = rows(dataclasses.replace(own, graph=graph))
        made += [dataclasses.replace(row, name=f"{graph}: {row.name}") for row in more]
    return made


MAIN = tuple(product(("gcn", "sage", "gat"), ("single-forward", "backprop")))


def own_row(preset: Config, convolution: Any, method: Any) -> Row:
    """A row of `MAIN`, in which nothing is left of what the preset says about others."""
    depths = preset.depths if convolution == "gcn" else preset.other_depths
    config = dataclasses.replace(
        preset,
        method=method,
        convolution=convolution,
        depths=depths,
        other_depths=depths,
        variant_depths=depths,
        variant_convolutions=preset.variant_convolutions or ("gcn",),
        variant_epochs=preset.epochs,
    )
    known = PAPER[method] if convolution == "gcn" and preset.graph == "cora_ml" else {}
    published = {f"accuracy_{l}": value for l, value in known.items()}
    return Row(f"{method} {convolution}", config, published)


def variant_rows(preset: Config) -> list[Row]:
    """The other methods, and messages in one direction, with each of `variant_convolutions`.

    Beside them stands single-forward for as many epochs as they have.
    """
    depths, epochs = preset.variant_depths, preset.variant_epochs
    sizes: dict[str, Any] = {"depths": depths, "other_depths": depths, "epochs": epochs}
    of = partial(dataclasses.replace, preset, **sizes)
    named: dict[str, Any] = {}
    if epochs != preset.epochs:
        named["single-forward, same epochs"] = {"method": "single-forward"}
    named["single-forward, one way"] = {"method": "single-forward", "one_way": True}
    named |= {method: {"method": method} for method in VARIANTS}
    own_start = {"method": "sf-top-to-loss", "unnormalised_start": False}
    named["sf-top-to-loss, normalised start"] = own_start
    made = [
        Row(f"{name} {convolution}", of(convolution=convolution, **options))
        for convolution in preset.variant_convolutions
        for name, options in named.items()
    ]
    kept = preset.variant_convolutions or ("gcn",)
    return [*made, Row("majority", of(method="majority", variant_convolutions=kept))]


SMALL_VARIANTS = Config(
    method="ff-virtual-nodes",
    other_depths=(2,),
    variant_depths=(1, 2),
    variant_convolutions=("gcn",),
    variant_epochs=200,
)

EXPERIMENT = Experiment(
    slug="forwardgnn",
    title="Forward Learning of Graph Neural Networks",
    paper="Park, Wang, Simoulin, Yang, Yang, Rossi, Trivedi and Ahmed, ICLR 2024, arXiv 2403.11004",
    slots=("rule", "procedure"),
    Config=Config,
    presets={
        "smoke": Config(
            graph="planted",
            depths=(2,),
            other_depths=(1,),
            epochs=4,
            width=16,
            variant_depths=(1,),
            variant_convolutions=("gcn",),
            variant_epochs=4,
        ),
        "small": dataclasses.replace(
            SMALL_VARIANTS, method="single-forward", variant_convolutions=()
        ),
        "variants": SMALL_VARIANTS,
        "paper": Config(sparse_features=False, other_graphs=("citeseer", "cora", "amazon_photo")),
    },
    rows=rows,
    train=each_seed(train_one),
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=(
        "Weights are initialised by the same laws, from other random numbers.",
        "Bag-of-words features are stored sparsely on CPU; values are the same.",
        "Memory is what the compiler reserves, not what an allocator saw: exact, but not "
        "comparable in absolute terms with the paper's.",
        "Links are divided by our own random numbers, and no negative comes twice: the published "
        "edge splits are not distributed.",
        "`variants` has GCN with one and two layers and 200 epochs per layer instead of 1000, to "
        "be affordable; so has the row of single-forward that the others are compared with.",
        "`paper` has CoraML and Amazon Photo of the five graphs, and CiteSeer and Cora as "
        "Planetoid distributes them: CitationFull's CiteSeer and the features of PubMed and GitHub "
        "were not at hand.",
    ),
    notes=(
        "Epochs are the published 1000 per layer. A pilot at 300 epochs (seed 103) broke the claim "
        "on two layers, single-forward far above a backprop that had not converged (75.3 %); the "
        "budget was raised after seeing that test figure, and nothing else was changed.",
        "Published accuracies: Table 3(e), GCN on CoraML. The paper's SAGE and GAT tables were not "
        "at hand.",
        "In `variants` forward-forward with virtual nodes stays at the majority class, so that any "
        "method that learns is above it. Its first layer has the validation accuracy of that class "
        "after 24 epochs at most and keeps it, so the published patience would end it soon after "
        "these 200 epochs.",
        "With GAT the first layer of single-forward can put its attention on the edges to the "
        "virtual nodes, which are the labels: on seed 103 its training accuracy reached 100 % "
        "while validation fell to 20 %, and early stopping kept the weights from before.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
