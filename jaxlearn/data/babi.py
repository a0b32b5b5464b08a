"""bAbI: 20 tasks of short stories with questions (Weston et al., 2015, arXiv 1502.05698)."""

import re
from typing import Any, NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.text import read_text

TASKS = (
    "single-supporting-fact",
    "two-supporting-facts",
    "three-supporting-facts",
    "two-arg-relations",
    "three-arg-relations",
    "yes-no-questions",
    "counting",
    "lists-sets",
    "simple-negation",
    "indefinite-knowledge",
    "basic-coreference",
    "conjunction",
    "compound-coreference",
    "time-reasoning",
    "basic-deduction",
    "basic-induction",
    "positional-reasoning",
    "size-reasoning",
    "path-finding",
    "agents-motivations",
)
"""The tasks by number, from 1."""


Arrays = dict[str, Any]


class Question(NamedTuple):
    """A question with all that was told before it, words in lower case.

    Attributes:
        story: sentences from the first to the last told.
        words: of the question.
        answer: one word, or several joined by commas.
    """

    story: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    answer: str


class Babi(NamedTuple):
    """Questions of one task as arrays, 0 where there is no word.

    Attributes:
        train, validation, test: each {"inputs": {"story" int32 [N, M, L], "question" int32
            [N, L]}, "labels" int32 [N], "index" int32 [N]}; the newest sentence stands first.
        vocabulary: words by number; 0 is no word.
        answers: by label.
    """

    train: Arrays
    validation: Arrays
    test: Arrays
    vocabulary: tuple[str, ...]
    answers: tuple[str, ...]


def babi(task: int, *, memories: int = 50, validation: int = 100, seed: int = 0) -> Babi:
    """One task of the English set with 1,000 training and 1,000 test questions.

    Args:
        task: 1 to 20.
        memories: sentences kept, the newest ones.
        validation: questions taken from the training file.
        seed: of the validation questions.

    Raises:
        ValueError: for a number out of range; `MissingData` and `CorruptData` for files.
    """
    if not 1 <= task <= len(TASKS):
        raise ValueError(f"there are tasks from 1 to {len(TASKS)}, found {task}")
    pool, held = (_read(task, part) for part in ("train", "test"))
    return _arrays(pool, held, memories, validation, seed)


def simulated(
    questions: int = 1000, *, memories: int = 50, validation: int = 100, seed: int = 0
) -> Babi:
    """Made-up stories of the first kind: four people walk about six places, then one is asked for.

    They are generated here and no part of bAbI. Ten sentences a story, a question after every two;
    as many questions for training (validation included) as for testing.

    >>> simulated(20, validation=4).answers[:2]
    ('bathroom', 'bedroom')
    """
    pool, held = (parse(_walks(questions, key)) for key in (seed, seed + 2**32))
    return _arrays(pool, held, memories, validation, seed)


def _walks(questions: int, seed: int) -> str:
    """Stories in the format of the files."""
    people = ("John", "Mary", "Sandra", "Daniel")
    places = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
    words = iter(np.random.Philox(np.random.SeedSequence(seed)).random_raw(5 * questions))
    draw = lambda options: options[int(next(words) % np.uint64(len(options)))]
    lines: list[str] = []
    where: dict[str, tuple[str, int]] = {}
    for number in range(questions):
        line = 3 * (number % 5) + 1
        if line == 1:
            where = {}
        for step in (0, 1):
            who, place = draw(people), draw(places)
            where[who] = (place, line + step)
            lines.append(f"{line + step} {who} went to the {place}.")
        who = draw(sorted(where))
        lines.append(f"{line + 2} Where is {who}? \t{where[who][0]}\t{where[who][1]}")
    return "\n".join(lines)


def _arrays(
    pool: list[Question], held: list[Question], memories: int, validation: int, seed: int
) -> Babi:
    if memories < 1 or not 0 < validation < len(pool):
        raise ValueError(
            f"need a memory or more and fewer validation questions than there are, found "
            f"memories={memories}, validation={validation} of {len(pool)} questions"
        )
    every = pool + held
    words = {w for q in every for sentence in (*q.story, q.words) for w in sentence}
    vocabulary = ("", *sorted(words))
    answers = tuple(sorted({q.answer for q in every}))
    longest = max(len(sentence) for q in every for sentence in (*q.story, q.words))
    number = {word: i for i, word in enumerate(vocabulary)}
    memories = min(memories, max(len(q.story) for q in every))

    def arrays(questions: list[Question]) -> Arrays:
        story = np.zeros((len(questions), memories, longest), np.int32)
        asked = np.zeros((len(questions), longest), np.int32)
        for i, q in enumerate(questions):
            for m, sentence in enumerate(q.story[::-1][:memories]):
                story[i, m, : len(sentence)] = [number[word] for word in sentence]
            asked[i, : len(q.words)] = [number[word] for word in q.words]
        return {
            "inputs": {"story": story, "question": asked},
            "labels": np.array([answers.index(q.answer) for q in questions], np.int32),
            "index": np.arange(len(questions), dtype=np.int32),
        }

    order = stratified_order(np.array([answers.index(q.answer) for q in pool]), seed)
    kept = [pool[i] for i in np.sort(order[validation:])]
    checked = [pool[i] for i in np.sort(order[:validation])]
    return Babi(arrays(kept), arrays(checked), arrays(held), vocabulary, answers)


def parse(text: str) -> list[Question]:
    """The questions of a file: "n sentence" or "n question TAB answer TAB supports" per line.

    A line with number 1 starts a new story.

    >>> parse("1 Mary went home.\\n2 Where is Mary?\\thome\\t1\\n")[0].words
    ('where', 'is', 'mary')
    """
    questions, story = [], []
    for line in text.splitlines():
        number, _, rest = line.strip().partition(" ")
        if not number.isdigit() or not rest:
            raise CorruptData(f"not a line of a story: {line[:60]!r}")
        if number == "1":
            story = []
        told, *asked = rest.split("\t")
        if asked:
            questions.append(Question(tuple(story), _words(told), asked[0].strip().lower()))
        else:
            story.append(_words(told))
    return questions


def _words(sentence: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z'-]+", sentence.lower()))


def _read(task: int, part: str) -> list[Question]:
    stem = f"babi/en/qa{task}_{TASKS[task - 1]}_{part}.txt"
    path = find(DataFile((stem, f"{stem}.gz"), "https://github.com/harvardnlp/MemN2N"))
    with parsing(path.name):
        questions = parse(read_text(path))
    if not questions or not all(q.words and q.answer for q in questions):
        raise CorruptData(f"{path.name} has no questions, or one without words or answer")
    return questions
