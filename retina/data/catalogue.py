"""The kinds of findings in annotations of any format, with their severity and what becomes of them."""

from __future__ import annotations

from retina.data.findings import Kind

LEFT_OUT = "left out of training and evaluation"
ON_BAD_BOX = ("clip", "drop", "error")
ON_BAD_IMAGE = ("skip", "error")
_DOCTOR = "correct them, or let the doctor write a corrected file: python tools/doctor.py dataset=... fix=true"

# Boxes; what becomes of the first five is the policy dataset.on_bad_box.
BOX_MALFORMED = Kind("box-malformed", "warning", "'bbox' that is not four numbers [x, y, width, height]",
                     "'bbox' that are not four numbers [x, y, width, height]", LEFT_OUT, _DOCTOR)  # fmt: skip
BOX_NOT_FINITE = Kind("box-not-finite", "warning", "box with values that are not finite",
                      "boxes with values that are not finite", LEFT_OUT, _DOCTOR)  # fmt: skip
BOX_WITHOUT_SIZE = Kind("box-without-size", "warning", "box of zero or negative size",
                        "boxes of zero or negative size", LEFT_OUT, _DOCTOR)  # fmt: skip
BOX_OUTSIDE = Kind("box-outside", "warning", "box outside of its image", "boxes outside of their image",
                   LEFT_OUT, _DOCTOR)  # fmt: skip
BOX_LEAVES = Kind("box-leaves-image", "warning", "box that leaves its image", "boxes that leave their image",
                  "clipped for training", _DOCTOR)  # fmt: skip
BY_POLICY = frozenset(kind.name for kind in (BOX_MALFORMED, BOX_NOT_FINITE, BOX_WITHOUT_SIZE, BOX_OUTSIDE, BOX_LEAVES))

BOXES_XYXY = Kind("boxes-xyxy", "error", "box that reads as [x1, y1, x2, y2] where [x, y, width, height] is meant",
                  "boxes that read as [x1, y1, x2, y2] where [x, y, width, height] is meant",
                  fix="write x2 - x1 and y2 - y1 in place of x2 and y2; python tools/doctor.py dataset=... fix=true",
                  why="taken as width and height many would leave their image, taken as corners all fit")  # fmt: skip
BOXES_RELATIVE = Kind("boxes-relative", "error", "box with values between 0 and 1 where pixels are meant",
                      "boxes with values between 0 and 1 where pixels are meant",
                      fix="multiply them by the size of their image; python tools/doctor.py dataset=... fix=true",
                      why="no box of the file is larger than a pixel")  # fmt: skip
BOXES_MOSTLY_BAD = Kind("boxes-mostly-unusable", "error", "box cannot be used, more than half of the file's",
                        "boxes cannot be used, more than half of the file's",
                        fix="look at how the file was written; python tools/doctor.py dataset=... lists every kind",
                        why="what is left would be another data set")  # fmt: skip
BOX_DUPLICATE = Kind("box-duplicate", "warning", "box written again with the same class and the same coordinates",
                     "boxes written again with the same class and the same coordinates",
                     "kept: training and evaluation count them as objects of their own", _DOCTOR)  # fmt: skip
BOX_NEAR_DUPLICATE = Kind("box-near-duplicate", "note", "pair of nearly equal boxes of one class (IoU above 0.9)",
                          "pairs of nearly equal boxes of one class (IoU above 0.9)", "kept")  # fmt: skip

CROWD = Kind("crowd", "note", "crowd region", "crowd regions", "neither objects nor background")

# Images.
IMAGE_WITHOUT_OBJECTS = Kind("image-without-objects", "note", "image without objects", "images without objects", "kept")
FILE_NAME_LEAVES = Kind("file-name-leaves-folder", "error", "file name that leaves the folder of images",
                        "file names that leave the folder of images",
                        fix="write names relative to the folder, without '..'",
                        why="only files inside the folder are opened, whatever an annotation file says")  # fmt: skip
FILE_NAME_TWICE = Kind("file-name-twice", "warning", "image whose file another image names, too",
                       "images whose file another image names, too",
                       "each kept with its own boxes: the objects of one are background in the other",
                       "put the boxes of one file under one image id")  # fmt: skip
IMAGE_SIZE_NOT_POSITIVE = Kind("image-size-not-positive", "error", "image whose 'height' or 'width' is below 1",
                               "images whose 'height' or 'width' is below 1",
                               fix="write the size of the file in pixels",
                               why="boxes are clipped to the size of their image")  # fmt: skip

# Classes.
CLASS_NAME_TWICE = Kind("class-name-twice", "error", "class whose name another class has, too",
                        "classes whose name another class has, too", fix="join the two classes, or rename one",
                        why="the results of the two could not be told apart")  # fmt: skip
CLASS_NAME_ALIKE = Kind("class-name-alike", "warning", "class whose name differs from another's in case or spaces only",
                        "classes whose names differ from another's in case or spaces only",
                        "kept as classes of their own",
                        "join them if they are one class")  # fmt: skip
CLASS_NAME_EMPTY = Kind("class-name-empty", "warning", "class without a name", "classes without a name", "kept",
                        "name it")  # fmt: skip
CLASS_UNUSED = Kind("class-unused", "note", "class without objects", "classes without objects",
                    "the network has an output for each")  # fmt: skip
