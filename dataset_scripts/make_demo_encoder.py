"""Pre-train the small encoder that the package carries, on CC BY 4.0 frames only: PolypGen and GastroVision.

    python dataset_scripts/make_demo_encoder.py train RAW --out RUN [--samples 2000000] [--contrast 0.2] [--resume]
    python dataset_scripts/make_demo_encoder.py export RUN/checkpoint-N meddel_hf/assets/encoder

RAW holds `PolypGen2021_MultiCenterData_v3/` and `Gastrovision/` as their owners publish them. Training is a masked
autoencoder (arXiv 2111.06377): 75 % of the patches hidden, normalised pixels as the target, written by `Trainer` as
checkpoints from which it resumes. `--contrast` adds a second loss on the same forward pass: the class tokens of two
differently cropped and masked views of a frame should be closer than those of two frames (NT-Xent, arXiv 2002.05709).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTImageProcessorPil,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)
from transformers.trainer_utils import get_last_checkpoint

FRAMES = ("PolypGen2021_MultiCenterData_v3/data_C*/images_C*/*.jpg", "Gastrovision/*/*.jpg")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as every ViT processor has them
STORED = 128  # side in pixels of the frames held in memory; a crop of it is scaled to IMAGE_SIZE
IMAGE_SIZE, PATCH = 96, 12
VIEWS = 2
TEMPERATURE = 0.2
DECAY_SHARE = 0.2  # of the run, at its end: the rate stays constant before, so that a run can be cut short or prolonged


class FrameViews(torch.utils.data.Dataset):
    """Frames in memory, (3, STORED, STORED) uint8: read once, cropped anew each time by `collate`."""

    def __init__(self, raw: Path) -> None:
        paths = sorted(path for pattern in FRAMES for path in raw.glob(pattern))
        if not paths:
            raise SystemExit(f"{raw} holds none of {', '.join(FRAMES)}: give the folder that the archives unpack to")
        self.frames = torch.stack([read_frame(path) for path in paths])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> Tensor:
        return self.frames[row]


def read_frame(path: Path) -> Tensor:
    """(3, STORED, STORED) uint8; the frame is squeezed to a square, as the processor does with what it embeds."""
    with Image.open(path) as image:
        square = image.convert("RGB").resize((STORED, STORED), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def collate(frames: list[Tensor]) -> dict[str, Tensor]:
    """Views of a batch: (VIEWS * B, 3, IMAGE_SIZE, IMAGE_SIZE) float32, first views of all frames, then second ones."""
    pixels = torch.stack(frames).repeat(VIEWS, 1, 1, 1).float() / 255
    views = jitter(random_crops(pixels))
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return {"pixel_values": (views - mean) / std}


def random_crops(pixels: Tensor) -> Tensor:
    """Crops of 25 to 100 % of the area, aspect 3:4 to 4:3, flipped at random both ways: an endoscope has no upright."""
    n = len(pixels)
    area, aspect = torch.empty(n).uniform_(0.25, 1), torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp(max=1)  # (n, 2): width, height
    middle = (torch.rand(n, 2) * 2 - 1) * (1 - size)
    flip = torch.randint(0, 2, (n, 2)) * 2 - 1
    theta = torch.cat([torch.diag_embed(size * flip), middle.unsqueeze(2)], 2)  # (n, 2, 3)
    grid = functional.affine_grid(theta, [n, 3, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def jitter(pixels: Tensor) -> Tensor:
    """Brightness and contrast within 30 %, each channel's gain within 10 %."""
    n = len(pixels)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = torch.empty(2, n, 1, 1, 1).uniform_(0.7, 1.3)
    gain = torch.empty(n, 3, 1, 1).uniform_(0.9, 1.1)
    return (((pixels - mean) * contrast + mean) * brightness * gain).clamp(0, 1)


class ContrastiveMAE(ViTMAEForPreTraining):
    """ViTMAE whose class token, which plain MAE gives nothing to do, may have a task of its own.

    contrast: weight of the NT-Xent loss between the two views of each frame; 0 is plain MAE.
    """

    def __init__(self, config: ViTMAEConfig, contrast: float = 0.0) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.contrast = contrast
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 128))
        set_positions(self)

    def forward(self, pixel_values: Tensor, **_: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """pixel_values: (VIEWS * B, 3, H, W) as `collate` makes them. Returns {"loss": scalar}."""
        output = super().forward(pixel_values, output_hidden_states=True)
        loss = output.loss
        if self.contrast:
            class_token = self.vit.layernorm(output.hidden_states[-1][:, 0])  # as the encoder's last step does
            loss = loss + self.contrast * nt_xent(self.head(class_token).float())
        return {"loss": loss}


def nt_xent(projected: Tensor) -> Tensor:
    """Normalised temperature-scaled cross entropy of (2 * B, D) projections; row i and row i + B are one frame."""
    unit = functional.normalize(projected, dim=1)
    n = len(unit)
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return functional.cross_entropy(similarity, torch.arange(n).roll(n // 2))


def set_positions(model: ViTMAEForPreTraining) -> None:
    """Give encoder and decoder their fixed sine-cosine positions.

    transformers 5.23 leaves both all zero in a model made from a config (its weight initialisation overwrites the
    decoder's and skips the encoder's); the decoder then cannot know which patch it is to paint.
    """
    for table in position_tables(model):
        table.data.copy_(sine_positions(IMAGE_SIZE // PATCH, table.shape[-1]))


def position_tables(model: ViTMAEForPreTraining) -> tuple[Tensor, Tensor]:
    """Of the encoder and of the decoder: (1, 1 + patches, width) each."""
    return model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed


def sine_positions(side: int, width: int) -> Tensor:
    """(1, 1 + side², width): a zero row for the class token, then the patches row by row."""
    frequency = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side).unsqueeze(1) * frequency  # (side, width / 4)
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # (side, width / 2)
    across, down = axis.repeat(side, 1), axis.repeat_interleave(side, 0)
    return torch.cat([torch.zeros(1, width), torch.cat([across, down], 1)]).unsqueeze(0)


def encoder_config() -> ViTMAEConfig:
    """2.3 million parameters: 4.6 MB in bfloat16."""
    return ViTMAEConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        hidden_size=192,
        num_hidden_layers=5,
        num_attention_heads=3,
        intermediate_size=768,
        decoder_hidden_size=128,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=512,
        norm_pix_loss=True,
        mask_ratio=0.75,
    )


def train(args: argparse.Namespace) -> None:
    """Write a checkpoint to args.out every args.save_every samples; the last one ends the decay of the rate."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    checkpoint = get_last_checkpoint(args.out) if args.resume is True else args.resume
    model = resumed(checkpoint, args.contrast) if checkpoint else ContrastiveMAE(encoder_config(), args.contrast)
    steps = args.samples // args.batch
    settings = TrainingArguments(
        output_dir=str(args.out),
        max_steps=steps,
        per_device_train_batch_size=args.batch // VIEWS,
        learning_rate=args.rate,
        weight_decay=0.05,
        adam_beta2=0.95,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(DECAY_SHARE * steps)},
        warmup_steps=40_000 // args.batch,
        save_steps=args.save_every // args.batch,
        logging_steps=10_000 // args.batch,
        bf16=True,
        use_cpu=True,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        label_names=[],
        ignore_data_skip=True,
        report_to="none",
        disable_tqdm=True,
        seed=args.seed,
    )
    Trainer(model, settings, data_collator=collate, train_dataset=FrameViews(args.raw)).train(
        resume_from_checkpoint=checkpoint
    )


def resumed(checkpoint: str, contrast: float) -> ContrastiveMAE:
    """The model of a checkpoint, for `Trainer` to go on with.

    `Trainer` of transformers 5.23 loads a checkpoint by the names in its file, which are older than those of ViTMAE's
    layers: these would stay random, with no more than a warning. `from_pretrained` translates the names, but makes the
    fixed positions trainable.
    """
    model = ContrastiveMAE.from_pretrained(checkpoint, contrast=contrast, dtype=torch.float32)
    for table in position_tables(model):
        table.requires_grad_(False)
    return model


def export(checkpoint: Path, out: Path) -> None:
    """Write the encoder of a checkpoint as a plain ViT with its image processor, safetensors in bfloat16.

    A ViTMAE embeds in a random order of patches unless its masking is switched off; a ViT has nothing to switch off.
    """
    mae = ContrastiveMAE.from_pretrained(checkpoint, dtype=torch.float32)
    vit = plain_vit(mae).to(torch.bfloat16)
    out.mkdir(parents=True, exist_ok=True)
    vit.save_pretrained(out)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    ViTImageProcessorPil(size=size, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(out)
    # Stored in bfloat16 for the size; computed in float32 unless the caller asks otherwise.
    config = json.loads((out / "config.json").read_text(encoding="utf-8")) | {"dtype": "float32"}
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def plain_vit(mae: ViTMAEForPreTraining) -> ViTModel:
    """The same encoder as a ViTModel, checked to give the same hidden states; its pooler is tanh alone."""
    shared = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    shared += ("intermediate_size", "layer_norm_eps", "qkv_bias", "hidden_act")
    vit = ViTModel(ViTConfig(**{name: getattr(mae.config, name) for name in shared})).eval()
    missing, unexpected = vit.load_state_dict(mae.vit.state_dict(), strict=False)
    if unexpected or set(missing) != {"pooler.dense.weight", "pooler.dense.bias"}:
        raise SystemExit(f"ViTMAE and ViT no longer share names: missing {missing}, unexpected {unexpected}")
    nn.init.eye_(vit.pooler.dense.weight)
    nn.init.zeros_(vit.pooler.dense.bias)
    mae = mae.eval()
    mae.vit.embeddings.config.mask_ratio = 0.0
    side = mae.config.image_size // mae.config.patch_size
    pixels, in_order = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE), torch.arange(side**2).float().expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(vit(pixels).last_hidden_state, mae.vit(pixels, noise=in_order).last_hidden_state)
    return vit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("raw", type=Path)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--samples", type=int, default=2_000_000, help="views seen, two a frame")
    training.add_argument("--save-every", type=int, default=100_000, help="samples between checkpoints")
    training.add_argument("--batch", type=int, default=128, help="views a step")
    training.add_argument("--rate", type=float, default=1e-3)
    training.add_argument("--contrast", type=float, default=0.0)
    training.add_argument("--threads", type=int, default=2)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--resume", nargs="?", const=True, help="a checkpoint; without one: the last in --out")
    training.set_defaults(run=train)
    exporting = commands.add_parser("export")
    exporting.add_argument("checkpoint", type=Path)
    exporting.add_argument("out", type=Path)
    exporting.set_defaults(run=lambda args: export(args.checkpoint, args.out))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
