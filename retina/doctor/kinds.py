"""The kinds of findings that need image files, several splits or the network's input; the reader has its own."""

from __future__ import annotations

from dataclasses import replace

from retina.data.findings import Finding, Kind

_REPLACE = "replace the file, or take the image out of the annotation file"

MISSING = Kind("image-missing", "error", "image file is missing", "image files are missing",
               fix="put the files there, or name the right folder of images")  # fmt: skip
OUTSIDE = Kind("image-outside-folder", "error", "image stands outside of its folder",
               "images stand outside of their folder", "not opened", "copy them into the folder")  # fmt: skip
IRREGULAR = Kind("image-not-a-file", "error", "image is a folder, pipe or device", "images are folders, pipes or "
                 "devices", "not opened", "put image files there")  # fmt: skip
EMPTY_FILE = Kind("image-zero-bytes", "error", "image file is empty", "image files are empty", fix=_REPLACE)
UNDECODABLE = Kind("image-undecodable", "error", "image cannot be decoded", "images cannot be decoded", fix=_REPLACE)
TRUNCATED = Kind("image-truncated", "error", "image ends too early", "images end too early",
                 "what is missing would be grey or black, or the image refused", _REPLACE)  # fmt: skip
HUGE = Kind("image-huge", "error", "image says that it is larger than 178 million pixels",
            "images say that they are larger than 178 million pixels", "not decoded",
            "cut it into tiles, or take it out of the annotation file")  # fmt: skip
WRONG_SIZE = Kind("image-wrong-size", "error", "image has another size than the annotations say",
                  "images have another size than the annotations say",
                  fix="give the images that were annotated; fix=true corrects sizes where all boxes fit")  # fmt: skip
SIDES_SWAPPED = Kind("image-sides-swapped", "error", "image has height and width swapped by the camera's note",
                     "images have height and width swapped by the camera's note",
                     fix="dataset.exif=apply, if the boxes were drawn on the turned pictures")  # fmt: skip
TURNED = Kind("image-turned", "warning", "image is turned by the camera's note", "images are turned by the camera's "
              "note", "taken as stored (dataset.exif=ignore)",
              "look at the picture: where boxes are off, dataset.exif=apply")  # fmt: skip
DEEP = Kind("image-16-bit", "warning", "image has more than 8 bits a channel", "images have more than 8 bits a channel",
            "only the highest 8 bits are seen: dark ones turn black", "store them with 8 bits, stretched")  # fmt: skip
ANIMATED = Kind("image-animated", "warning", "image has several frames or pages", "images have several frames or pages",
                "only the first is seen", "store each as an image of its own")  # fmt: skip
CMYK = Kind("image-cmyk", "note", "CMYK image", "CMYK images", "turned into RGB without a colour profile")
PALETTE = Kind("image-palette", "note", "image with a palette", "images with a palette", "turned into RGB")
GRAY = Kind("image-gray", "note", "gray image", "gray images", "shown as three equal channels")
ALPHA = Kind("image-alpha", "note", "image with transparency", "images with transparency",
             "the transparency is dropped")  # fmt: skip
EXTENSION = Kind("image-extension", "note", "image whose name says another format",
                 "images whose names say another format", "the content is what counts")  # fmt: skip
UNCHECKED = Kind("images-not-checked", "note", "image was not looked at", "images were not looked at")

IDENTICAL = Kind("images-identical", "warning", "pair of identical images", "pairs of identical images",
                 "each counts on its own", "keep one of them, with the objects of both")  # fmt: skip
LEAK = Kind("split-leak", "warning", "image stands in two splits", "images stand in two splits",
            "the score is too good", "take it out of one of them")  # fmt: skip
NEAR = Kind("images-nearly-identical", "note", "pair of nearly identical images", "pairs of nearly identical images")
NEAR_LEAK = Kind("split-near-leak", "warning", "image stands nearly identical in two splits",
                 "images stand nearly identical in two splits", "the score is too good",
                 "keep pictures of one scene in one split")  # fmt: skip

CLASSES_DIFFER = Kind("splits-differ-in-classes", "error", "category that not all splits have",
                      "categories that not all splits have",
                      fix="give all files the same list of categories, also of those without a box")  # fmt: skip
UNREADABLE = Kind("split-unreadable", "error", "split cannot be opened", "splits cannot be opened")
TINY_CLASS = Kind("class-tiny", "warning", "class has fewer than 10 objects to learn from",
                  "classes have fewer than 10 objects to learn from", "hardly learned",
                  "label more, or merge it with another")  # fmt: skip
IMBALANCE = Kind("class-imbalance", "note", "class has under 1 % of the objects of the most frequent one",
                 "classes have under 1 % of the objects of the most frequent one", "learned slowly")  # fmt: skip
UNSEEN_CLASS = Kind("class-only-evaluated", "warning", "class has objects to be found but none to learn from",
                    "classes have objects to be found but none to learn from", "each will have an AP of 0")  # fmt: skip
UNREACHED = Kind("object-unreached", "note", "object that no anchor reaches at IoU 0.5",
                 "objects that no anchor reaches at IoU 0.5", "matched with their best anchor, however little it fits",
                 "python tools/anchors.py with the same settings; or a larger image.short_side")  # fmt: skip
SMALL_SIDE = Kind("object-under-8-pixels", "note", "object with a side under 8 pixels after the resize",
                  "objects with a side under 8 pixels after the resize", "hardly seen",
                  "a larger image.short_side and image.long_side")  # fmt: skip
TOO_MANY = Kind("image-with-many-objects", "warning", "image has more objects than may be detected",
                "images have more objects than may be detected", "some cannot be found",
                "a larger postprocess.max_detections")  # fmt: skip

# An image of these kinds cannot be trained on; what becomes of it is the policy dataset.on_bad_image.
BAD_IMAGE = frozenset({MISSING, OUTSIDE, IRREGULAR, EMPTY_FILE, UNDECODABLE, TRUNCATED, HUGE, WRONG_SIZE,
                       SIDES_SWAPPED})  # fmt: skip


def unchecked(file: str, count: int, reason: str) -> Finding:
    """Return the finding that ``count`` images were not looked at, and why."""
    return Finding(replace(UNCHECKED, outcome=reason), file, count, ())


def skipped(finding: Finding) -> Finding:
    """Return a finding of bad images as training tells it that goes on without them."""
    if finding.kind not in BAD_IMAGE:
        return finding
    kind = replace(finding.kind, severity="warning", outcome="replaced by other images (dataset.on_bad_image=skip)")
    return replace(finding, kind=kind)
