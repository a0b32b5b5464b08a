"""The contract of neurons as layers.

A neuron is a pair of Linen modules, `X` for one step and `XSequence` for all steps at once, whose
first attribute, where they fire, is the :class:`Neuron` that holds the options they share:

- `X()` maps the input `[...]` of a step to spikes `[...]`; `over_time` (SLTT) and `through_time`
  (BPTT) carry its state.
- `XSequence()` maps `[T, ...]` to `[T, ...]` and equals `T` applications of `X`, gradients
  included; under `Neuron(detach_carry=True)` its gradient is that of `over_time`.
- All that it remembers is in the collection `"sequence"`, in float32 at least, at rest before the
  first step.

A file that offers `neuron_examples()`, pairs by name, has them tested for all this. Since the class
is a function from `Neuron` to a module, networks take it as their option `layer`. The two that do
not fire are no such option: their first attribute is a decay, and they are a readout and a filter.

===========================  ============================  =======================================
layer                        remembers                     paper
===========================  ============================  =======================================
`Lif`                        membrane                      Meng et al., ICCV 2023; all of `Neuron`
`Lif(integrate_and_fire())`  membrane, without a leak
`ParametricLif`              membrane with a learned leak  Fang et al., ICCV 2021
`AdaptiveLif`                membrane, threshold           Bellec et al., NeurIPS 2018
`CurrentLif`                 synaptic current, membrane
`DelayedResetLif`            membrane before the reset     Eshraghian et al., 2023 (snnTorch)
`Heaviside`                  nothing
`LeakyIntegrator`            membrane; does not fire
`SynapseFilter`              current; does not fire
===========================  ============================  =======================================
"""

from collections.abc import Callable

from flax import linen
from jaxlearn_kernels.lif import Neuron

NeuronLayer = Callable[[Neuron], linen.Module]
"""From options to a layer: `Lif`, `ParametricLif`, `partial(AdaptiveLif, rho=0.9)`, and so on."""
