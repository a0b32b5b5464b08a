"""Target projection SGD, 2022: layers that learn towards the label seen through a random matrix.

Expected (`small`, seeds 0 to 2, test accuracy in percent): on one dense hidden layer BP 84.3, tpSGD
81.9, DRTP 80.7 and shallow 82.1; on the convolutional network BP 84.7, shallow 77.0, tpSGD 75.9 and
DRTP 72.3; on the recurrent one BP 77.0, shallow 62.1, tpSGD 54.2 and DRTP 44.2. So on images tpSGD
is above DRTP, and near BP on dense layers, but not above a readout on random layers; on speech DRTP
is above all others. Training layer by layer or handing on updated outputs changes nothing (81.6),
and gates little (GRU 56.5, LSTM 54.0). A small head over a frozen ResNet-20 brings images with
other colours from 66.5 to 74.4 and noisy ones from 17.4 to 46.9, under BP 74.5 and 48.3. 6 of 14
claims fail, each with a sentence why. 15 minutes on one core.

    python -m experiments table tpsgd --preset small

The rule is `rules/target_projection.py`; beside it stand backpropagation (BP, through time for
recurrent networks), feedback alignment (FA), direct feedback alignment (DFA), direct random target
projection (DRTP) and a network of which only the last layer is trained (shallow). All rules see the
same networks, batches and schedule; recurrent networks read their answer at the last step, and all
rules but BP and FA run through `rules/read_last.py`, without any gradient through time.

Deviations from the paper are listed in `DEVIATIONS`, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import jax
import optax
from flax import linen

from experiments.harness import Bench, Experiment, Peer, Program, Run, main
from experiments.parts.abstract import abstract, labelled
from experiments.parts.frozen_resnet20 import FEATURES
from experiments.parts.tpsgd_adaptor import SHIFTS, features_of, unadapted
from experiments.parts.tpsgd_claims import METRICS, claims, figure
from experiments.parts.tpsgd_rates import EXTRA, METHODS, MODES, rates_of
from experiments.parts.tpsgd_rows import rows
from jaxlearn.core import (
    Model,
    Rule,
    make_state,
    make_step,
    reparametrize,
    stack,
    trees,
)
from jaxlearn.data import Dataset, load
from jaxlearn.data.batches import batches, padded
from jaxlearn.data.duration import steps as steps_of
from jaxlearn.models.heads.projection import half_normal, signed_uniform
from jaxlearn.models.recurrent import recurrent
from jaxlearn.models.shallow_blocks import VGG11, conv_blocks, dense_blocks
from jaxlearn.objectives import correct, cross_entropy
from jaxlearn.objectives.target_losses import LOSSES
from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.direct_feedback_alignment import direct_feedback_alignment
from jaxlearn.rules.direct_random_target_projection import direct_random_target_projection
from jaxlearn.rules.feedback_alignment import with_feedback
from jaxlearn.rules.read_last import answer_last, read_last
from jaxlearn.rules.target_projection import target_projection
from jaxlearn.runtime import evaluator, every_device, fit, own_rows
from jaxlearn.transforms.in_turn import in_turn

DEVIATIONS = (
    "The paper's code is not public and its hyperparameters are not known: learning rates are our "
    "own, chosen per rule and kind of network on validation images with seed 100, with seeds 100 "
    "to 102 on sequences (all recurrent networks have those of one tanh layer, whose readouts have "
    "0.4 and whose hidden layers at least 0.001, because smaller ones leave a layer as it was "
    "drawn; all convolutional ones have those of CNN; feedback by signs has those of feedback "
    "without); momentum is Nesterov's, 0.9, as in the code of direct random target projection.",
    "No figure of the paper is shown beside ours; the text at hand gives none by row.",
    "`small` trains on 10,000 images for 3 epochs, with narrow layers, and its convolutions see "
    "images of 14 x 14; the paper's networks take an accelerator.",
    "Losses are sums over units and means over examples; the codes are scaled to the root mean "
    "square of the layer's outputs at initialisation. The text fixes neither.",
    "The recurrent rows of DFA use the output error of every step, and FA runs through time with "
    "fixed random feedback, since neither is defined for recurrent networks in the text.",
    "The signal of a recurrent layer is the mean over its steps, not their sum, where every step "
    "has a target.",
    "The readout learns from the softmax cross-entropy.",
    "The adaptor's changed images and its size are our own, the text names neither: red, green and "
    "blue exchanged, or noise of standard deviation 0.1; 64 tanh units and a readout over the "
    "pooled features of a published ResNet-20, 2,000 images for 20 epochs, at `small` with 1,000 "
    "test images. CIFAR-10 is the JPEG variant where the original is not there.",
    "`recompute` hands on what a layer would give after a plain step at its first rate; momentum "
    "and schedule are left out of that.",
)
CLASSES, CHIPS = 10, 256
SHAPES = {
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "spoken_digits": (40, 40),
    **dict.fromkeys(SHIFTS[1:], (32, 32, 3)),
}


@dataclass(frozen=True)
class Config:
    """One row.

    method: a rule; `"tpSGD-"` goes with the name of a loss, and `"tpSGD-l2-layerwise"` and
        `"-recompute"` are modes of it; `"frozen"` is a pretrained network without an adaptor.
    network: `"mlp"` and `"cnn"` with hidden layers `widths`, the latter behind 5 x 5 convolutions
        with pooling; recurrent layers of `widths` that see an image row by row; `"vgg11"`;
        `"adaptor"`, hidden layers `widths` over the features of a frozen ResNet-20.
    dataset: `"cifar10-colour"` and `"cifar10-noise"` are for adaptors.
    channels: of the convolutions.
    rate, hidden_rate, conv_rate: learning rates of the readout, of dense and recurrent layers and
        of convolutions, 0 for those chosen.
    scale: of the codes, 0 to match the layers' outputs.
    targets: the steps at which recurrent layers are compared with theirs.
    per_channel: one target per channel of a convolution instead of one per place.
    pool_first: halve the image before the first convolution.
    sizes: depths (mlp) or lengths (recurrent) at which memory is measured.
    trained: False measures memory only.
    """

    method: str = "tpSGD-l2"
    network: Literal["mlp", "cnn", "rnn", "gru", "lstm", "vgg11", "adaptor"] = "mlp"
    widths: tuple[int, ...] = (256,)
    channels: tuple[int, ...] = (8,)
    dataset: Literal[
        "digits",
        "fashion_mnist",
        "mnist",
        "cifar10",
        "spoken_digits",
        "cifar10-colour",
        "cifar10-noise",
    ] = "fashion_mnist"
    duration: str = "3ep"
    batch: int = 100
    rate: float = 0.0
    hidden_rate: float = 0.0
    conv_rate: float = 0.0
    momentum: float = 0.9
    scale: float = 0.0
    targets: Literal["every", "last"] = "every"
    per_channel: bool = False
    pool_first: bool = False
    train: int | None = 10000
    test: int | None = 5000
    sizes: tuple[int, ...] = ()
    trained: bool = True

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, *EXTRA):
            raise ValueError(f"method={self.method!r} is none of {(*METHODS, *EXTRA)}")
        hidden = self.widths + (self.channels if self.network == "cnn" else ())
        if not hidden and self.network != "vgg11":
            raise ValueError(f"widths={self.widths}; the network needs a hidden layer")
        numbers = (self.rate, self.hidden_rate, self.conv_rate, self.scale)
        if min(numbers) < 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"rate, hidden_rate, conv_rate, scale={numbers}, momentum={self.momentum}; the "
                "first four have to be 0 or more, momentum in [0, 1)"
            )
        if self.dataset == "spoken_digits" and not self.recurrent:
            raise ValueError(f"spoken_digits are sequences; network={self.network!r} takes images")
        adaptor = self.network == "adaptor"
        if (adaptor and self.dataset not in SHIFTS) or (
            not adaptor and (self.dataset in SHIFTS[1:] or self.method == "frozen")
        ):
            raise ValueError(
                f"network={self.network!r}, dataset={self.dataset!r}, method={self.method!r}; "
                f"adaptors go with the datasets {SHIFTS}, which only they take shifted, and "
                '"frozen" is theirs alone'
            )

    @property
    def recurrent(self) -> bool:
        """Whether the network sees a sequence."""
        return self.network in ("rnn", "gru", "lstm")

    @property
    def mode(self) -> str:
        """One of `MODES`, or nothing."""
        found = self.method.rpartition("-")[2]
        return found if found in MODES else ""

    @property
    def rates(self) -> tuple[float, float, float]:
        """Learning rates of the readout, of dense or recurrent layers and of convolutions."""
        dense = self.network in ("mlp", "adaptor")
        kind = "rnn" if self.recurrent else self.network if dense else "cnn"
        rate, hidden, conv = rates_of(self.method, kind)
        return self.rate or rate, self.hidden_rate or hidden, self.conv_rate or conv


PRESETS = {
    "smoke": Config(
        widths=(32,),
        channels=(4,),
        dataset="digits",
        duration="2ep",
        batch=32,
        train=None,
        test=None,
    ),
    "small": Config(),
    "paper": Config(
        network="cnn", widths=(1000,), channels=(32,), duration="100ep", train=None, test=None
    ),
}


def network_of(config: Config) -> tuple[list[Model], Model]:
    """Hidden blocks and the readout."""
    if config.recurrent:
        cell = cast(Literal["rnn", "gru", "lstm"], config.network)
        return [recurrent(width, cell) for width in config.widths], dense_blocks(CLASSES, ())[1]
    if config.network in ("mlp", "adaptor"):
        return dense_blocks(CLASSES, config.widths)
    if config.network == "vgg11":
        return conv_blocks(CLASSES, VGG11, (), size=3, activation=linen.relu)
    layers: list[int | str] = ["pool"] if config.pool_first else []
    layers += [entry for width in config.channels for entry in (width, "pool")]
    return conv_blocks(CLASSES, layers, config.widths)


def length_of(config: Config) -> int:
    """Steps of a sequence."""
    return config.sizes[0] if config.sizes else SHAPES[config.dataset][0]


def shape_of(config: Config) -> tuple[int, ...]:
    """What the network sees of one example."""
    return (FEATURES,) if config.network == "adaptor" else SHAPES[config.dataset]


def rule_of(config: Config) -> Rule:
    """The row's rule over its network."""
    blocks, readout = network_of(config)
    if config.method in ("BP", "FA", "sign-symmetry"):
        return _with_backward_pass(config, [*blocks, readout])
    rule = _over_sequence(config, _instantaneous(config, blocks, readout), len(blocks))
    trained = freeze(partial(_in_layer, str(len(blocks))))
    return reparametrize(rule, trained) if config.method == "shallow" else rule


def _in_layer(name: str, path: str) -> bool:
    return path.split("/")[0] == name


def _with_backward_pass(config: Config, layers: list[Model]) -> Rule:
    """Backpropagation or feedback alignment, through time for recurrent networks."""
    if config.method != "BP":
        layers = [
            with_feedback(layer, "random" if config.method == "FA" else "sign") for layer in layers
        ]
    net = stack(layers)
    if not config.recurrent:
        return backprop(net, cross_entropy)
    return backprop(answer_last(net, length_of(config), time_axis=1), cross_entropy)


def _instantaneous(
    config: Config, blocks: list[Model], readout: Model, read: int | None = None
) -> Rule:
    """All other rules, for images or one step of a sequence."""
    if config.method == "shallow":
        return backprop(stack([*blocks, readout]), cross_entropy)
    if config.method in ("DFA", "sDFA"):
        return direct_feedback_alignment(blocks, readout, signs=config.method == "sDFA")
    if config.method == "DRTP":
        return direct_random_target_projection(blocks, readout, classes=CLASSES)
    return target_projection(
        blocks,
        readout,
        classes=CLASSES,
        loss=LOSSES[config.method.split("-")[1]],
        draw=half_normal if config.network == "vgg11" else signed_uniform,
        scale=config.scale or "rms",
        per_channel=config.per_channel,
        recompute=config.rates[1] if config.mode == "recompute" else 0.0,
        read=read,
        loop=not config.trained,  # memory is measured where no compiler can change the order
    )


def _over_sequence(config: Config, rule: Rule, hidden: int) -> Rule:
    """For recurrent networks: when the layers learn; the readout learns and answers last."""
    if not config.recurrent:
        return rule
    every = config.targets == "every"
    taught = lambda path: every and not _in_layer(str(hidden), path)
    return read_last(rule, length_of(config), every_step=taught, time_axis=1)


def transform_of(config: Config, steps: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, a rate for each kind of layer, all on a cosine.

    Layer by layer, every layer has so many steps and a cosine of its own.
    """
    readout = str(len(network_of(config)[0]))

    def sgd(rate: float) -> optax.GradientTransformation:
        falling = optax.cosine_decay_schedule(rate, steps)
        return optax.sgd(falling, config.momentum, nesterov=True)

    def label(params: Any) -> Any:
        return jax.tree.map_with_path(lambda keys, _: kind(trees.path(keys)), params)

    def kind(path: str) -> str:
        if _in_layer(readout, path):
            return "readout"
        return "convolution" if "Conv_0" in path else "dense"

    kinds = ("readout", "dense", "convolution")
    rates = dict(zip(kinds, config.rates, strict=True))
    tx = optax.partition({name: sgd(rate) for name, rate in rates.items()}, label)
    if config.mode == "layerwise":
        turn = lambda path: int(path.split("/")[0])
        return in_turn(tx, turn, turns_of(config), steps)
    return tx


def turns_of(config: Config) -> int:
    """How many parts of the network are trained one after the other."""
    return len(network_of(config)[0]) + 1 if config.mode == "layerwise" else 1


def data_of(config: Config) -> Dataset:
    """Images, 40 frames of 40 mel bands, or features of a frozen network."""
    if config.network == "adaptor":
        return features_of(config.dataset, config.train, config.test)
    options: dict[str, Any] = {"frames": 40} if config.dataset == "spoken_digits" else {}
    return load(config.dataset, train=config.train, test=config.test, **options)


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train all seeds together, each with its own weights, codes and order of the examples."""
    memory = {f"temp_mb_{size}": temp_bytes(config, size) / 1e6 for size in config.sizes}
    if not config.trained:
        return dict.fromkeys(seeds, memory)
    data = data_of(config)
    if config.method == "frozen":
        return {seed: {"accuracy": unadapted(data)} for seed in seeds}
    rule = rule_of(config)
    streams = [batches(data.train, config.batch, seed=seed) for seed in seeds]
    steps = steps_of(config.duration, streams[0].steps_per_epoch)
    tx = transform_of(config, steps)
    states, step = over_seeds(rule, lambda key: tx, seeds, streams[0](0))
    fitted = fit(
        step,
        states,
        own_rows(stacked(streams)),
        mesh=every_device(),
        steps=steps * turns_of(config),
        chunk=50,
        workdir=run.folder(seeds),
        config=asdict(config),
        progress=run.progress,
        name=f"{config.network} {config.method}",
    )
    judge = evaluator(rule.predict, {"accuracy": correct}, padded(data.test, 1000))
    found = [{"accuracy": 100 * judge(seed_of(fitted.state, i))["accuracy"]} for i in _each(seeds)]
    if config.method.startswith("tpSGD"):
        codes = _judge_codes(config, data)
        last = fitted.history[-1]["alignment/0"]
        for i in _each(seeds):
            found[i] |= {"alignment": last[i], "codes": codes(seed_of(fitted.state, i))}
    return dict(zip(seeds, found, strict=True))


def _each(seeds: Sequence[int]) -> range:
    return range(len(seeds))


def _judge_codes(config: Config, data: Dataset):
    """The accuracy in percent of the code nearest to the last hidden layer's output."""
    blocks, readout = network_of(config)
    last = len(blocks) - 1
    rule = _over_sequence(config, _instantaneous(config, blocks, readout, last), len(blocks))
    judge = evaluator(rule.predict, {"codes": correct}, padded(data.test, 1000))
    return lambda state: 100 * judge(state)["codes"]


def temp_bytes(config: Config, size: int) -> int:
    """Bytes the compiler reserves for temporaries of a step at this depth or length."""
    shape = shape_of(config)
    if config.recurrent:
        own, shape = replace(config, sizes=(size,)), (size, *shape[1:])
    else:
        own = replace(config, widths=config.widths * size)
    made = abstract_program(own, own.batch, shape)
    compiled = jax.jit(made.step, donate_argnums=0).lower(made.state, made.batch).compile()
    memory: Any = compiled.memory_analysis()
    return memory.temp_size_in_bytes


def abstract_program(config: Config, size: int, shape: tuple[int, ...]) -> Program:
    """The training step with its first state and a batch of this size, as shapes."""
    rule, tx = rule_of(config), transform_of(config, 1000)
    batch = labelled(size, shape)
    return abstract(rule, tx, batch)


def program(config: Config) -> Program:
    """One step for a pod, with the preset's batch on each of 256 chips."""
    return abstract_program(config, CHIPS * config.batch, shape_of(config))


def bench() -> Bench:
    """The step of every rule on the convolutional network of the small preset.

    Backpropagation and tpSGD under the squared distance are beside PyTorch.
    """
    from experiments.peers import targets

    config = replace(PRESETS["small"], network="cnn", widths=(128,), pool_first=True)
    batch = batches(data_of(config).train, config.batch, seed=0)(0)
    programs = {}
    for method in METHODS:
        own = replace(config, method=method)
        rule, tx = rule_of(own), transform_of(own, 1000)
        state = jax.jit(partial(make_state, rule, tx))(jax.random.key(0), batch)
        programs["backprop" if method == "BP" else method] = Program(
            make_step(rule, tx), state, batch
        )

    def peer(name: str, method: str) -> Peer:
        own = replace(config, method=method)
        options = {"pools": (2, 2, 1), "rates": own.rates, "momentum": own.momentum}
        return Peer("torch", partial(targets.start, rule_of(own), programs[name], **options))

    peers = {"backprop": peer("backprop", "BP"), "tpSGD-l2": peer("tpSGD-l2", "tpSGD-l2")}
    return Bench(programs, peers)


EXPERIMENT = Experiment(
    slug="tpsgd",
    title="Learning with Local Gradients at the Edge",
    paper="Lomnitz, Daniels, Zhang, Piacentino; 2022; arXiv 2208.08503",
    slots=("rule", "objective", "model"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        "Memory by depth is measured with 4096 images a batch (by length with 100), tpSGD's equal "
        "layers in one compiled loop.",
        "Layer by layer is the same rule under `transforms/in_turn.py`: every layer has the epochs "
        "and the schedule that the whole network has in other rows, so it takes three times as "
        "many steps with two hidden layers.",
        "Adaptors see features that the frozen network gave once; a test shows that their signal "
        "is that of the rule over the whole network. All rules and seeds have the same images.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
