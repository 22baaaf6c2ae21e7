"""How the pages are built: ``make docs``. Nothing is executed, and warnings are errors."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

from qtn_train import __version__  # noqa: E402

project = "qtn_train"
author = "the authors of qtn_train"
release = __version__
exclude_patterns = ["_build", "_ext", "results"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sources",
    "references",
    "results",
    "gallery",
    "mathml",
    "local_links",
]

# The notebooks are executed by their own tests, and stored with their outputs.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
smartquotes = False  # options begin with --
myst_heading_anchors = 3
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"qtn_train {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_search_scorer = str(DOCS / "_static" / "search_scorer.js")

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True  # as written: 2**31, not 2147483648
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

# The pages are built without the network, so what others document is not linked to.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!qtn_train\b)[a-z_]+\..*"),  # in modules that are not ours
    (
        r"py:.*",
        r"(Tensor|NDArray|ArrayLike|DataFrame|Figure|Path|Any|Callable|Sequence|Mapping|Iterator"
        r"|csr_array|np|nn|braket|quimb|torch)\b.*",
    ),
    ("py:class", r"(list|dict|tuple)\[.*"),
    ("py:func", "make_plan|cut"),  # private functions that docstrings name
]
