"""What the tables of `spikegpt.py` should show, and what their rows are called."""

from functools import partial
from typing import Literal

from experiments.harness import Claim, Measured

ROWS = {
    "spikegpt": "SpikeGPT",
    "rwkv": "RWKV, its twin without spikes",
    "transformer": "decoder transformer",
    "lstm": "LSTM",
    "real-embedding": "SpikeGPT, embedding not cut",
    "no-leak": "SpikeGPT, neurons without leak",
    "ffn-pre": "SpikeGPT, channel mix first",
    "spiking-ffn": "SpikeGPT, spikes within the channel mix",
    "unigram": "counted characters",
    "bigram": "counted pairs",
}
SENTENCES: dict[Literal["subjectivity", "movie_reviews", "sst2", "sst5"], tuple[str, int]] = {
    "subjectivity": ("Subj", 2),
    "movie_reviews": ("MR", 2),
    "sst2": ("SST-2", 2),
    "sst5": ("SST-5", 5),
}
"""Sets of sentences: what the paper calls them, and their classes."""

METRICS: dict[str, str] = {
    "bits": "cross-entropy of the test text, bits per character; networks read it window by window",
    "streamed": "largest difference between logits read at once and token by token, 4 windows of "
    "the test text",
    "rewritten": "share of 32 tokens written behind 4 prompts of 8 that rereading all for each "
    "token gives too, %",
    "weights": "parameters of the network, thousands",
    "spikes": "share of neurons behind the mixes that fire at a token of test sentences or 32 test "
    "windows, %",
    "products": "multiplications of the linear maps per token, thousands",
    "additions": "products times the share of neurons that fire, as the paper counts, thousands "
    "per token",
    "accuracy": "of test sentences, %",
    "majority": "share of the most frequent class of the test sentences, %",
}


def claims(measured: Measured) -> list[Claim]:
    """The claims of the table that was measured; margins were fixed before any of its seeds."""
    return sentence_claims(measured) if measured.preset == "sentences" else text_claims(measured)


def sentence_claims(measured: Measured) -> list[Claim]:
    """What classifiers can show that have seen nothing but their few thousand sentences."""
    ours = {title: f"{title}, {ROWS['spikegpt']}" for title, _ in SENTENCES.values()}
    above = {
        title: measured.mean(row, "accuracy") - measured.mean(row, "majority")
        for title, row in ours.items()
    }
    return [
        Claim(
            "judgement-or-plot",
            "SpikeGPT tells more than 80 % of judgements from plots (Subj)",
            measured.mean(ours["Subj"], "accuracy") > 80,
            measured.show(ours["Subj"], "accuracy"),
            presets=("sentences",),
        ),
        Claim(
            "above-majority",
            "on all four sets it is above the most frequent class, by 5 points or more",
            min(above.values()) >= 5,
            ", ".join(f"{title} {gap:+.2f}" for title, gap in above.items()),
            "600 steps see each sentence about twice, and SST-5 has five classes for them",
            presets=("sentences",),
        ),
    ]


def text_claims(measured: Measured) -> list[Claim]:
    """What a small language model can show."""
    ours, twin, pairs = ROWS["spikegpt"], ROWS["rwkv"], ROWS["bigram"]
    bits = partial(measured.mean, metric="bits")
    gap = bits(ours) - bits(twin)
    rate = measured.mean(ours, "spikes")
    far = max(measured.values(ours, "streamed"))
    return [
        Claim(
            "beats-pairs",
            "SpikeGPT needs fewer bits per character than counted pairs",
            bits(ours) < bits(pairs),
            f"{measured.show(ours, 'bits')}, {measured.show(pairs, 'bits')}",
        ),
        Claim(
            "twin-is-better",
            "the twin without spikes is better, by less than 0.5 bits",
            0 < gap < 0.5,
            f"{gap:.3f}: {measured.show(ours, 'bits')}, {measured.show(twin, 'bits')}",
        ),
        Claim(
            "sparse",
            "between 1 and 40 % of the neurons fire",
            1 < rate < 40,
            measured.show(ours, "spikes"),
        ),
        Claim(
            "streaming",
            "logits read token by token are those read at once, to 1e-4, in every seed",
            far < 1e-4,
            f"{far:.2g} at most",
            "a membrane within rounding of the threshold fires in one reading and not in the other",
        ),
        Claim(
            "reviews",
            "the classifier with spikes tells more than 65 % of film reviews, from scratch",
            measured.mean("film reviews, SpikeGPT", "accuracy") > 65,
            measured.show("film reviews, SpikeGPT", "accuracy"),
        ),
    ]
