from __future__ import annotations

import numpy as np
import torch

from retina.drawing.colours import CAPTION_BACKGROUND, CROWD_COLOR, class_color
from retina.drawing.sheets import CAPTION_SIZE, batch_panels, contact_sheet, side_by_side, stored_panel
from retina.structures import AnchorTargets, Batch, BoxTargets, ImageBatch, Sample

NAMES = ("cat", "dog")


def targets() -> BoxTargets:
    boxes = torch.tensor([[4.0, 20.0, 14.0, 30.0]])
    return BoxTargets(boxes, torch.tensor([1]), torch.tensor([[24.0, 4.0, 40.0, 20.0]]))


def batch() -> Batch:
    """Two images on a canvas of 32 x 64; the first is 32 x 48, the second all of it and empty."""
    pixels = torch.full((2, 3, 32, 64), 100, dtype=torch.uint8)
    pixels[0, :, :, 48:] = 0
    none = torch.zeros(0, dtype=torch.int64)
    anchors = AnchorTargets(
        torch.tensor([3, 7, 9]), torch.tensor([1, 1, 1]), torch.zeros(3, 4), torch.zeros(3, 4), none
    )
    images = ImageBatch(pixels, torch.tensor([[32, 48], [32, 64]]))
    return Batch(images, anchors, [17, 4], [(32, 48), (32, 64)], [targets(), BoxTargets.empty()])


def panels(least_side: int = 64) -> list[np.ndarray]:
    return batch_panels(batch(), NAMES, least_side=least_side, num_anchors=10)


def test_a_small_image_is_enlarged_by_a_whole_number():
    assert [panel.shape[1] for panel in panels(64)] == [64, 64]
    assert [panel.shape[1] for panel in panels(100)] == [128, 128]


def test_a_caption_wider_than_its_picture_has_two_lines():
    heights = [panel.shape[0] - 32 * zoom for zoom, least in ((1, 64), (8, 512)) for panel in panels(least)]
    assert heights == [4 * CAPTION_SIZE] * 2 + [2 * CAPTION_SIZE] * 2


def test_boxes_crowds_and_padding_are_where_they_belong():
    picture = panels(256)[0][-128:]  # without the caption, four times as large
    assert (picture[20 * 4, 4 * 4 : 14 * 4] == class_color(1)).all()
    assert (picture[20 * 4 : 30 * 4, 4 * 4] == class_color(1)).all()
    assert (picture[4 * 4, 24 * 4 : 40 * 4] == CROWD_COLOR).all(axis=1).mean() > 0.4  # dashed
    padding = picture[:, 48 * 4 :]
    assert len(np.unique(padding.reshape(-1, 3), axis=0)) == 2
    assert (picture[100:120, 300 - 128 : 180] == 100).all()


def test_a_batch_is_not_changed():
    shown = batch()
    before = shown.images.pixels.clone()
    batch_panels(shown, NAMES, least_side=64, num_anchors=10)
    assert torch.equal(shown.images.pixels, before)


def test_captions_say_what_is_seen(monkeypatch):
    told = []
    monkeypatch.setattr(
        "retina.drawing.sheets.captioned",
        lambda picture, caption: told.append(caption) or picture,
    )
    panels()
    stored_panel(
        Sample(np.zeros((300, 500, 3), np.uint8), targets(), 1, (300, 500)), NAMES, least_side=64, most_side=100
    )
    assert told == [
        "image 17: 48 x 32, 1 object, 1 ignored, 3 anchors",
        "image 4: 64 x 32, 0 objects, 0 anchors",
        "stored: 500 x 300, 1 object, 1 ignored",
    ]


def test_a_large_stored_image_is_shown_smaller_with_its_boxes():
    image = np.full((400, 800, 3), 60, np.uint8)
    large = BoxTargets(torch.tensor([[200.0, 100.0, 600.0, 300.0]]), torch.tensor([0]), torch.zeros(0, 4))
    panel = stored_panel(Sample(image, large, 1, (400, 800)), NAMES, least_side=64, most_side=200)[-100:]
    assert panel.shape == (100, 200, 3)
    assert (panel[30:70, 50] == class_color(0)).all()
    assert (panel[30:70, 149] == class_color(0)).all()


def test_a_sheet_holds_every_panel_once():
    shown = [np.full((10 + i, 20, 3), 50 + i, np.uint8) for i in range(5)]
    for columns, shape in ((None, 3), (2, 2), (9, 5)):
        sheet = contact_sheet(shown, columns=columns)
        assert sheet.shape[1] == shape * 20 + (shape - 1) * 6
        for i, panel in enumerate(shown):
            assert (sheet == 50 + i).all(axis=2).sum() == panel.shape[0] * panel.shape[1]
    assert (contact_sheet(shown)[0, 20] == CAPTION_BACKGROUND).all()
    assert side_by_side(shown[0], shown[1]).shape == (11, 46, 3)
