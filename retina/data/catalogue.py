"""Everything that reading finds wrong or odd in a data set: name, severity, texts, what becomes of it, what to do.

A constant carries the name of its fault. ``{}`` hold singular and plural: ``box{es} outside of {its|their} image``.
What only the doctor looks for stands in retina/doctor/catalogue.py.
"""

from __future__ import annotations

from functools import cache

from retina.data.findings import Fault, error, note, warning

LEFT_OUT = "left out of training and evaluation"
_DOCTOR = "correct them, or let the doctor write a corrected file: python tools/doctor.py dataset=... fix=true"
_CORRECTED = "python tools/doctor.py dataset=... fix=true writes a corrected file"
_REPLACE = "replace the file, or take the image out of the annotation file"
_COCO_FILE = "give the annotation file of the data set (instances_*.json)"
_ORDINARY = "a COCO annotation file is an object with the lists 'images', 'annotations' and 'categories'"
_OWN_IDS = "give every record its own id"

# What the records of a COCO file hold.
REQUIRED = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}

# Image files.
IMAGE_MISSING = error(
    "image-missing", "image file{ is|s are} missing", "put the files there, or name the right folder of images"
)
IMAGE_OUTSIDE_FOLDER = error(
    "image-outside-folder",
    "image{ stands|s stand} outside of {its|their} folder",
    "copy them into the folder",
    outcome="not opened",
)
IMAGE_NOT_A_FILE = error(
    "image-not-a-file",
    "{image is a folder, pipe or device|images are folders, pipes or devices}",
    "put image files there",
    outcome="not opened",
)
IMAGE_ZERO_BYTES = error("image-zero-bytes", "image file{ is|s are} empty", _REPLACE)
IMAGE_UNDECODABLE = error("image-undecodable", "image{s} cannot be decoded", _REPLACE)
IMAGE_TRUNCATED = error(
    "image-truncated",
    "image{ ends|s end} too early",
    _REPLACE,
    outcome="what is missing would be grey or black, or the image refused",
)
IMAGE_HUGE = error(
    "image-huge",
    "image{ says that it is|s say that they are} larger than 178 million pixels",
    "cut it into tiles, or take it out of the annotation file",
    outcome="not decoded",
)
IMAGE_WRONG_SIZE = error(
    "image-wrong-size",
    "image{ has|s have} another size than the annotations say",
    "give the images that were annotated; fix=true corrects sizes where all boxes fit",
)
IMAGE_SIDES_SWAPPED = error(
    "image-sides-swapped",
    "image{ has|s have} height and width swapped by the camera's note",
    "dataset.exif=apply, if the boxes were drawn on the turned pictures",
)
IMAGE_TURNED = warning(
    "image-turned",
    "image{ is|s are} turned by the camera's note",
    "taken as stored (dataset.exif=ignore)",
    "look at the picture: where boxes are off, dataset.exif=apply",
)
IMAGE_16_BIT = warning(
    "image-16-bit",
    "image{ has|s have} more than 8 bits a channel",
    "only the highest 8 bits are seen: dark ones turn black",
    "store them with 8 bits, stretched",
)
IMAGE_ANIMATED = warning(
    "image-animated",
    "image{ has|s have} several frames or pages",
    "only the first is seen",
    "store each as an image of its own",
)
IMAGE_CMYK = note("image-cmyk", "CMYK image{s}", "turned into RGB without a colour profile")
IMAGE_PALETTE = note("image-palette", "image{s} with a palette", "turned into RGB")
IMAGE_GRAY = note("image-gray", "gray image{s}", "shown as three equal channels")
IMAGE_ALPHA = note("image-alpha", "image{s} with transparency", "the transparency is dropped")
IMAGE_EXTENSION = note(
    "image-extension", "image{ whose name says|s whose names say} another format", "the content is what counts"
)
IMAGES_NOT_CHECKED = note("images-not-checked", "image{ was|s were} not looked at")
SPLIT_UNREADABLE = error("split-unreadable", "split{s} cannot be opened")  # told with the fix of its reason

# Boxes of any format; what becomes of the first five is the policy dataset.on_bad_box.
BOX_MALFORMED = warning(
    "box-malformed", "'bbox' that {is|are} not four numbers [x, y, width, height]", LEFT_OUT, _DOCTOR
)
BOX_NOT_FINITE = warning("box-not-finite", "box{es} with values that are not finite", LEFT_OUT, _DOCTOR)
BOX_WITHOUT_SIZE = warning("box-without-size", "box{es} of zero or negative size", LEFT_OUT, _DOCTOR)
BOX_OUTSIDE = warning("box-outside", "box{es} outside of {its|their} image", LEFT_OUT, _DOCTOR)
BOX_LEAVES_IMAGE = warning(
    "box-leaves-image", "box{ that leaves its|es that leave their} image", "clipped for training", _DOCTOR
)
BOXES_XYXY = error(
    "boxes-xyxy",
    "box{ that reads|es that read} as [x1, y1, x2, y2] where [x, y, width, height] is meant",
    "write x2 - x1 and y2 - y1 in place of x2 and y2; python tools/doctor.py dataset=... fix=true",
    "taken as width and height many would leave their image, taken as corners all fit",
)
BOXES_RELATIVE = error(
    "boxes-relative",
    "box{es} with values between 0 and 1 where pixels are meant",
    "multiply them by the size of their image; python tools/doctor.py dataset=... fix=true",
    "no box of the file is larger than a pixel",
)
BOXES_MOSTLY_UNUSABLE = error(
    "boxes-mostly-unusable",
    "box{es} cannot be used, more than half of the file's",
    "look at how the file was written; python tools/doctor.py dataset=... lists every kind",
    "what is left would be another data set",
)
BOX_DUPLICATE = warning(
    "box-duplicate",
    "box{es} written again with the same class and the same coordinates",
    "kept: training and evaluation count them as objects of their own",
    _DOCTOR,
)
CROWD = note("crowd", "crowd region{s}", "neither objects nor background")

# Images and classes of any format.
IMAGE_WITHOUT_OBJECTS = note("image-without-objects", "image{s} without objects", "kept")
FILE_NAME_LEAVES_FOLDER = error(
    "file-name-leaves-folder",
    "file name{ that leaves|s that leave} the folder of images",
    "write names relative to the folder, without '..'",
    "only files inside the folder are opened, whatever an annotation file says",
)
FILE_NAME_TWICE = warning(
    "file-name-twice",
    "image{s} whose file another image names, too",
    "each kept with its own boxes: the objects of one are background in the other",
    "put the boxes of one file under one image id",
)
IMAGE_SIZE_NOT_POSITIVE = error(
    "image-size-not-positive",
    "image{s} whose 'height' or 'width' is below 1",
    "write the size of the file in pixels",
    "boxes are clipped to the size of their image",
)
CLASS_NAME_TWICE = error(
    "class-name-twice",
    "class{es} whose name another class has, too",
    "join the two classes, or rename one",
    "the results of the two could not be told apart",
)
CLASS_NAME_ALIKE = warning(
    "class-name-alike",
    "class{ whose name differs|es whose names differ} from another's in case or spaces only",
    "kept as classes of their own",
    "join them if they are one class",
)
CLASS_NAME_EMPTY = warning("class-name-empty", "class{es} without a name", "kept", "name it")
CLASS_UNUSED = note("class-unused", "class{es} without objects", "the network has an output for each")

# A COCO file as a whole.
FILE_UNREADABLE = error("file-unreadable", "annotation file{s} that cannot be read", _COCO_FILE)
FILE_NOT_UTF8 = error(
    "file-not-utf8",
    "annotation file{ that is|s that are} not UTF-8 text",
    "write it as UTF-8 (JSON has no other encoding)",
)
FILE_NOT_JSON = error(
    "file-not-json",
    "annotation file{ that is not a JSON object|s that are not JSON objects}",
    _COCO_FILE,
    f"{_ORDINARY}; a list is how detections are written",
)
FILE_TRUNCATED = error(
    "file-truncated",
    "annotation file{ that ends|s that end} in the middle",
    "copy or download it again",
    "the rest of the annotations is missing",
)
BYTE_ORDER_MARK = note("byte-order-mark", "byte order mark{ at the start of the file|s}", "skipped")
SECTION_TWICE = error(
    "section-twice", "name{s} that the file gives more than once", "join them", "readers differ in which one they take"
)
SECTION_MISSING = error("section-missing", "list{ that is|s that are} missing", _COCO_FILE, _ORDINARY)
SECTION_NOT_A_LIST = error(
    "section-not-a-list", "section{ that is not a list|s that are not lists}", _COCO_FILE, _ORDINARY
)
NO_IMAGES = error("no-images", "file{s} without images", "give an annotation file that lists images")
NO_CATEGORIES = error(
    "no-categories", "file{s} without categories", _COCO_FILE, "without classes there is nothing to detect"
)

# Records of a COCO file.
IMAGE_ID_TWICE = error(
    "image-id-twice", "image{s} with an id that another has, too", _OWN_IDS, "objects could not be told apart"
)
CATEGORY_ID_TWICE = error(
    "category-id-twice",
    "{category|categories} with an id that another has, too",
    _OWN_IDS,
    "objects could not be told apart",
)
ANNOTATION_ID_TWICE = warning(
    "annotation-id-twice",
    "annotation{s} with an id that another has, too",
    "all kept, numbered anew for evaluation",
    f"{_OWN_IDS}: pycocotools forgets all but the last",
)
CATEGORY_ID_ZERO = note("category-id-zero", "{category|categories} with the id 0", "a class like any other")
CATEGORY_ID_GAPS = note(
    "category-id-gaps", "id{s} left out between the lowest and the highest category", "labels are counted without them"
)
BOX_FROM_POLYGON = warning(
    "box-from-polygon", "annotation{s} without 'bbox'", "the extent of the polygon is taken", _CORRECTED
)
AREA_ASSUMED = warning(
    "area-assumed", "annotation{s} without a usable 'area'", "width x height of the box is taken", _CORRECTED
)
ISCROWD_ASSUMED = note("iscrowd-assumed", "annotation{s} without 'iscrowd'", "taken for an object")
ISCROWD_NOT_0_OR_1 = error(
    "iscrowd-not-0-or-1",
    "'iscrowd' that {is|are} not 0 or 1",
    "write 1 for regions of many objects, 0 for objects",
    "an object is learned, a crowd is ignored",
)
ANNOTATION_ID_UNUSABLE = note(
    "annotation-id-unusable",
    "annotation{ without an id that is a whole number|s without ids that are whole numbers}",
    "told by their number in the file",
)

# Boxes that become what dataset.on_bad_box says, and images that become what dataset.on_bad_image says.
BAD_BOX = frozenset({BOX_MALFORMED, BOX_NOT_FINITE, BOX_WITHOUT_SIZE, BOX_OUTSIDE, BOX_LEAVES_IMAGE})
BAD_IMAGE = frozenset(
    {
        IMAGE_MISSING, IMAGE_OUTSIDE_FOLDER, IMAGE_NOT_A_FILE, IMAGE_ZERO_BYTES, IMAGE_UNDECODABLE, IMAGE_TRUNCATED,
        IMAGE_HUGE, IMAGE_WRONG_SIZE, IMAGE_SIDES_SWAPPED,
    }
)  # fmt: skip


@cache
def not_an_object(section: str) -> Fault:
    """Return the fault of an entry of ``section`` that is no JSON object."""
    return error(
        f"{section}-not-objects",
        f"{{entry of {section!r} that is not an object|entries of {section!r} that are not objects}}",
        "take them out of the file",
        "every entry is an object such as {'id': 1, ...}",
    )


@cache
def without_key(section: str, key: str) -> Fault:
    """Return the fault of a record of ``section`` that lacks ``key``."""
    return error(
        f"{section}-without-{key}",
        f"record{{s}} of {section!r} without {key!r}",
        f"write {key!r} into every record",
        f"a record of {section!r} has {', '.join(map(repr, REQUIRED[section]))}",
    )


@cache
def not_whole(section: str, key: str) -> Fault:
    """Return the fault of a record of ``section`` whose ``key`` is no whole number of 64 bits."""
    return error(
        f"{section}-{key}-not-whole",
        f"{key!r} of {section!r} that {{is not a whole number|are not whole numbers}}",
        _CORRECTED,
        "ids and sizes are whole numbers, written without quotes",
    )


@cache
def not_text(section: str, key: str) -> Fault:
    """Return the fault of a record of ``section`` whose ``key`` is no text."""
    return error(
        f"{section}-{key}-not-text", f"{key!r} of {section!r} that {{is|are}} not text", "write it in double quotes"
    )


@cache
def duplicate_keys(section: str) -> Fault:
    """Return the fault of a record of ``section`` that gives a key more than once."""
    return error(
        f"{section}-duplicate-keys",
        f"record{{ of {section!r} that gives|s of {section!r} that give}} a key more than once",
        "leave one of them",
        "readers differ in which one they take",
    )


@cache
def unknown_reference(key: str) -> Fault:
    """Return the fault of an annotation whose ``image_id`` or ``category_id`` is not in the file."""
    section = "images" if key == "image_id" else "categories"
    return error(
        f"annotations-{key}-unknown",
        f"{key!r} of 'annotations' that {{is|are}} not among the {section!r}",
        f"add the missing record to {section!r}, or take the annotation out",
        f"every object belongs to one of the {section!r} of its file",
    )
