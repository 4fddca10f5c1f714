"""The README does what it says: its commands and its Python run in order, against the loopback Hub."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import make_archives
import pytest
from conftest import HubSession
from PIL import Image
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

README = Path(__file__).parents[1] / "README.md"
ENCODER = "google/vit-base-patch16-224-in21k"


PROGRAMS = {
    "meddel": [sys.executable, "-m", "meddel_hf"],
    "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
}
# What the interpreter of each process that a launcher started writes down as it begins.
RANKS = """
import os
if "RANK" in os.environ:
    with open({log!r}, "a") as log:
        log.write(f"{{os.environ['RANK']}} of {{os.environ['WORLD_SIZE']}}\\n")
"""


def section(title: str) -> str:
    """What stands under a heading."""
    text = README.read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {title}\n")
    assert rest, f"README has no section {title!r}"
    return rest.partition("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Place:
    """A folder with `frames` and `RAW`, and a Hub on which the README's encoder is a small one of the same kind."""

    hub: HubSession
    folder: Path
    ranks: Path

    def type(self, text: str) -> None:
        """Run every command that a part of the README shows, in order."""
        commands = [line[2:] for block in blocks("console", text) for line in block.splitlines() if line[:2] == "$ "]
        assert commands
        for command in commands:
            program, *arguments = shlex.split(command)
            if program == "accelerate":  # on a port of its own: other tests start several processes too
                arguments[1:1] = ["--main_process_port", "0"]
            self.hub.call([*PROGRAMS[program], *arguments], self.folder)

    def made(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture(scope="module")
def place(hub_of_file: HubSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    hub, base = hub_of_file, tmp_path_factory.mktemp("readme")
    model = ViTModel(
        ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        add_pooling_layer=False,
    )
    model.save_pretrained(base / "model")
    ViTImageProcessorPil().save_pretrained(base / "model")
    hub.run(
        "from huggingface_hub import HfApi\n"
        f"HfApi().create_repo({ENCODER!r})\n"
        f"HfApi().upload_folder(repo_id={ENCODER!r}, folder_path={str(base / 'model')!r})"
    )
    work = base / "work"
    (work / "frames").mkdir(parents=True)
    make_archives.everything(work / "RAW")
    for i in range(60):
        image = Image.new("RGB", (64, 48), (4 * i, 90, 255 - 4 * i))
        image.paste((250, 250, 250), (i // 3, i % 3, i // 3 + 20, i % 3 + 12))
        image.save(work / "frames" / f"{i:02}.jpg")
    start = hub.start.read_text(encoding="utf-8")
    hub.start.write_text(start + RANKS.format(log=str(base / "ranks.txt")), encoding="utf-8")
    yield Place(hub, work, base / "ranks.txt")
    hub.start.write_text(start, encoding="utf-8")


@pytest.fixture(scope="module")
def own_frames(place: Place) -> Place:
    place.type(section("On your own frames"))
    return place


@pytest.fixture(scope="module")
def datadel(place: Place) -> Place:
    place.type(section("DataDEL: the fourteen public sources as one data set"))
    return place


def test_on_your_own_frames(own_frames: Place):
    assert {"embeddings", "embeddings2", "selection", "subset"} <= own_frames.made()
    assert "README.md" in own_frames.hub.files("me/frames-5pct", "dataset")


def test_two_processes_are_two_and_write_the_same_bytes(own_frames: Place):
    assert sorted(own_frames.ranks.read_text().splitlines()) == ["0 of 2", "1 of 2"]
    for file in (own_frames.folder / "embeddings").iterdir():
        assert file.read_bytes() == (own_frames.folder / "embeddings2" / file.name).read_bytes()


def test_in_python(own_frames: Place):
    out = own_frames.hub.run("\n".join(blocks("python", section("In Python"))), own_frames.folder)
    assert "kept" in out
    assert "How this subset was chosen" in own_frames.hub.read("me/frames-5pct-py", "README.md", "dataset").decode()


def test_datadel(datadel: Place):
    assert {"datadel", "datadel-embeddings"} <= datadel.made()
    assert "README.md" in datadel.hub.files("me/datadel", "dataset")


def test_pre_train_test_compare(datadel: Place):
    text = section("Pre-train, test, compare")
    (plan,) = blocks("yaml", text)
    (datadel.folder / "plan.yaml").write_text(plan, encoding="utf-8")
    datadel.type(text)
    assert {"half", "mae", "kvasir"} <= datadel.made()
    assert (datadel.folder / "kvasir" / "scores.parquet").is_file()


def test_normdel(place: Place):
    place.hub.call([*PROGRAMS["meddel"], "install-metric"], place.folder)
    out = place.hub.run("\n".join(blocks("python", section("NormDEL"))), place.folder)
    score = re.search(r"'normdel': ([\d.]+)", out)
    assert score is not None
    assert round(100 * float(score[1]), 2) == 66.26  # Table 3, ImageCLEFmed at 5 %


def test_every_block_stands_in_a_section_that_is_run():
    whole = README.read_text(encoding="utf-8")
    titles = ["On your own frames", "In Python", "DataDEL: the fourteen public sources as one data set",
              "Pre-train, test, compare", "NormDEL"]  # fmt: skip
    for language in ("console", "python", "yaml"):
        assert blocks(language, whole) == [block for title in titles for block in blocks(language, section(title))]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
