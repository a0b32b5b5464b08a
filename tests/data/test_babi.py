"""bAbI stories: what is read, in which order, and what is refused."""

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.babi import babi, parse, simulated
from tests.data.conftest import put

TEXT = (
    "1 Mary went home.\n2 John went out.\n3 Where is Mary? \thome\t1\n4 Mary left.\n"
    "5 Who is out?\tjohn,mary\t2 4\n1 Ann ate.\n2 Who ate?\tann\t1\n"
)


def test_stories_grow_and_start_anew():
    first, second, third = parse(TEXT)
    assert first.story == (("mary", "went", "home"), ("john", "went", "out"))
    assert (second.answer, second.story[-1]) == ("john,mary", ("mary", "left"))
    assert third.story == (("ann", "ate"),)
    with pytest.raises(CorruptData, match="not a line of a story: 'hello'"):
        parse("hello\n")


def write(root, train, test):
    for part, text in (("train", train), ("test", test)):
        put(root, f"babi/en/qa1_single-supporting-fact_{part}.txt", text.encode())


def test_the_newest_sentence_stands_first_and_old_ones_are_dropped(root):
    write(root, TEXT, TEXT)
    found = babi(1, memories=2, validation=1)
    assert [len(part["labels"]) for part in found[:3]] == [2, 1, 3]
    words = lambda row: " ".join(found.vocabulary[i] for i in row if i)
    inputs = found.test["inputs"]
    assert [words(row) for row in inputs["story"][1]] == ["mary left", "john went out"]
    assert words(inputs["question"][1]) == "who is out"
    assert found.answers[found.test["labels"][1]] == "john,mary"
    assert not inputs["story"][2, 1].any()
    with pytest.raises(ValueError, match="tasks from 1 to 20"):
        babi(21)
    with pytest.raises(ValueError, match="validation=3 of 3"):
        babi(1, validation=3)


def test_simulated_answers_are_where_people_went_last():
    made = simulated(200, validation=50, seed=3)
    assert [len(part["labels"]) for part in made[:3]] == [150, 50, 200]
    inputs = made.test["inputs"]
    for story, question, label in zip(
        inputs["story"], inputs["question"], made.test["labels"], strict=True
    ):
        words = [[made.vocabulary[i] for i in row if i] for row in (question, *story)]
        who = words[0][-1]
        newest = next(sentence for sentence in words[1:] if who in sentence)
        assert newest[-1] == made.answers[label]
    again, other = simulated(200, validation=50, seed=3), simulated(200, validation=50, seed=4)
    np.testing.assert_array_equal(again.train["labels"], made.train["labels"])
    assert not np.array_equal(other.test["labels"], made.test["labels"])


def test_damaged_files_are_named(root):
    with pytest.raises(MissingData, match="qa1_single"):
        babi(1)
    write(root, "1 Mary went home.\n", TEXT)
    with pytest.raises(CorruptData, match=r"qa1_.*has no questions"):
        babi(1)


def test_real_tasks_have_a_thousand_questions_each(offline):
    try:
        found = babi(1), babi(20)
    except MissingData as error:
        pytest.skip(str(error))
    for task in found:
        assert [len(part["labels"]) for part in task[:3]] == [900, 100, 1000]
        assert np.bincount(task.train["labels"]).min() > 0
    assert found[0].answers == ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
    # Mary is where she was last said to be: the newest sentence that names her ends in the answer
    one = found[0]
    story, question = one.test["inputs"]["story"][0], one.test["inputs"]["question"][0]
    who = one.vocabulary[question[question > 0][-1]]
    told = [[one.vocabulary[i] for i in row if i] for row in story]
    newest = next(sentence for sentence in told if who in sentence)
    assert newest[-1] == one.answers[one.test["labels"][0]]
