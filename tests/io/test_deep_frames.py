"""16-bit frames and multi-page files, by the command and by `open_frames`."""

import io

import numpy as np
import pytest
from PIL import Image

from xmem_infer.config import DataConfig, OnCorrupt
from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.frames import ImageStack, open_frames


def cells(frame, low=300, high=3300, size=(48, 64)):
    """Return moving bright discs on a dark background, like those of a 12-bit camera."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (y - 20) ** 2 + (x - 15 - 2 * frame) ** 2 < 100
    return np.where(inside, high, low).astype(np.uint16)


def write_mask(path, size=(48, 64)):
    Image.fromarray((cells(0, 0, 1, size) > 0).astype(np.uint8)).save(path)


def write_stack(path, pictures):
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=rest)
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dish").mkdir()
    for t in range(4):
        Image.fromarray(cells(t)).save(tmp_path / "dish" / f"{t}.png")
    write_mask(tmp_path / "dish.png")
    return tmp_path / "dish"


def test_intensity_is_scaled_over_the_whole_folder(folder, command):
    Image.fromarray(cells(4, 300, 1800)).save(folder / "4.png")  # a darker frame must stay darker
    code, said = command(f"video_dir={folder}")
    assert code == 0
    assert said.count("the values 300 to 3,300") == 1
    images = [frame.image for frame in open_frames(folder, DataConfig())]
    assert [(image.min(), image.max()) for image in images] == [(0, 255)] * 4 + [(0, 128)]


def test_hot_pixels_do_not_darken_the_rest(folder):
    hot = cells(1)
    hot[3, 3] = 65535
    Image.fromarray(hot).save(folder / "1.png")
    second = list(open_frames(folder, DataConfig()))[1].image
    assert second[20, 17, 0] == second[3, 3, 0] == 255
    assert second[40, 60, 0] == 0


def test_a_given_range(folder, command):
    code, said = command(f"video_dir={folder}", "data.range=[300,6300]")
    assert (code, "stretched" in said) == (0, False)
    first = next(iter(open_frames(folder, DataConfig(range=[300, 6300])))).image
    assert (first.min(), first.max()) == (0, 128)


@pytest.mark.parametrize("wrong", ["[5]", "[5,5]", "[9,1]", "[a,b]"])
@pytest.mark.fault("`data.range={wrong}`", "exit code 2, error states the valid form")
def test_a_wrong_range_is_refused(folder, command, wrong):
    code, said = command(f"video_dir={folder}", f"data.range={wrong}")
    assert code == 2
    assert "range" in said


def test_a_range_for_8_bit_frames_is_refused(tmp_path, command):
    (tmp_path / "plain").mkdir()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "plain" / "0.png")
    write_mask(tmp_path / "plain.png")
    code, said = command("video_dir=plain", "data.range=[0,10]")
    assert (code, "those of plain have 8" in said) == (2, True)


@pytest.mark.fault("floating-point frames without `data.range`", "error asks for the values of black and white")
def test_floats_need_a_range(tmp_path):
    (tmp_path / "f").mkdir()
    for t in range(2):
        Image.fromarray(cells(t).astype(np.float32) / 3300).save(tmp_path / "f" / f"{t}.tif")
    for on_corrupt in OnCorrupt:
        with pytest.raises(VideoError, match=r"set data\.range"):
            open_frames(tmp_path / "f", DataConfig(on_corrupt=on_corrupt))
    assert next(iter(open_frames(tmp_path / "f", DataConfig(range=[0, 1])))).image.max() == 255


@pytest.mark.parametrize("deep", [True, False])
def test_a_stack_of_pages_is_a_video(tmp_path, command, deep):
    pictures = [cells(t) if deep else (cells(t) // 13).astype(np.uint8) for t in range(30)]
    write_stack(tmp_path / "dish.tif", pictures)
    write_mask(tmp_path / "dish.png")
    code, said = command("video_dir=dish.tif")
    assert code == 0, said
    masks = sorted((tmp_path / "out" / "masks" / "dish").iterdir())
    assert [mask.name for mask in masks] == [f"{t:05d}.png" for t in range(30)]
    frames = list(open_frames(tmp_path / "dish.tif", DataConfig()))
    expected = [np.where(picture > picture.min(), 255, 0) if deep else picture for picture in pictures]
    assert all((frame.image[..., 0] == picture).all() for frame, picture in zip(frames, expected, strict=True))


def test_an_animation_is_a_video_too(tmp_path):
    write_stack(tmp_path / "a.png", [np.full((8, 9), 30 * t, np.uint8) for t in range(3)])
    assert [int(frame.image.max()) for frame in open_frames(tmp_path / "a.png", DataConfig())] == [0, 30, 60]


def test_corrections_of_a_stack_are_named_by_number(tmp_path, command):
    write_stack(tmp_path / "dish.tif", [cells(t) for t in range(4)])
    (tmp_path / "given").mkdir()
    write_mask(tmp_path / "given" / "0.png")
    Image.fromarray((cells(2, 0, 1) > 0).astype(np.uint8)).save(tmp_path / "given" / "2.png")
    code, said = command("video_dir=dish.tif", "mask=given")
    assert code == 0, said
    third = np.array(Image.open(tmp_path / "out" / "masks" / "dish" / "00002.png"))
    assert (third == (cells(2, 0, 1) > 0)).all()


@pytest.mark.parametrize("ending", ["tif", "png", "webp"])
@pytest.mark.fault("multi-page {ending} among single-image frames", "error: a multi-page file is a video of its own")
def test_multi_page_files_among_frames_are_refused(tmp_path, command, ending):
    (tmp_path / "clip").mkdir()
    write_stack(tmp_path / "clip" / f"0.{ending}", [np.full((48, 64, 3), 9 * t, np.uint8) for t in range(5)])
    write_mask(tmp_path / "clip.png")
    code, said = command("video_dir=clip")
    assert (code, "holds 5 pictures" in said, "give it as video_dir" in said) == (2, True, True)


@pytest.mark.fault("damaged page in a TIFF stack", "error names the page")
def test_a_damaged_page_is_named(tmp_path):
    path = write_stack(
        tmp_path / "s.tif", [np.random.default_rng(t).integers(0, 99, (40, 50), np.uint8) for t in range(3)]
    )
    stored = io.BytesIO(path.read_bytes()).getvalue()
    path.write_bytes(stored[: int(len(stored) * 0.6)])
    with pytest.raises((VideoError, UsageError), match=r"s\.tif"):
        list(open_frames(path, DataConfig()))


def test_a_photo_with_a_gain_map_is_a_single_image(tmp_path):
    (tmp_path / "clip").mkdir()
    first, second = Image.new("RGB", (64, 48), "navy"), Image.new("RGB", (32, 24), "grey")
    first.save(tmp_path / "clip" / "0.jpg", format="MPO", save_all=True, append_images=[second])
    assert open_frames(tmp_path / "clip", DataConfig()).count == 1
    with pytest.raises(UsageError, match="single image"):
        ImageStack(tmp_path / "clip" / "0.jpg", DataConfig())
