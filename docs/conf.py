"""Settings of `make docs`: the guides through MyST, the reference out of docstrings."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "kernels")]

import rooms  # noqa: E402

import jaxlearn  # noqa: E402

rooms.write(HERE / "reference")

project = "jaxlearn"
release = jaxlearn.__version__
copyright = "the jaxlearn authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# the index includes it
exclude_patterns = ["README.md", "_build"]
# in docstrings a single backtick is code, quotes are quotes and an indented block is a formula
default_role = "literal"
smartquotes_action = "D"
highlight_language = "none"
add_module_names = False
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
# fields keep their name, and the types that the signature gives
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
html_theme = "furo"
html_title = f"jaxlearn {release}"
html_copy_source = False
