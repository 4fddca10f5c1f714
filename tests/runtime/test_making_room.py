"""--force: refused before the work without it, replaced with it, and nothing lost where the work fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from tiny import textured, tiny_encoder

from meddel_hf import Recipe, pretrain
from meddel_hf.cli import main
from meddel_hf.downstream.segmentation import segment as segmentation
from meddel_hf.downstream.segmentation import training
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.run import Run
from meddel_hf.runtime.making_room import room_at
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.records import write_facts
from meddel_hf.runtime.resume import begin


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for number in range(8):
        textured(number // 2).save(tmp_path / "frames" / f"{number}.png")
    tiny_encoder(tmp_path / "encoder")
    assert embed("mean") == 0
    return tmp_path


def embed(pooling: str, *more: str, out: str = "store") -> int:
    line = ["embed", "frames", "--encoder", "encoder", "--out", out, "--pooling", pooling, "--no-calibrate", "--quiet"]
    return main([*line, *more])


def select(out: str, *more: str) -> int:
    line = ["select", "store", "--selector", "random", "--retention", "50%", "--no-pictures", "--out", out]
    return main([*line, *more])


def left() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_a_run_with_other_arguments(work, capsys):
    before = Manifest.read(Path("store")).fingerprint
    assert embed("cls") == 2
    said = capsys.readouterr().err
    assert "another pooling ('mean', now 'cls')" in said
    assert said.strip().endswith("--force replaces it")
    assert Manifest.read(Path("store")).fingerprint == before
    assert embed("cls", "--force") == 0
    assert Manifest.read(Path("store")).arguments["pooling"] == "cls"
    assert embed("cls", "--force") == 0, "nothing is in the way"
    assert left() == ["encoder", "frames", "store"]


def test_another_step_and_its_own_input(work, capsys):
    assert embed("mean", out="other") == 0
    assert select("other") == 2
    assert (
        "other is a folder of step 'embeddings', expected 'selection'; --force replaces it" in capsys.readouterr().err
    )
    assert select("other", "--force") == 0
    assert Manifest.read(Path("other")).step == "selection"
    capsys.readouterr()
    for force in ([], ["--force"]):
        assert select("store", *force) == 2, "it cannot be written in the place of what it reads"
        assert capsys.readouterr().err == "error: store is what meddel select is to read: name another --out\n"
    assert Manifest.read(Path("store")).step == "embeddings"
    assert left() == ["encoder", "frames", "other", "store"]


def test_a_failure_leaves_what_was_there(work, capsys):
    assert embed("mean", out="other") == 0
    assert select("other", "--force", "--option", "nothing=1") == 2
    assert "no option 'nothing'" in capsys.readouterr().err
    assert Manifest.read(Path("other")).step == "embeddings"
    assert left() == ["encoder", "frames", "other", "store"]


def test_what_meddel_did_not_write_is_never_replaced(work, capsys):
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    assert select("thesis", "--force") == 2
    assert "holds no selection: name another folder" in capsys.readouterr().err
    Path("store/notes.txt").write_text("mine")
    assert embed("cls", "--force") == 2
    assert "also holds notes.txt, which meddel did not write: take it away" in capsys.readouterr().err
    assert Path("store/notes.txt").read_text() == "mine"
    assert Path("thesis/chapter.tex").read_text() == "years of work"


def test_several_processes_are_told_to_do_it_first(work, capsys, monkeypatch):
    assert select("selection") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["filter", "selection", "frames", "--out", "store", "--force"]) == 2
    assert "--force is for one process" in capsys.readouterr().err


def there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def replaced(folder: Path) -> str:
    """What a block in place of a folder ends with: "" where it was run."""
    try:
        with room_at(folder):
            folder.mkdir()
    except InvalidArgument as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["notes.txt", "model/notes.txt", ".notes", "README.md", "model/more"])
def test_a_file_of_somebody_stays_however_deep_it_lies(name, tmp_path):
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    (out / "model" / "model.safetensors").write_text("weights")
    Manifest("segmentation", "f00").write(out, ["model/model.safetensors"])
    if name == "model/more":
        (tmp_path / "elsewhere").mkdir()
        (out / name).symlink_to(tmp_path / "elsewhere")
    else:
        (out / name).write_text("mine")
    before = there(out)
    assert replaced(out) == f"{out} also holds {name}, which meddel did not write: take it away, or name another folder"
    assert there(out) == before
    (out / name).unlink()
    (out / ".DS_Store").write_text("the system's")
    assert replaced(out) == ""
    assert there(out) == set()


def test_a_store_that_is_not_finished(work, capsys):
    """As a killed run leaves it: shards with their records, and what says with what it was begun."""
    facts = Manifest.read(Path("store"))
    shards = [name for name in facts.files if name.startswith("shard-")]
    write_facts(
        Path("store/shard-00000.json"), {"made_from": "x", "rows": 8, "files": {n: facts.files[n] for n in shards}}
    )
    begin(Path("store"), {"arguments": facts.arguments, "parents": facts.parents, "versions": facts.versions})
    Path("store/manifest.json").unlink()
    Path("store/notes.txt").write_text("mine")
    assert embed("cls", "--force") == 2
    assert "also holds notes.txt, which meddel did not write: take it away" in capsys.readouterr().err
    assert Path("store/notes.txt").read_text() == "mine"
    Path("store/notes.txt").unlink()
    assert embed("cls", "--force") == 0
    assert Manifest.read(Path("store")).arguments["pooling"] == "cls"


class Ended(Exception):
    pass


def end(*_: object) -> None:
    raise Ended


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory) -> dict[str, Path]:
    """Trainings that ended when all but their results was written."""
    place = tmp_path_factory.mktemp("unfinished")
    mask = Picture.fromarray(np.uint8([[0] * 40 + [255] * 40] * 64))
    rows = {"id": list("abcdef"), "image": [textured(row) for row in range(6)], "mask": [mask] * 6}
    pool = Dataset.from_dict(rows, features=Features({"id": Value("string"), "image": Image(), "mask": Image()}))
    recipe = Recipe(preset="tiny", image_size=32, patch_size=8, layers=1, samples=24, batch_size=4, snapshots=2,
                    checkpoint_samples=8)  # fmt: skip
    of_masks = SegmentationRecipe(epochs=2, batch_size=2, precision="float32", hidden_size=8)
    trained, tested = pool.select([0, 1, 2, 3]), {"t": pool.select([4, 5])}
    encoder, options = tiny_encoder(place / "encoder"), {"recipe": of_masks, "progress": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_finish", end)
        patch.setattr(segmentation._Run, "test", end)
        patch.setattr(training, "_FEWEST_STEPS", 1)
        with pytest.raises(Ended):
            pretrain(pool, place / "pretraining", recipe=recipe, progress=False)
        with pytest.raises(Ended):
            segmentation.segment(trained, tested, encoder, place / "segmentation", **options)
    return {name: place / name for name in ("pretraining", "segmentation")}


@pytest.mark.parametrize("step", ["pretraining", "segmentation"])
def test_a_training_that_is_not_finished(step, unfinished, tmp_path):
    out = Path(shutil.copytree(unfinished[step], tmp_path / "out"))
    notes = next(out.glob("checkpoints/**/checkpoint-*")) / "notes.txt"
    notes.write_text("mine")
    assert f"also holds {notes.relative_to(out)}" in replaced(out)
    notes.unlink()
    assert replaced(out) == ""


@pytest.mark.parametrize("text", ["{", '{"step": "embeddings"}', ""])
def test_where_the_manifest_is_damaged_only_what_steps_write_goes(text, work):
    Path("store/manifest.json").write_text(text)
    Path("store/notes.txt").write_text("mine")
    assert "also holds notes.txt" in replaced(Path("store"))
    Path("store/notes.txt").unlink()
    assert replaced(Path("store")) == ""


def test_of_an_earlier_version_that_recorded_nothing_its_names_tell(tmp_path):
    old = Path(__file__).parents[1] / "data" / "written-by-1ba22a8"
    for name in ("embeddings", "selection", "pretraining", "trained/encoder"):
        out = Path(shutil.copytree(old / name, tmp_path / name))
        (out / "notes.txt").write_text("mine")
        assert "also holds notes.txt" in replaced(out)
        (out / "notes.txt").unlink()
        assert replaced(out) == ""


@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_comes_back_unless_writing_has_begun(work, begun):
    def fail() -> None:
        assert not Path("store").exists()
        if begun:
            Path("store").mkdir()
            Path("store/begun.json").write_text("{}")
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument), room_at(Path("store")):
        fail()
    assert Path("store/manifest.json").exists() != begun
    assert left() == ["encoder", "frames", "store"]
