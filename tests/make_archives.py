"""Small archives in the owners' layouts, with their quirks; frames are made up.

    python tests/make_archives.py FOLDER

writes all of them. Tests call the functions one by one.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIZE = (96, 80)  # width, height


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth RGB picture that resembles no other seed's."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return encoded(picture(seed, size), "JPEG", quality=90)


def png(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return encoded(picture(seed, size), "PNG")


def bmp(seed: int) -> bytes:
    return encoded(picture(seed), "BMP")


def ellipse(size: tuple[int, int] = SIZE, *, empty: bool = False) -> np.ndarray:
    """(height, width) bool: the object of every mask here."""
    y, x = np.mgrid[: size[1], : size[0]]
    inside = ((x - size[0] / 2) / (size[0] / 4)) ** 2 + ((y - size[1] / 2) / (size[1] / 3)) ** 2 <= 1
    return inside & (not empty)


def mask(kind: str = "PNG", mode: str = "L", size: tuple[int, int] = SIZE, *, empty: bool = False) -> bytes:
    """JPEG masks come out with values from 0 to about 8 and 247 to 255, as the owners' do."""
    grey = Image.fromarray(ellipse(size, empty=empty).astype(np.uint8) * np.uint8(255))
    return encoded(grey.convert(mode), kind)


def five_pages(present: Mapping[int, np.ndarray]) -> bytes:
    """A TIFF of five pages, 255 where a page's class is present."""
    pages = np.zeros((5, SIZE[1], SIZE[0]), np.uint8)
    for number, where in present.items():
        pages[number][where] = 255
    file = io.BytesIO()
    tifffile.imwrite(file, pages, photometric="minisblack")
    return file.getvalue()


def refused_tiff(seed: int) -> bytes:
    """RGB marked as grey without ExtraSamples: Pillow cannot read it, as it cannot CVC-ClinicDB's frames."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(picture(seed)), photometric="rgb")
    data = bytearray(file.getvalue())
    tag = data.index(struct.pack("<HHI", 262, 3, 1))
    data[tag + 8 : tag + 10] = struct.pack("<H", 1)
    return bytes(data)


def video(frames: int, fps: int = 10, size: tuple[int, int] = SIZE, format: str = "mp4") -> bytes:
    """A video whose frame n is of one grey: 4 n."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(frames):
            image = Image.new("RGB", size, (4 * n,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return file.getvalue()


Files = Mapping[str, bytes | str]


def write_folder(root: Path, files: Files) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_zip(path: Path, files: Files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zipped(files))
    return path


def zipped(files: Files) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def tarred(files: Files, compression: str = "gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def kvasir_boxes(*stems: str) -> str:
    box = {"label": "polyp", "xmin": 10, "ymin": 8, "xmax": 60, "ymax": 70}
    return json.dumps({stem: {"height": SIZE[1], "width": SIZE[0], "bbox": [box]} for stem in stems})


SEG = ["cju0a", "cju0b", "cju0c"]


def gastrovision() -> Files:
    """One basename in two classes; a class folder with underscores, as a copy has it."""
    return {
        "Gastrovision/Colon polyps/100H0004.jpg": jpeg(1),
        "Gastrovision/Colon_polyps/b.jpg": jpeg(2),
        "Gastrovision/Esophagitis/100H0004.jpg": jpeg(3),
        "Gastrovision/Normal_mucosa_and_vascular_pattern_in_the_large bowel/d.jpg": jpeg(4),
        "Gastrovision/Split/train.csv": "Filename,Class\n100H0004.jpg,Esophagitis\n",
        "Gastrovision/Split/validate.csv": "Filename,Class\n100H0004.jpg,Colon polyps\n",
        "Gastrovision/GastroVision_metadata.csv": "Filename,Class,Width,Height,Size (kB)\n"
        "100H0004.jpg,Colon polyps,96,80,1\nb.jpg,Colon polyps,96,80,1\nabsent.jpg,Ulcer,96,80,1\n",
    }


def hyper_kvasir() -> dict[str, Files]:
    """By archive. image-labels.csv lists a frame that is not there; the split file has its own names of classes."""
    lower, upper = "labeled-images/lower-gi-tract", "labeled-images/upper-gi-tract"
    return {
        "hyper-kvasir-labeled-images.zip": {
            f"{lower}/pathological-findings/hemorrhoids/h1.jpg": jpeg(11),
            f"{lower}/pathological-findings/polyps/p1.jpg": jpeg(12),
            f"{lower}/pathological-findings/ulcerative-colitis-0-1/u1.jpg": jpeg(13),  # the README's spelling
            f"{upper}/anatomical-landmarks/z-line/z1.jpg": jpeg(14),
            "labeled-images/image-labels.csv": "Video file,Organ,Finding,Classification\n"
            "h1,Lower GI,hemorrhoids,pathological-findings\ngone,Lower GI,polyps,pathological-findings\n",
        },
        "hyper-kvasir-unlabeled-images.zip": {"unlabeled-images/images/n1.jpg": jpeg(15)},
        "hyper-kvasir-segmented-images.zip": {
            "segmented-images/images/p1.jpg": jpeg(12),
            "segmented-images/masks/p1.jpg": mask("JPEG"),
            "segmented-images/bounding-boxes.json": kvasir_boxes("p1"),
        },
        "hyper-kvasir-labeled-videos.zip": {"labeled-videos/lower-gi-tract/v1.avi": video(25, format="avi")},
        "official.zip": {"2_fold_split.csv": "file-name;class-name;split-index\nh1.jpg;hemorroids;1\n"},
    }


CAPSULE = "bca26705313a4644"


def kvasir_capsule() -> Files:
    """labelled_images holds one tar.gz a class; a box is a quadrilateral."""
    head = "filename;video_id;frame_number;finding_category;finding_class;x1;y1;x2;y2;x3;y3;x4;y4\n"
    return {
        "labelled_images/ampulla_of_vater.tar.gz": tarred({f"Ampulla of vater/{CAPSULE}_7.jpg": jpeg(21)}),
        "labelled_images/blood_fresh.tar.gz": tarred(
            {f"Blood - fresh/{CAPSULE}_{n}.jpg": jpeg(22 + n) for n in range(3)}
        ),
        "labelled_videos/bca26705313a4644.mp4": video(20),
        "metadata.csv": head
        + f"{CAPSULE}_0.jpg;{CAPSULE};0;Luminal;Blood - fresh;10;20;50;18;52;60;12;62\n"
        + f"{CAPSULE}_7.jpg;{CAPSULE};7;Anatomy;Ampulla of Vater;;;;;;;;\n"
        + f"{CAPSULE}_999.jpg;{CAPSULE};999;Luminal;Ulcer;;;;;;;;\n",
        "official_splits/split_0.csv": f"filename,label\n{CAPSULE}_0.jpg,Blood\n",
    }


def cvc_clinicdb() -> Files:
    return {
        **{f"CVC-ClinicDB/Original/{n}.tif": refused_tiff(30 + n) for n in (1, 25, 26)},
        **{f"CVC-ClinicDB/Ground Truth/{n}.tif": mask("TIFF") for n in (1, 25, 26)},
    }


def cvc_clinicdb_repack() -> Files:
    return {
        "archive/PNG/Original/1.png": png(31),
        "archive/PNG/Ground Truth/1.png": mask(mode="RGB"),
        "archive/TIF/Original/1.tif": refused_tiff(31),
        "archive/TIF/Ground Truth/1.tif": mask("TIFF"),
        "archive/class_dict.csv": "class_names,r,g,b\nPolyp,255,255,255\n",
        "archive/metadata.csv": "frame_id,sequence_id,tif_image_path,tif_mask_path,png_image_path,png_mask_path\n",
    }


def pranet() -> Files:
    files: dict[str, bytes | str] = {}
    names = {"CVC-300": ("149", "154"), "CVC-ClinicDB": ("100",), "CVC-ColonDB": ("1", "2"),
             "ETIS-LaribPolypDB": ("1",), "Kvasir": ("cju1x",)}  # fmt: skip
    for k, (name, stems) in enumerate(names.items()):
        for stem in stems:
            files[f"TestDataset/{name}/images/{stem}.png"] = png(40 + 7 * k + len(files))
            files[f"TestDataset/{name}/masks/{stem}.png"] = mask()
    for k, stem in enumerate(("cju1y", "38", "612")):
        files[f"TrainDataset/image/{stem}.png"] = png(90 + k)
        files[f"TrainDataset/mask/{stem}.png"] = mask()
    return files


def cvc_colondb() -> Files:
    return {f"CVC-ColonDB/{prefix}{n}.bmp": mask("BMP") if prefix else bmp(100 + n)
            for n in (1, 2) for prefix in ("", "p", "s", "c")}  # fmt: skip


def cvc_300() -> Files:
    return {
        "CVC-EndoSceneStill/CVC-300/bbdd/149.bmp": bmp(111),
        "CVC-EndoSceneStill/CVC-300/gtpolyp/149.bmp": mask("BMP"),
        "CVC-EndoSceneStill/CVC-300/gtlumen/149.bmp": mask("BMP"),
        "CVC-EndoSceneStill/CVC-612/bbdd/1.bmp": bmp(112),
    }


def polyps912() -> Files:
    return {f"polyps912/test/{kind}/{n}.bmp": mask("BMP") if kind == "masks2" else bmp(113 + n)
            for n in (150, 300, 301) for kind in ("images", "masks2")}  # fmt: skip


def ead2019() -> Files:
    half = np.zeros((SIZE[1], SIZE[0]), bool)
    half[:, : SIZE[0] // 2] = True
    grey = five_pages({0: ellipse(), 1: half})
    return {
        "trainingData_detection/00000.jpg": jpeg(121),
        "trainingData_detection/00000.txt": "5 0.25 0.5 0.25 0.5\n0 0.9 0.02 0.1 0.06\n",  # sticks out above
        "trainingData_detection/class_list.txt": "specularity\n",
        "trainingData_semanticSegmentation/0_original_images/00000_batch2.jpg": jpeg(122),
        "trainingData_semanticSegmentation/00000_batch2_mask.tif": grey,
        "trainingData_semanticSegmentation/0_original_images/00001.jpg": jpeg(123),
        "trainingData_semanticSegmentation/00001.tif": five_pages({}),
        "test_images_detection/00000.jpg": jpeg(124),
    }


def edd2020() -> Files:
    root = "EDD2020_release-I_2020-01-15"
    return {
        f"{root}/originalImages/EDD2020_ACB0001.jpg": jpeg(131),
        f"{root}/originalImages/EDD2020_ACB0002.jpg": jpeg(132),
        f"{root}/originalImages/EDD2020_ACB0003.jpg": jpeg(133),
        f"{root}/bbox/EDD2020_ACB0001.txt": "10 8 60 70 BE\n20 18 40 30 suspicious\n",
        f"{root}/masks/EDD2020_ACB0001_BE.tif": mask("TIFF"),
        f"{root}/masks/EDD2020_ACB0001_suspicious.tif": mask("TIFF", empty=True),
        f"{root}/masks/EDD2020_ACB0002_polyp_mask.tif": mask("TIFF"),
        f"{root}/masks/EDD2020_ACB0003_mask.tif": five_pages({3: ellipse()}),
        f"{root}/masks/EDD2020_ACB0003_wart.tif": mask("TIFF"),
        f"{root}/class_list.txt": "BE\nsuspicious\nHGD\ncancer\npolyp",
    }


def etis_larib() -> Files:
    return {
        "ETIS-LaribPolypDB/ETIS-LaribPolypDB/1.tif": encoded(picture(141), "TIFF"),
        "ETIS-LaribPolypDB/Ground Truth/p1.tif": mask("TIFF"),
    }


def imageclefmed() -> Files:
    root = "ImageCLEFmed-MEDVQA-GI-2023-Development-Dataset"
    answers = [{"ImageID": name, "Labels": [{"Question": "?", "Answer": ["yes"]}]} for name in ("cl8a", "cl8gone")]
    return {
        f"{root}/images/cl8a.jpg": jpeg(151),
        f"{root}/images/cl8b.jpg": jpeg(152),
        f"{root}/masks/cl8a_polyp.png": mask(),
        f"{root}/gt.json": json.dumps(answers),
    }


def kvasir_instrument() -> Files:
    """Inner folders as archives; masks mark the instrument in the red channel alone."""
    red = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    red[ellipse(), 0] = 255
    return {
        "kvasir-instrument/images.tar.gz": tarred({f"images/{s}.jpg": jpeg(160 + k) for k, s in enumerate("ab")}),
        "kvasir-instrument/masks.tar.gz": tarred(
            {f"masks/{s}.png": encoded(Image.fromarray(red), "PNG") for s in "ab"}
        ),
        "kvasir-instrument/bboxes.json": kvasir_boxes("a").replace("polyp", "instrument"),
        "kvasir-instrument/train.txt": "a\n",
        "kvasir-instrument/test.txt": "b\n",
    }


def kvasir_seg() -> Files:
    """JPEG masks, RGB and L; the owner's misspelt table, which lists a frame that is not there."""
    return {
        **{f"Kvasir-SEG/images/{stem}.jpg": jpeg(170 + k) for k, stem in enumerate(SEG)},
        **{f"Kvasir-SEG/masks/{stem}.jpg": mask("JPEG", "L" if k else "RGB") for k, stem in enumerate(SEG)},
        "Kvasir-SEG/kavsir_bboxes.json": kvasir_boxes(*SEG, "cju0gone"),
    }


def kvasir_seg_repack() -> Files:
    return {
        "Kvasir-SEG/images/cju0a.jpg": jpeg(170),
        "Kvasir-SEG/masks/cju0a.jpg": mask("JPEG"),
        "Kvasir-SEG/annotated_images/cju0a.jpg": jpeg(170),
        "Kvasir-SEG/bbox/cju0a.csv": "class_name,xmin,ymin,xmax,ymax\npolyp,10,8,60,70\n",
    }


def kvasir_sessile() -> Files:
    return {
        "sessile-main-Kvasir-SEG/images/cju0a.jpg": jpeg(170),
        "sessile-main-Kvasir-SEG/masks/cju0a.jpg": mask("JPEG"),
    }


def polypgen2021() -> Files:
    """Boxes under two names, a missing one, an empty one; a stem with a trailing _; stray .txt among the masks."""
    root = "PolypGen2021_MultiCenterData_v3"
    files: dict[str, bytes | str] = {}
    stems = {1: "102OLCV1_100H0006", 2: "EndoCV2021_001000", 3: "C3_EndoCV2021_00489_", 4: "10_endocv2021_positive_1",
             5: "EndoCV2021_C5_5", 6: "EndoCV2021_C6_1"}  # fmt: skip
    for n, stem in stems.items():
        masked = f"{stem.rstrip('_')}_mask"
        files[f"{root}/data_C{n}/images_C{n}/{stem}.jpg"] = jpeg(180 + n)
        files[f"{root}/data_C{n}/masks_C{n}/{masked}.jpg"] = mask("JPEG", "RGB" if n % 2 else "L", empty=n == 6)
        files[f"{root}/data_C{n}/bbox_image_C{n}/{stem}.jpg"] = jpeg(180 + n)
        if n != 3:
            name = stem if n == 2 else masked
            files[f"{root}/data_C{n}/bbox_C{n}/{name}.txt"] = "" if n == 6 else "polyp 10 8 60 70\n"
    here = f"{root}/sequenceData/positive/seq2"
    files[f"{here}/images_seq2/seq2_C4_7.jpg"] = jpeg(191)
    files[f"{here}/masks_seq2/seq2_C4_7_mask.jpg"] = mask("JPEG")
    files[f"{here}/masks_seq2/seq2_C4_7_mask.txt"] = "polyp 1 1 2 2\n"
    files[f"{here}/bbox_seq2/seq2_C4_7.txt"] = "polyp 10 8 60 70\n"
    files[f"{root}/sequenceData/negativeOnly/seq1_neg/seq1_neg_C2_1.jpg"] = jpeg(192)
    files[f"{root}/imagesAll_positive/{stems[1]}.jpg"] = jpeg(181)
    return files


def everything(folder: Path) -> Path:
    """All of the above as the owners pack them, so that every source is found once."""
    for name, files in hyper_kvasir().items():
        write_zip(folder / name, files)
    write_folder(folder / "kvasir-capsule", kvasir_capsule())
    for name, files in {
        "Gastrovision": gastrovision(), "CVC-ClinicDB": cvc_clinicdb(), "CVC-EndoSceneStill": cvc_300(),
        "CVC-ColonDB": cvc_colondb(), "EAD2019": ead2019(), "EDD2020_release-I_2020-01-15_v2": edd2020(),
        "ETIS-LaribPolypDB": etis_larib(), "ImageCLEFmed-MEDVQA-GI-2023-Development-Dataset": imageclefmed(),
        "kvasir-instrument": kvasir_instrument(), "kvasir-seg": kvasir_seg(), "kvasir-sessile": kvasir_sessile(),
        "PolypGen2021_MultiCenterData_v3": polypgen2021(),
    }.items():  # fmt: skip
        write_zip(folder / f"{name}.zip", files)
    return folder


if __name__ == "__main__":
    print(everything(Path(sys.argv[1])))
