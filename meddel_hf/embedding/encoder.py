"""Encoders: any vision model of transformers that has one token per patch, from pixels to unit embeddings.

The embedding is the last hidden state after the model's final layer norm: its CLS token, or the mean over its patch
tokens (class, register and distillation tokens are no patches), divided by its length. The places of the last feature
map of a ResNet, ConvNeXt, Swin or Hiera count as patches. The final layer norm of a ConvNeXt, a Hiera, and of a BEiT
that was trained on the mean comes after the mean.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import nn

from meddel_hf.data.images import Preprocessing
from meddel_hf.embedding.loading import explained, located, quiet
from meddel_hf.embedding.space import Pooling, Poolings
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.devices import Precision, resolve_precision
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint
from meddel_hf.schema import CONV_SEGMENTATION, SNAPSHOTS, VIT_SEGMENTATION, WHOLE

_CONVOLUTIONAL = ("resnet", "convnext", "convnextv2")
_IN_STAGES = ("swin", "swinv2", "hiera")  # whose last stage has a token for many patches
_NORM_IN_POOLER = ("hiera", "beit", "data2vec-vision")  # which is made with the pooler, and applied to the mean
_DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}
# Facts of a configuration that say where a model comes from, or how it is used, not what it computes.
_NO_PART_OF_THE_ENCODER = {
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "problem_type", "torch_dtype",
    "transformers_version", "output_attentions", "output_hidden_states", "return_dict",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded encoder: call it with pixels, get unit embeddings.

    poolings:    what one forward pass is pooled to, the first being what a call answers.
    dim:         length of an embedding, 768 for ViT-Base.
    prefix:      tokens before the first patch: 1 for CLS, more with registers, 0 for SigLIP and convolutional models.
    precision:   "bf16" or "float32", what the layers compute in; embeddings are float32 either way.
    fingerprint: 32 hex digits over weights, configuration and preprocessing.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    poolings: tuple[Pooling, ...]
    precision: Literal["bf16", "float32"]
    device: torch.device
    dim: int
    prefix: int
    fingerprint: str

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """`pooled`, of the first pooling alone."""
        return self.pooled(pixels)[self.poolings[0]]

    def pooled(self, pixels: np.ndarray, size: int = 1) -> dict[Pooling, torch.Tensor]:
        """pixels: (B, H, W, 3) uint8 at `preprocessing.size`. Returns (B, d) float32 unit vectors, on `device`, of each
        pooling.

        size: frames in the forward pass, black ones beside those given: products of another size may round otherwise,
              while in passes of one size a frame's vector is the same whatever stands beside it.
        A vector that the model made zero or not finite stays so: the caller decides what becomes of its frame.
        """
        given = len(pixels)
        if given < size:
            pixels = np.concatenate([pixels, np.zeros((size - given, *pixels.shape[1:]), pixels.dtype)])
        with torch.inference_mode():
            tokens = self._tokens(pixels)
            pooled = {pooling: nn.functional.normalize(self._pool(tokens, pooling), dim=1) for pooling in self.poolings}
            return {pooling: vectors[:given] for pooling, vectors in pooled.items()}

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches in a frame. Raises InvalidArgument where they are not square."""
        config: Any = self.model.config
        if config.model_type in (*_CONVOLUTIONAL, *_IN_STAGES):
            return _map_of(config, self.preprocessing.size)
        side = getattr(config, "patch_size", None)
        if not isinstance(side, int):
            raise InvalidArgument(f"{self.name} has patches of {side} pixels: expected square ones, one number")
        height, width = self.preprocessing.size
        return height // side, width // side

    def patches(self, pixels: np.ndarray) -> torch.Tensor:
        """The last hidden state of each patch, (B, P, d) float32, on `device`; patches go row by row of the frame."""
        with torch.inference_mode():
            return self._tokens(pixels)[:, self.prefix :].float()

    def _tokens(self, pixels: np.ndarray) -> torch.Tensor:
        return _tokens(self.model, _normalised(pixels, self.preprocessing, self.device, _DTYPES[self.precision]))

    def _pool(self, tokens: torch.Tensor, pooling: Pooling) -> torch.Tensor:
        if pooling == "cls":
            return tokens[:, 0].float()
        mean = tokens[:, self.prefix :].float().mean(dim=1)
        norm = _norm_after_mean(self.model)
        return mean if norm is None else norm(mean.to(tokens.dtype)).float()


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The vision model of a Hub id or folder as it was saved, in float32 on the CPU; it saw no frame yet.

    fingerprint: as of `Encoder`.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    fingerprint: str


def load_pretrained(name_or_path: str, *, revision: str | None, trust_remote_code: bool = False) -> Pretrained:
    """Load it from safetensors weights only; "carried" is the package's own.

    Raises InvalidArgument where it cannot be loaded or lacks weights, or is a segmentation model of ours;
    IncompleteStore where a run of ours wrote it and its files were damaged since.
    """
    with located(name_or_path) as where, quiet(), explained(name_or_path):
        check_weights(Path(where))
        model, config = _load_model(where, revision, trust_remote_code)
        preprocessing = Preprocessing.from_pretrained(where, model_type=config.model_type, revision=revision)
        return Pretrained(name_or_path, model, preprocessing, _fingerprint(model, config, preprocessing))


def load_encoder(
    name_or_path: str,
    *,
    pooling: Poolings = "cls",
    precision: Precision = "auto",
    device: str | torch.device = "cpu",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Load the vision model of a Hub id or folder, from safetensors weights only; "carried" is the package's own.

    pooling:   "both" is CLS, then mean; "auto" that too, but the mean alone of a model without a CLS token.
    precision: "auto" is bf16 where the processor or GPU multiplies it natively, else float32.
    Raises InvalidArgument where the model cannot be loaded, lacks weights, or has no token per patch or no CLS token;
    IncompleteStore where a run of ours wrote it and its files were damaged since.
    """
    if pooling not in get_args(Poolings):
        raise InvalidArgument(f"pooling must be one of {', '.join(get_args(Poolings))}, got {pooling!r}")
    device = torch.device(device)
    resolved = resolve_precision(precision, device)
    loaded = load_pretrained(name_or_path, revision=revision, trust_remote_code=trust_remote_code)
    preprocessing = loaded.preprocessing
    config: Any = loaded.model.config
    with quiet(), explained(name_or_path):
        model = loaded.model.to(device=device, dtype=_DTYPES[resolved]).eval().requires_grad_(False)
        prefix, dim = _measure(model, config, name_or_path, preprocessing, device, _DTYPES[resolved])
    if pooling in ("cls", "both") and prefix == 0:
        raise InvalidArgument(f'{name_or_path} ({config.model_type}) has no CLS token: use pooling="mean"')
    poolings = _poolings(pooling, has_cls=prefix > 0)
    return Encoder(name_or_path, model, preprocessing, poolings, resolved, device, dim, prefix, loaded.fingerprint)


def _poolings(pooling: Poolings, *, has_cls: bool) -> tuple[Pooling, ...]:
    if pooling == "both" or (pooling == "auto" and has_cls):
        return ("cls", "mean")
    return ("cls",) if pooling == "cls" else ("mean",)


def check_weights(folder: Path) -> None:
    """Where a folder was written by a run of ours, its files are as its run's manifest records them.

    Raises IncompleteStore that names a damaged one. Hub ids, and folders of others, have no record: they pass.
    """
    folder = folder.absolute()
    above = folder
    if folder.name == WHOLE:
        above = folder.parent
    elif folder.parent.name == SNAPSHOTS:
        above = folder.parents[1]
    if (above / MANIFEST).is_file():
        manifest, here = Manifest.read(above), folder.relative_to(above)
        manifest.check(above, [name for name in manifest.files if Path(name).parent == here])


def _load_model(name: str, revision: str | None, trust_remote_code: bool) -> tuple[nn.Module, Any]:
    """The vision tower with no pooling head, in float32, and its configuration."""
    from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig

    facts, _ = PretrainedConfig.get_config_dict(name, revision=revision)
    if facts.get("model_type") in (VIT_SEGMENTATION, CONV_SEGMENTATION):
        raise InvalidArgument(
            f"{name} is a segmentation model that meddel segment wrote: give the encoder that it was made from"
        )
    origin: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(name, **origin)
    config = getattr(config, "vision_config", config)  # CLIP and SigLIP carry a text model too
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False  # SigLIP's attention pooling comes after the last hidden state
    loader: Any = MODEL_MAPPING.get(type(config), AutoModel)
    if "add_pooling_layer" in inspect.signature(loader).parameters:
        origin["add_pooling_layer"] = config.model_type in _NORM_IN_POOLER
    model, report = loader.from_pretrained(
        name, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **origin
    )
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise InvalidArgument(
            f"{name} lacks {len(missing)} weights of its vision model ({config.model_type}), such as {missing[0]}: "
            "they would be random; expected a checkpoint that holds them"
        )
    return model, config


def _tokens(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, T, d), the last hidden state after the final layer norm, tokens in the image's order."""
    config: Any = model.config
    options: dict[str, Any] = {}
    if config.model_type == "vit_mae":  # it sorts its tokens by noise: rising noise leaves them where they are
        patches = (pixels.shape[2] // config.patch_size) * (pixels.shape[3] // config.patch_size)
        options["noise"] = torch.arange(patches, dtype=torch.float32, device=pixels.device).expand(len(pixels), -1)
    if _wants_interpolation(model, pixels.shape[2:]):
        options["interpolate_pos_encoding"] = True
    tokens: torch.Tensor = model(pixel_values=pixels, **options).last_hidden_state
    if config.model_type in _CONVOLUTIONAL:
        return tokens.flatten(2).transpose(1, 2)
    if config.model_type == "clip_vision_model":  # transformers applies CLIP's final layer norm to its CLS token alone
        tokens = next(layer for name, layer in model.named_modules() if name.endswith("post_layernorm"))(tokens)
    return tokens


def _norm_after_mean(model: Any) -> nn.Module | None:
    """The layer norm that comes after the mean over patches, of a model that was trained so."""
    if model.config.model_type in ("convnext", "convnextv2"):
        return cast(nn.Module, model.layernorm)
    return cast("nn.Module | None", model.pooler.layernorm) if model.config.model_type in _NORM_IN_POOLER else None


def _map_of(config: Any, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the last feature map: each stage but the first halves a side; ResNet and Swin round up."""
    later_stages = len(config.depths) - 1
    match config.model_type:
        case "resnet":
            part = 4 * 2 ** (later_stages + config.downsample_in_first_stage)
            height, width = (-(-side // part) for side in size)
        case "swin" | "swinv2":
            height, width = (-(-side // (config.patch_size * 2**later_stages)) for side in size)
        case "hiera":
            strides = zip(size, config.patch_stride, config.query_stride, strict=True)
            height, width = (side // stride // query**config.num_query_pool for side, stride, query in strides)
        case _:
            height, width = (side // config.patch_size // 2**later_stages for side in size)
    return height, width


def _wants_interpolation(model: nn.Module, size: torch.Size) -> bool:
    trained = getattr(model.config, "image_size", None)
    trained = (trained, trained) if isinstance(trained, int) else trained
    takes_it = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return takes_it and trained is not None and tuple(trained) != tuple(size)


def _normalised(
    pixels: np.ndarray, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in dtype."""
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    channels_first = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).contiguous().float()
    return channels_first.mul_(preprocessing.scale).sub_(mean).div_(std).to(dtype)  # in place: this is 4 % of a batch


def _measure(
    model: nn.Module, config: Any, name: str, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
) -> tuple[int, int]:
    """(tokens before the first patch, length of an embedding), by one forward pass of a grey frame."""
    height, width = preprocessing.size
    try:
        with torch.inference_mode():
            grey = np.full((1, height, width, 3), 127, np.uint8)
            shape = tuple(_tokens(model, _normalised(grey, preprocessing, device, dtype)).shape)
    except (ValueError, RuntimeError) as error:
        raise InvalidArgument(f"{name} does not take frames of {height}x{width} pixels: {error}") from error
    if config.model_type in _CONVOLUTIONAL:
        return 0, shape[2]
    if config.model_type in _IN_STAGES:
        rows, columns = _map_of(config, preprocessing.size)
        if shape[1] != rows * columns:
            raise InvalidArgument(
                f"the last stage of {name} ({config.model_type}) has {shape[1]} tokens: expected one for each of "
                f"{rows}x{columns} places of a frame of {height}x{width} pixels"
            )
        return 0, shape[2]
    patch = getattr(config, "patch_size", None)
    patch_height, patch_width = (patch, patch) if isinstance(patch, int) else patch or (height, width)
    patches = (height // patch_height) * (width // patch_width)
    if len(shape) != 3 or not patches <= shape[1] <= patches + 16:
        raise InvalidArgument(
            f"the last hidden state of {name} ({config.model_type}) has shape {shape}: expected (1, tokens, d) with "
            f"one token for each of {patches} patches, as of a vision transformer"
        )
    return shape[1] - patches, shape[2]


def _fingerprint(model: nn.Module, config: Any, preprocessing: Preprocessing) -> str:
    facts = {key: value for key, value in config.to_dict().items() if key not in _NO_PART_OF_THE_ENCODER}
    pixels = {key: value for key, value in asdict(preprocessing).items() if key != "view"}  # the store's, not a model's
    parts: list[str | bytes] = [json.dumps([facts, pixels], sort_keys=True, default=str)]
    for name, tensor in sorted(model.state_dict().items()):
        parts += [f"{name} {tuple(tensor.shape)} {tensor.dtype}", tensor.contiguous().cpu().numpy().tobytes()]
    return fingerprint(*parts)
