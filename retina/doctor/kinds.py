# ruff: noqa: F401, F403
"""The faults under the names that the doctor has them by until it uses the catalogue itself."""

from retina.data.catalogue import *  # noqa: F403
from retina.data.catalogue import CLASS_IMBALANCE as IMBALANCE
from retina.data.catalogue import CLASS_ONLY_EVALUATED as UNSEEN_CLASS
from retina.data.catalogue import CLASS_TINY as TINY_CLASS
from retina.data.catalogue import IMAGE_16_BIT as DEEP
from retina.data.catalogue import IMAGE_ALPHA as ALPHA
from retina.data.catalogue import IMAGE_ANIMATED as ANIMATED
from retina.data.catalogue import IMAGE_CMYK as CMYK
from retina.data.catalogue import IMAGE_EXTENSION as EXTENSION
from retina.data.catalogue import IMAGE_GRAY as GRAY
from retina.data.catalogue import IMAGE_HUGE as HUGE
from retina.data.catalogue import IMAGE_MISSING as MISSING
from retina.data.catalogue import IMAGE_NOT_A_FILE as IRREGULAR
from retina.data.catalogue import IMAGE_OUTSIDE_FOLDER as OUTSIDE
from retina.data.catalogue import IMAGE_PALETTE as PALETTE
from retina.data.catalogue import IMAGE_SIDES_SWAPPED as SIDES_SWAPPED
from retina.data.catalogue import IMAGE_TRUNCATED as TRUNCATED
from retina.data.catalogue import IMAGE_TURNED as TURNED
from retina.data.catalogue import IMAGE_UNDECODABLE as UNDECODABLE
from retina.data.catalogue import IMAGE_WITH_MANY_OBJECTS as TOO_MANY
from retina.data.catalogue import IMAGE_WRONG_SIZE as WRONG_SIZE
from retina.data.catalogue import IMAGE_ZERO_BYTES as EMPTY_FILE
from retina.data.catalogue import IMAGES_IDENTICAL as IDENTICAL
from retina.data.catalogue import IMAGES_NEARLY_IDENTICAL as NEAR
from retina.data.catalogue import IMAGES_NOT_CHECKED as UNCHECKED
from retina.data.catalogue import OBJECT_UNDER_8_PIXELS as SMALL_SIDE
from retina.data.catalogue import OBJECT_UNREACHED as UNREACHED
from retina.data.catalogue import SPLIT_LEAK as LEAK
from retina.data.catalogue import SPLIT_NEAR_LEAK as NEAR_LEAK
from retina.data.catalogue import SPLIT_UNREADABLE as UNREADABLE
from retina.data.catalogue import SPLITS_DIFFER_IN_CLASSES as CLASSES_DIFFER
from retina.data.checks.images import unchecked
from retina.data.checks.start import skipped
