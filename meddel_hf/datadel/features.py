"""The columns of DataDEL, the same in every configuration."""

from __future__ import annotations

from datasets import Features, Image, List, Value

from meddel_hf import schema

FEATURES = Features(
    {
        schema.ID: Value("string"),  # "<source>/<path in the owner's layout without suffix>"
        schema.IMAGE: Image(),  # bytes as they came
        schema.MASK: Image(),  # one channel, 0 or 255, of the image's size; null where there is none
        schema.BOXES: List(
            {"label": Value("string"), "bbox": List(Value("float32"), length=4)}
        ),  # x, y, w, h in pixels
        schema.LABEL: Value("string"),
        schema.SOURCE: Value("string"),
        schema.CENTER: Value("string"),  # null where the files do not tell
        schema.GROUP: Value("string"),  # video, sequence or patient
        schema.OFFICIAL_SPLIT: Value("string"),
        schema.WIDTH: Value("int32"),
        schema.HEIGHT: Value("int32"),
    }
)

# Side table of the sources that tell masks apart by class; the row's own mask is the union of them.
CLASS_MASKS = Features({schema.ID: Value("string"), schema.LABEL: Value("string"), schema.MASK: Image()})
