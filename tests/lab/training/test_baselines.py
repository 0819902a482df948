"""The comparison: baselines on a clip whose answer is known, the table, the model card."""

import numpy as np
import pytest
from PIL import Image

from xmem_infer.errors import UsageError
from xmem_infer.lab.training.validation import (
    BASELINES,
    COPIED,
    END,
    START,
    carry_by_flow,
    compare,
    fill_card,
    find_clips,
    markdown,
    split_card,
)


@pytest.fixture
def root(tmp_path):
    """A textured square with label 3 moves 3 px a frame to the right over a still textured background."""
    rng = np.random.default_rng(0)
    texture = np.array(Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((160, 120)))
    square = np.array(Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((40, 40)))
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind / "square").mkdir(parents=True)
    for t in range(6):
        image, labels = texture.copy(), np.zeros((120, 160), np.uint8)
        place = np.s_[40:80, 30 + 3 * t : 70 + 3 * t]
        image[place], labels[place] = square, 3
        Image.fromarray(image).save(tmp_path / "JPEGImages" / "square" / f"{t:05d}.jpg", quality=95)
        Image.fromarray(labels).save(tmp_path / "Annotations" / "square" / f"{t:05d}.png")
    return tmp_path


def test_the_first_mask_stays_or_moves(root):
    clip = find_clips(root)[0]
    assert all(np.array_equal(mask, clip.labels()[0]) for mask in BASELINES[COPIED](clip))
    carried = carry_by_flow(clip.images(), clip.labels()[0])
    assert len(carried) == 6
    assert set(np.unique(carried[-1])) == {0, 3}
    both = (carried[-1] == 3) & (clip.labels()[-1] == 3)
    either = (carried[-1] == 3) | (clip.labels()[-1] == 3)
    assert both.sum() / either.sum() > 0.75


def test_the_table_has_every_method_and_clip(root, caplog):
    caplog.set_level("INFO", "xmem_infer")
    rows = compare(find_clips(root), BASELINES)
    copied, carried = rows
    assert copied.measures.overall < carried.measures.overall
    assert [line.split(":")[0] for line in caplog.messages] == [copied.method, carried.method]
    text = markdown("made up", rows)
    assert "1 clips, 1 objects" in text
    assert f"| {copied.method} | {100 * copied.measures.overall:.1f} |" in text
    assert "below both" not in markdown("made up", [*rows, copied])
    assert f"{copied.method} is below both baselines on: square." in markdown("made up", [carried, carried, copied])


def test_few_frames_or_named_clips_can_be_asked_for(root):
    assert len(find_clips(root, ["square"], 4)[0].masks) == 4
    with pytest.raises(UsageError, match="no clips"):
        find_clips(root, ["circle"])


def test_the_card_keeps_everything_but_its_scores(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    fill_card(card, "new")
    assert card.read_text() == f"before\n{START}\n\nnew\n\n{END}\nafter\n"
    fill_card(card, "newer")
    assert card.read_text() == f"before\n{START}\n\nnewer\n\n{END}\nafter\n"
    card.write_text("no marks")
    with pytest.raises(UsageError, match="no lines"):
        split_card(card)
    with pytest.raises(UsageError, match="no model card"):
        split_card(tmp_path / "other.md")
