"""Masks as saved by annotation tools and paint programs, used by the command."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from xmem_infer.config import DataConfig
from xmem_infer.predictor import Segmenter

SIZE = (48, 64)
CVAT = [(250, 50, 83), (0, 178, 204), (102, 255, 102)]
WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def areas(*ids):
    """Return a label image with one rectangle per id, side by side."""
    mask = np.zeros(SIZE, np.uint8)
    for place, object_id in enumerate(ids):
        mask[8:40, 4 + 16 * place : 16 + 16 * place] = object_id
    return mask


def painted(*colours):
    table = np.array([(0, 0, 0), *colours], np.uint8)
    return Image.fromarray(table[areas(*range(1, len(colours) + 1))])


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "clip").mkdir()
    for t in range(4):
        pixels = np.random.default_rng(t).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "clip" / f"{t}.png")
    return tmp_path / "clip"


def written(tmp_path, frame=0):
    return Image.open(tmp_path / "out" / "masks" / "clip" / f"{frame}.png")


@pytest.mark.parametrize(
    ("mask", "ids", "said"),
    [
        (painted(RED, BLUE), (1, 2), "red -> 1, blue -> 2"),
        (painted(BLUE, RED), (2, 1), "red -> 1, blue -> 2"),
        (painted(*CVAT), (1, 3, 2), "#fa3253 -> 1, #66ff66 -> 2, #00b2cc -> 3"),
        (painted(WHITE), (255,), "white -> 255"),
        (painted((1, 1, 1), (2, 2, 2)), (1, 2), "#010101 -> 1, #020202 -> 2"),
        (painted((128, 0, 0), (0, 128, 0)), (1, 2), "maroon -> 1, green -> 2"),
        (painted(RED, BLUE).convert("RGBA"), (1, 2), "red -> 1, blue -> 2"),
        (Image.fromarray(areas(3, 4)).convert("LA"), (3, 4), "#030303 -> 3, #040404 -> 4"),
    ],
)
def test_flat_colours_become_ids(clip, tmp_path, command, mask, ids, said):
    mask.save(tmp_path / "clip.png")
    code, lines = command(f"video_dir={clip}")
    assert code == 0, lines
    assert f"its colours are objects: {said}\n" in lines
    assert (np.array(written(tmp_path)) == areas(*ids)).all()


def test_transparent_pixels_are_background(clip, tmp_path, command):
    pixels = np.array(painted(RED, BLUE).convert("RGBA"))
    pixels[areas(1, 1) == 0] = (255, 255, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "clip.png")
    assert command(f"video_dir={clip}")[0] == 0
    assert (np.array(written(tmp_path)) == areas(1, 2)).all()


def test_results_use_the_colours_of_the_mask(clip, tmp_path, command):
    painted(RED, BLUE).save(tmp_path / "clip.png")
    assert command(f"video_dir={clip}")[0] == 0
    assert written(tmp_path).getpalette()[:9] == [0, 0, 0, *RED, *BLUE]


def test_one_colour_is_one_object_in_all_masks(clip, tmp_path, command):
    (tmp_path / "given").mkdir()
    painted(BLUE, WHITE).save(tmp_path / "given" / "0.png")
    painted(RED, BLUE).save(tmp_path / "given" / "2.png")
    code, said = command(f"video_dir={clip}", "mask=given")
    assert code == 0, said
    assert "white -> 1, blue -> 2\n" in said
    assert "red -> 3\n" in said
    assert (np.array(written(tmp_path)) == areas(2, 1)).all()
    corrected = np.array(written(tmp_path, 2))
    assert set(np.unique(corrected[areas(1) > 0])) == {3}
    assert set(np.unique(corrected[areas(0, 1) > 0])) == {2}
    assert written(tmp_path, 2).getpalette()[:12] == [0, 0, 0, *WHITE, *BLUE, *RED]


def test_palette_colours_apply_to_later_masks(clip, tmp_path, command):
    (tmp_path / "given").mkdir()
    first = Image.fromarray(areas(7))
    first.putpalette([0] * 21 + list(BLUE))
    first.save(tmp_path / "given" / "0.png")
    painted(RED, BLUE).save(tmp_path / "given" / "2.png")
    code, said = command(f"video_dir={clip}", "mask=given")
    assert code == 0, said
    assert "red -> 1\n" in said
    assert set(np.unique(np.array(written(tmp_path, 2))[areas(0, 1) > 0])) == {7}


def test_the_python_api_shares_colours_too(clip, tmp_path, tiny_network):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    painted(BLUE).save(paths[0])
    painted(RED, BLUE).save(paths[1])
    segmenter = Segmenter(tiny_network, data=DataConfig(size=-1))
    results = list(segmenter.segment(clip, paths[0], {"2": paths[1]}))
    assert results[2].object_ids == (1, 2)
    assert set(np.unique(results[2].mask[areas(0, 1) > 0])) == {1}


def test_16_bit_labels_are_accepted(clip, tmp_path, command):
    Image.fromarray(areas(1, 200).astype(np.uint16)).save(tmp_path / "clip.png")
    code, said = command(f"video_dir={clip}")
    assert code == 0, said
    assert (np.array(written(tmp_path)) == areas(1, 200)).all()


@pytest.mark.fault("animated image as a mask", "exit code 2: a mask must be a single image")
def test_an_animation_as_a_mask_is_refused(clip, tmp_path, command):
    pages = [Image.fromarray(areas(1)), Image.fromarray(areas(2))]
    pages[0].save(tmp_path / "clip.png", save_all=True, append_images=pages[1:])
    code, said = command(f"video_dir={clip}")
    assert (code, "holds 2 pictures (an animation, or pages), and a mask is one" in said) == (2, True)


@pytest.mark.fault("first mask is all zero", "exit code 2: there is no object to segment")
def test_an_empty_first_mask_stops_the_video(clip, tmp_path, command):
    Image.fromarray(areas()).save(tmp_path / "clip.png")
    code, said = command(f"video_dir={clip}")
    assert (code, "clip.png is all zero: there is no object to follow" in said) == (2, True)


def test_an_empty_first_mask_with_others_after_it(clip, tmp_path, command):
    (tmp_path / "given").mkdir()
    Image.fromarray(areas()).save(tmp_path / "given" / "0.png")
    Image.fromarray(areas(1)).save(tmp_path / "given" / "2.png")
    code, said = command(f"video_dir={clip}", "mask=given")
    assert code == 0, said
    assert not np.array(written(tmp_path, 1)).any()
    assert (np.array(written(tmp_path, 2)) == areas(1)).all()


@pytest.mark.fault("painted (RGB) annotations next to a video", "they are not scored, a message gives the reason")
def test_painted_annotations_are_not_scored(clip, tmp_path, command):
    root = tmp_path / "set"
    (root / "JPEGImages").mkdir(parents=True)
    clip.rename(root / "JPEGImages" / "clip")
    (root / "Annotations" / "clip").mkdir(parents=True)
    for t in range(4):
        painted(RED).save(root / "Annotations" / "clip" / f"{t}.png")
    code, said = command("video_dir=set")
    assert (code, "are not scored: they hold pixels of mode RGB" in said) == (0, True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.fault("EXIF orientation {orientation} in frames and mask", "frames and mask are rotated in the same way")
def test_masks_are_rotated_like_frames(tmp_path, command, orientation):
    """A mask with the EXIF orientation of its frame is aligned with the frame as shown by viewers."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "clip").mkdir()
    stored = areas(1)
    stored[8:14, 4:60] = 2
    for t in range(2):
        Image.fromarray(stored * 100).save(tmp_path / "clip" / f"{t}.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / "clip.png", exif=exif)
    code, said = command("video_dir=clip")
    assert code == 0, said
    seen = Image.open(tmp_path / "clip" / "0.png")
    expected = np.array(ImageOps.exif_transpose(seen)) // 100
    assert (np.array(written(tmp_path)) == expected).all()
