"""One folder of mapped annotations: written whole, loaded as written, empty arrays too."""

from __future__ import annotations

import numpy as np
import pytest

from retina.data.cache_folder import load, open_folder, write
from retina.data.coco.file import read_annotations
from retina.errors import DataError


@pytest.mark.parametrize("with_objects", [True, False])
def test_what_is_written_is_loaded(tmp_path, write_annotations, content, with_objects):
    if not with_objects:
        content["annotations"] = []
    arrays = read_annotations(write_annotations(content))
    (tmp_path / "cache").mkdir()
    write(tmp_path / "cache", arrays)
    again = load(tmp_path / "cache")
    for name in ("image_ids", "sizes", "boxes", "training_boxes", "labels", "areas", "crowd", "object_ids", "offsets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(arrays, name), err_msg=name)
        assert getattr(again, name).dtype == getattr(arrays, name).dtype
    assert list(again.file_names) == list(arrays.file_names)
    assert (again.class_names, again.findings) == (arrays.class_names, arrays.findings)
    assert open_folder(str(tmp_path / "cache"), "a.json", ()).source == "a.json"


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(DataError, match="the cache of a.json cannot be read"):
        open_folder(str(tmp_path / "gone"), "a.json", ())
