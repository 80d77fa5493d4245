"""The kinds of findings that only a file in COCO's format can have."""

from __future__ import annotations

from functools import cache

from retina.data.findings import Kind

REQUIRED = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}

_FILE_FIX = "give the annotation file of the data set (instances_*.json)"
_ORDINARY = "a COCO annotation file is an object with the lists 'images', 'annotations' and 'categories'"

FILE_UNREADABLE = Kind("file-unreadable", "error", "annotation file that cannot be read",
                       "annotation files that cannot be read", fix=_FILE_FIX)  # fmt: skip
NOT_UTF8 = Kind("file-not-utf8", "error", "annotation file that is not UTF-8 text",
                "annotation files that are not UTF-8 text",
                fix="write it as UTF-8 (JSON has no other encoding)")  # fmt: skip
NOT_JSON = Kind("file-not-json", "error", "annotation file that is not a JSON object",
                "annotation files that are not JSON objects", fix=_FILE_FIX,
                why=f"{_ORDINARY}; a list is how detections are written")  # fmt: skip
TRUNCATED = Kind("file-truncated", "error", "annotation file that ends in the middle",
                 "annotation files that end in the middle", fix="copy or download it again",
                 why="the rest of the annotations is missing")  # fmt: skip
BYTE_ORDER_MARK = Kind(
    "byte-order-mark", "note", "byte order mark at the start of the file", "byte order marks", "skipped"
)
SECTION_TWICE = Kind("section-twice", "error", "name that the file gives more than once",
                     "names that the file gives more than once", fix="join them",
                     why="readers differ in which one they take")  # fmt: skip
SECTION_MISSING = Kind("section-missing", "error", "list that is missing", "lists that are missing", fix=_FILE_FIX,
                       why=_ORDINARY)  # fmt: skip
SECTION_NO_LIST = Kind("section-not-a-list", "error", "section that is not a list", "sections that are not lists",
                       fix=_FILE_FIX, why=_ORDINARY)  # fmt: skip
NO_IMAGES = Kind("no-images", "error", "file without images", "files without images",
                 fix="give an annotation file that lists images")  # fmt: skip
NO_CATEGORIES = Kind("no-categories", "error", "file without categories", "files without categories", fix=_FILE_FIX,
                     why="without classes there is nothing to detect")  # fmt: skip
IMAGE_ID_TWICE = Kind("image-id-twice", "error", "image with an id that another has, too",
                      "images with an id that another has, too", fix="give every record its own id",
                      why="objects could not be told apart")  # fmt: skip
CATEGORY_ID_TWICE = Kind("category-id-twice", "error", "category with an id that another has, too",
                         "categories with an id that another has, too", fix="give every record its own id",
                         why="objects could not be told apart")  # fmt: skip
ANNOTATION_ID_TWICE = Kind("annotation-id-twice", "warning", "annotation with an id that another has, too",
                           "annotations with an id that another has, too", "all kept, numbered anew for evaluation",
                           "give every record its own id: pycocotools forgets all but the last")  # fmt: skip
CATEGORY_ID_ZERO = Kind("category-id-zero", "note", "category with the id 0", "categories with the id 0",
                        "a class like any other")  # fmt: skip
CATEGORY_ID_GAPS = Kind("category-id-gaps", "note", "id left out between the lowest and the highest category",
                        "ids left out between the lowest and the highest category",
                        "labels are counted without them")  # fmt: skip

_FIX = "python tools/doctor.py dataset=... fix=true writes a corrected file"

BOX_FROM_POLYGON = Kind("box-from-polygon", "warning", "annotation without 'bbox'", "annotations without 'bbox'",
                        "the extent of the polygon is taken", _FIX)  # fmt: skip
AREA_ASSUMED = Kind("area-assumed", "warning", "annotation without a usable 'area'",
                    "annotations without a usable 'area'", "width x height of the box is taken", _FIX)  # fmt: skip
CROWD_ASSUMED = Kind("iscrowd-assumed", "note", "annotation without 'iscrowd'", "annotations without 'iscrowd'",
                     "taken for an object")  # fmt: skip
CROWD_UNKNOWN = Kind("iscrowd-not-0-or-1", "error", "'iscrowd' that is not 0 or 1", "'iscrowd' that are not 0 or 1",
                     fix="write 1 for regions of many objects, 0 for objects",
                     why="an object is learned, a crowd is ignored")  # fmt: skip
ID_UNUSABLE = Kind("annotation-id-unusable", "note", "annotation without an id that is a whole number",
                   "annotations without ids that are whole numbers", "told by their number in the file")  # fmt: skip


@cache
def not_an_object(section: str) -> Kind:
    """Return the kind of an entry of ``section`` that is no JSON object."""
    return Kind(f"{section}-not-objects", "error", f"entry of {section!r} that is not an object",
                f"entries of {section!r} that are not objects", fix="take them out of the file",
                why="every entry is an object such as {'id': 1, ...}")  # fmt: skip


@cache
def without_key(section: str, key: str) -> Kind:
    """Return the kind of a record of ``section`` that lacks ``key``."""
    return Kind(f"{section}-without-{key}", "error", f"record of {section!r} without {key!r}",
                f"records of {section!r} without {key!r}", fix=f"write {key!r} into every record",
                why=f"a record of {section!r} has {', '.join(map(repr, REQUIRED[section]))}")  # fmt: skip


@cache
def not_whole(section: str, key: str) -> Kind:
    """Return the kind of a record of ``section`` whose ``key`` is no whole number of 64 bits."""
    return Kind(f"{section}-{key}-not-whole", "error", f"{key!r} of {section!r} that is not a whole number",
                f"{key!r} of {section!r} that are not whole numbers", fix=_FIX,
                why="ids and sizes are whole numbers, written without quotes")  # fmt: skip


@cache
def not_text(section: str, key: str) -> Kind:
    """Return the kind of a record of ``section`` whose ``key`` is no text."""
    return Kind(f"{section}-{key}-not-text", "error", f"{key!r} of {section!r} that is not text",
                f"{key!r} of {section!r} that are not text", fix="write it in double quotes")  # fmt: skip


@cache
def duplicate_keys(section: str) -> Kind:
    """Return the kind of a record of ``section`` that gives a key more than once."""
    return Kind(f"{section}-duplicate-keys", "error", f"record of {section!r} that gives a key more than once",
                f"records of {section!r} that give a key more than once", fix="leave one of them",
                why="readers differ in which one they take")  # fmt: skip


@cache
def unknown_reference(key: str) -> Kind:
    """Return the kind of an annotation whose ``image_id`` or ``category_id`` is not in the file."""
    section = "images" if key == "image_id" else "categories"
    return Kind(f"annotations-{key}-unknown", "error", f"{key!r} of 'annotations' that is not among the {section!r}",
                f"{key!r} of 'annotations' that are not among the {section!r}",
                fix=f"add the missing record to {section!r}, or take the annotation out",
                why=f"every object belongs to one of the {section!r} of its file")  # fmt: skip
