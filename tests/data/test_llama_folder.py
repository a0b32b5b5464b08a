"""Folders of a Llama: sizes out of `config.json`, arrays out of one file or of parts."""

import json

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.llama_folder import llama_arrays, llama_sizes

TOLD = {
    "model_type": "llama",
    "vocab_size": 11,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 12,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500_000.0,
}


def folder(path, **changed):
    """A folder with these lines in its config."""
    (path / "config.json").write_text(json.dumps(TOLD | changed))
    return path


def tensors(path, **arrays):
    """A safetensors file, by its format."""
    header, body = {}, b""
    for name, array in arrays.items():
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": place}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_sizes_come_from_the_config(tmp_path):
    assert llama_sizes(folder(tmp_path)) == (11, 2, 16, 4, 2, 12, 500_000.0, 1e-6)
    old = folder(tmp_path, num_key_value_heads=None, rope_theta=None, rope_scaling=None)
    assert llama_sizes(old)[4:7] == (4, 12, 10_000.0)
    new = {"rope_theta": 2e4, "rope_type": "default"}
    assert llama_sizes(folder(tmp_path, rope_theta=None, rope_parameters=new)).base == 2e4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "gemma"}, "model_type is 'gemma'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope type is 'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope type is 'yarn'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"head_dim": 8}, "head_dim is 8; llama_blocks has 4 only"),
        ({"hidden_size": "wide"}, "is damaged"),
        ({"num_hidden_layers": 0}, "layers is 0"),
        ({"rms_norm_eps": float("nan")}, "epsilon is nan"),
    ],
)
def test_what_our_blocks_have_not_is_refused(tmp_path, changed, said):
    with pytest.raises(CorruptData, match=said):
        llama_sizes(folder(tmp_path, **changed))


def test_arrays_of_one_file_and_of_parts_are_the_same(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir(), many.mkdir()
    tensors(one / "model.safetensors", a=a, b=b)
    tensors(many / "model-1.safetensors", a=a)
    tensors(many / "model-2.safetensors", b=b)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (many / "model.safetensors.index.json").write_text(json.dumps(index))
    for place in (one, many):
        found = llama_arrays(place)
        assert sorted(found) == ["a", "b"]
        np.testing.assert_array_equal(found["a"], a)
        np.testing.assert_array_equal(found["b"], b)


@pytest.mark.parametrize(
    ("places", "error", "said"),
    [
        ({"a": "../model-1.safetensors"}, CorruptData, "a file outside its folder"),
        ({"a": "model-3.safetensors"}, MissingData, "lacks model-3.safetensors"),
        ({"a": "model-1.safetensors", "c": "model-1.safetensors"}, CorruptData, "names 'c'"),
        (3, CorruptData, "is damaged"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, places, error, said):
    tensors(tmp_path / "model-1.safetensors", a=np.ones(2, np.float32))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(error, match=said):
        llama_arrays(tmp_path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(MissingData, match=r"has no config.json"):
        llama_sizes(tmp_path)
    with pytest.raises(MissingData, match=r"neither model.safetensors nor"):
        llama_arrays(tmp_path)
