"""The NormDEL metric where `evaluate` finds it: in its module cache, and as a Space on the Hub."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.runtime.files import whole_folder
from meddel_hf.runtime.network import hub_errors

# What evaluate.load reads: the metric and the sibling files that it imports.
_MODULE_FILES = ("normdel.py", "formula.py", "miou.py")
_SPACE_FILES = (*_MODULE_FILES, "README.md", "app.py", "requirements.txt")
# The name under which evaluate 0.4 looks up `evaluate.load("normdel")` in its cache when the Hub has no such metric.
_CACHE_NAME = "evaluate-metric--normdel"


def install_metric(modules_cache: str | Path | None = None) -> Path:
    """Put the metric into evaluate's module cache, so that `evaluate.load("normdel")` answers in any folder.

    modules_cache: the folder of evaluate's modules; None for its own choice, by HF_MODULES_CACHE, then HF_HOME.
    Returns the path of the installed normdel.py. A second call changes nothing but that file's date: of several
    installed versions evaluate takes the one written last.
    """
    if modules_cache is None:
        import evaluate.config

        modules_cache = evaluate.config.HF_MODULES_CACHE
    sources = {name: (_metric_folder() / name).read_bytes() for name in _MODULE_FILES}
    # One folder for each version of the code; evaluate knows them by names of 64 characters.
    version = hashlib.sha256(b"".join(sources[name] for name in _MODULE_FILES)).hexdigest()
    packages = Path(modules_cache, "evaluate_modules", "metrics", _CACHE_NAME)
    folder = packages / version
    if not all(_holds(folder / name, content) for name, content in sources.items()):
        with whole_folder(folder) as aside:
            for name, content in {**sources, "__init__.py": b""}.items():
                (aside / name).write_bytes(content)
    for package in (packages, packages.parent, packages.parent.parent):
        (package / "__init__.py").touch()
    os.utime(folder / "normdel.py")
    return folder / "normdel.py"


def push_metric(repo_id: str) -> str:
    """Publish the metric as a Space, for `evaluate.load(repo_id)`; returns the Space's address.

    repo_id: "<user or organisation>/normdel". The token is the one that `hf auth login` or HF_TOKEN gives.
    """
    from huggingface_hub import HfApi

    owner, _, name = repo_id.partition("/")
    if not owner or name != "normdel":
        raise InvalidArgument(
            f"the Space is called {repo_id!r}, expected '<user>/normdel': evaluate.load looks for a file of its name"
        )
    api = HfApi()
    with hub_errors(repo_id):
        address = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            repo_type="space",
            folder_path=_metric_folder(),
            allow_patterns=list(_SPACE_FILES),
            commit_message="NormDEL metric",
        )
    return str(address)


def _metric_folder() -> Path:
    spec = find_spec("normdel")
    if spec is None or spec.origin is None:
        raise IncompleteStore("the package normdel is not installed: install meddel-hf again, it brings both")
    return Path(spec.origin).parent


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
