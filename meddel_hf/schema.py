"""What steps agree on: names of columns and of folders."""

from __future__ import annotations

ID = "id"
IMAGE = "image"

# The other columns of DataDEL, the same in every configuration; their types stand in datadel/features.py.
MASK = "mask"
BOXES = "boxes"
LABEL = "label"
SOURCE = "source"
CENTER = "center"
GROUP = "group"
OFFICIAL_SPLIT = "official_split"
WIDTH = "width"
HEIGHT = "height"

# Further columns of a pool that `meddel pool` made; their types stand in ingest/columns.py.
PATIENT = "patient"
VIDEO = "video"
STUDY, SERIES = "study", "series"
FILE, FRAME = "file", "frame"

FOLDER = "folder"  # no column of a pool, but what may be named as one where ids are paths

# Columns of a selection's rows.parquet, one row for every row of the pool, in the pool's order.
KEPT = "kept"
REASON = "reason"
DUPLICATE_OF = "duplicate_of"
SIMILARITY = "similarity"
CLUSTER = "cluster"
DISTANCE = "distance"
NEAREST_KEPT = "nearest_kept"
NEAREST_SIMILARITY = "nearest_similarity"
DIGEST = "digest"
IN_REFERENCE = "in_reference"
REFERENCE_SIMILARITY = "reference_similarity"
BY_HAND = "by_hand"

# Columns of a downstream run's scores.parquet, one row for every tested frame; see downstream/scores.py.
SET = "set"
SCORE = "score"
INTERSECTION = "intersection"
UNION = "union"

# Folders of weights inside a run's: the whole model beside an encoder, encoders exported on the way, a segmentation's.
WHOLE, SNAPSHOTS, MODEL = "objective", "snapshots", "model"

# Types of models that a segmentation writes, in their config.json.
VIT_SEGMENTATION, CONV_SEGMENTATION = "meddel-vit-segmentation", "meddel-conv-segmentation"

# Of a report's folder; SHOWS, in its manifest's details: what of it not everybody may see.
REPORT_TEXT, REPORT_TABLES, SHOWS = "report.md", "tables", "shows"

TRUST = "compare the sizes of files that are read, and not their checksums"  # what --trust does, everywhere
