"""Tests stand in the folders of what they test: `data/pool.py` is tested by `tests/data/test_pool.py`.

A module without a test of its name stands below, with the file that tests it together with its neighbours.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

import meddel_hf

TESTS, PACKAGE = Path(__file__).parent, Path(meddel_hf.__file__).parent
# Modules as patterns -> the file that tests them; the first that fits counts.
TESTED_BY = {
    "benchmark/evidence.py": "benchmark/test_evidence.py",
    "benchmark/yaml_file.py": "runtime/test_reading.py",
    "benchmark/results.py": "report/test_report.py",
    "benchmark/place.py": "report/test_report.py",
    "benchmark/*": "benchmark/test_benchmark.py",
    "hub/contents.py": "hub/test_push.py",
    "hub/models.py": "hub/test_segmentation.py",
    "hub/names.py": "hub/test_segmentation.py",
    "hub/repository.py": "hub/test_report.py",
    "cli.py": "commands/test_cli.py",
    "commands/kinds.py": "commands/test_command_lines.py",
    "commands/build.py": "datadel/test_build.py",
    "commands/benchmark.py": "benchmark/test_benchmark.py",
    "commands/report.py": "report/test_report.py",
    "commands/audit.py": "overlap/test_audit.py",
    "overlap/sheet.py": "overlap/test_audit.py",
    "embedding/remainder.py": "selectors/test_reference.py",
    "runtime/plain.py": "commands/test_cli.py",
    "explore/*": "explore/test_explorer.py",
    "selectors/pool_selector.py": "selectors/test_by_hand.py",
    "commands/explore.py": "explore/test_command.py",
    "commands/advise.py": "selectors/test_advice.py",
    "commands/embed.py": "embedding/test_embed.py",
    "commands/forget.py": "selectors/test_forgetting.py",
    "commands/pretrain.py": "pretraining/test_pretrain.py",
    "commands/segment.py": "downstream/segmentation/test_segment.py",
    "commands/probe.py": "downstream/probing/test_probe.py",
    "commands/pool.py": "ingest/test_make.py",
    "commands/push.py": "hub/test_push.py",
    "commands/install_metric.py": "hub/test_metric.py",
    "commands/*": "commands/test_cli.py",
    "data/batches.py": "embedding/test_embed.py",
    "data/columns.py": "selectors/test_strata.py",
    "data/cells.py": "hub/test_push.py",
    "data/parquet.py": "hub/test_push.py",
    "data/outgoing.py": "data/test_privacy.py",
    "data/findings.py": "data/test_privacy.py",
    "data/contact_sheet.py": "selection/test_pictures.py",
    "data/folders.py": "data/test_scan.py",
    "data/leaks.py": "pretraining/test_pretrain.py",
    "data/spec.py": "data/test_pool.py",
    "data/given_table.py": "data/test_frame_table.py",
    "data/ids.py": "data/test_pool.py",
    "data/limits.py": "data/test_images.py",
    "data/tiff.py": "data/test_decoding.py",
    "data/regions.py": "data/test_view.py",
    "data/scope_guide.py": "data/test_view.py",
    "data/surround.py": "data/test_view.py",
    "data/metadata/*": "data/metadata/test_metadata.py",
    "datadel/archives/*": "datadel/archives/test_archives.py",
    "datadel/convert/*": "datadel/test_build.py",
    "datadel/shards/*": "datadel/test_rebuild.py",
    "datadel/sources/*": "datadel/sources/test_sources.py",
    "datadel/*": "datadel/test_build.py",
    "ingest/levels.py": "ingest/test_nifti.py",
    "ingest/*": "ingest/test_make.py",
    "embedding/carried.py": "embedding/test_earlier.py",
    "embedding/known_again.py": "embedding/test_earlier.py",
    "embedding/removing.py": "selectors/test_forgetting.py",
    "runtime/written.py": "runtime/test_making_room.py",
    "runtime/replacing.py": "selectors/test_forgetting.py",
    "selectors/before.py": "selectors/test_extending.py",
    "selectors/compared.py": "selectors/test_extending.py",
    "dedup/density.py": "dedup/test_decision.py",
    "dedup/sampling.py": "dedup/test_decision.py",
    "dedup/block_engine.py": "dedup/test_engines.py",
    "dedup/pair_engine.py": "dedup/test_engines.py",
    "dedup/passes.py": "dedup/test_engines.py",
    "dedup/graph.py": "selection/test_selection.py",
    "dedup/search.py": "selectors/test_meddel.py",
    "downstream/labels/tokens.py": "downstream/labels/test_masks.py",
    "downstream/labels/*": "downstream/labels/test_compare.py",
    "downstream/probing/*": "downstream/probing/test_probe.py",
    "downstream/segmentation/*": "downstream/segmentation/test_segment.py",
    "embedding/loading.py": "embedding/test_encoder.py",
    "embedding/shards.py": "embedding/test_store.py",
    "neighbors/stored_pairs.py": "neighbors/test_pairs.py",
    "embedding/space.py": "embedding/test_calibration.py",
    "errors.py": "runtime/test_exits.py",
    "schema.py": "docs/test_pages.py",
    "pretraining/training_set.py": "pretraining/test_pretrain.py",
    "pretraining/*": "pretraining/test_pretrain.py",
    "report/*": "report/test_report.py",
    "runtime/checks.py": "commands/test_command_lines.py",
    "neighbors/device/*": "neighbors/device/test_rows.py",
    "neighbors/float64.py": "neighbors/test_cosines.py",
    "runtime/disk.py": "runtime/test_reading.py",
    "runtime/memory.py": "runtime/test_digests.py",
    "runtime/regular.py": "runtime/test_digests.py",
    "runtime/tables.py": "runtime/test_reading.py",
    "runtime/processes.py": "embedding/test_embed.py",
    "selection/curve.py": "selection/test_curve.py",
    "selection/folder.py": "hub/test_push.py",
    "selection/subset.py": "hub/test_push.py",
    "selection/*": "selection/test_selection.py",
    "selectors/strata.py": "selectors/test_strata.py",
    "selectors/thinning.py": "selectors/test_meddel.py",
    "selectors/*": "selectors/test_oracle.py",
    "training/checkpoints.py": "pretraining/test_pretrain.py",
    "embed.py": "test_public.py",
    "pretrain.py": "test_public.py",
    "segment.py": "test_public.py",
    "probe.py": "test_public.py",
}
MODULES = [
    path.relative_to(PACKAGE).as_posix()
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.name.startswith("__") and path.parent.name != "assets"
]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_test_of_its_name_or_says_whose(module):
    own = Path(module).with_name(f"test_{Path(module).name}")
    other = next((file for pattern, file in TESTED_BY.items() if fnmatch(module, pattern)), None)
    assert (TESTS / own).is_file() or (other is not None and (TESTS / other).is_file()), (
        f"write tests/{own}, or say in TESTED_BY who tests {module}"
    )


def test_the_table_names_what_there_is():
    for pattern, file in TESTED_BY.items():
        assert any(fnmatch(module, pattern) for module in MODULES), f"no module is {pattern}"
        assert (TESTS / file).is_file(), f"there is no tests/{file}"
