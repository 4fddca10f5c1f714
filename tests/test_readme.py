"""The README does what it says: its commands and its Python run in order, against the loopback Hub."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import make_archives
import pytest
from conftest import HubSession
from PIL import Image
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

README = Path(__file__).parents[1] / "README.md"
ENCODER = "google/vit-base-patch16-224-in21k"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(hub: HubSession, tmp_path: Path) -> Path:
    """A folder with `frames` and `RAW`, and a Hub on which the README's encoder is a small one of the same kind."""
    model = ViTModel(
        ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        add_pooling_layer=False,
    )
    model.save_pretrained(tmp_path / "model")
    ViTImageProcessorPil().save_pretrained(tmp_path / "model")
    hub.run(
        "from huggingface_hub import HfApi\n"
        f"HfApi().create_repo({ENCODER!r})\n"
        f"HfApi().upload_folder(repo_id={ENCODER!r}, folder_path={str(tmp_path / 'model')!r})"
    )
    work = tmp_path / "work"
    (work / "frames").mkdir(parents=True)
    make_archives.everything(work / "RAW")
    for i in range(60):
        image = Image.new("RGB", (64, 48), (4 * i, 90, 255 - 4 * i))
        image.paste((250, 250, 250), (i // 3, i % 3, i // 3 + 20, i % 3 + 12))
        image.save(work / "frames" / f"{i:02}.jpg")
    return work


# What the interpreter of each process that a launcher started writes down as it begins.
RANKS = """
import os
if "RANK" in os.environ:
    with open({log!r}, "a") as log:
        log.write(f"{{os.environ['RANK']}} of {{os.environ['WORLD_SIZE']}}\\n")
"""


def test_commands_then_python(hub: HubSession, folder: Path, tmp_path: Path):
    with (tmp_path / "guard" / "sitecustomize.py").open("a", encoding="utf-8") as start:
        start.write(RANKS.format(log=str(tmp_path / "ranks.txt")))
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    programs = {
        "meddel": [sys.executable, "-m", "meddel_hf"],
        "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
    }
    (plan,) = blocks("yaml")
    (folder / "plan.yaml").write_text(plan, encoding="utf-8")
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "accelerate":  # on a port of its own: other tests start several processes too
            arguments[1:1] = ["--main_process_port", "0"]
        hub.call([*programs[program], *arguments], folder)
    assert sorted((tmp_path / "ranks.txt").read_text().splitlines()) == ["0 of 2", "1 of 2"], "the two processes"
    made = ["RAW", "datadel", "datadel-embeddings", "embeddings", "embeddings2", "frames", "half", "kvasir", "mae",
            "plan.yaml", "selection", "subset"]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == made
    for file in (folder / "embeddings").iterdir():
        assert file.read_bytes() == (folder / "embeddings2" / file.name).read_bytes()
    for repository in ("me/frames-5pct", "me/datadel"):
        assert "README.md" in hub.files(repository, "dataset")

    hub.call([*programs["meddel"], "install-metric"], folder)
    source = "\n".join(blocks("python"))
    out = hub.run(source, folder)
    score = re.search(r"'normdel': ([\d.]+)", out)
    assert score is not None
    assert round(100 * float(score[1]), 2) == 66.26  # Table 3, ImageCLEFmed at 5 %
    assert "How this subset was chosen" in hub.read("me/frames-5pct-py", "README.md", "dataset").decode()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
