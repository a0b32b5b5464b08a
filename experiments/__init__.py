"""One file per paper, each readable whole: `python -m experiments list` names them."""
