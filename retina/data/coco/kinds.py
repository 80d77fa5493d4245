# ruff: noqa: F401, F403
"""The faults of COCO files under their former names."""

from retina.data.catalogue import *
from retina.data.catalogue import ANNOTATION_ID_UNUSABLE as ID_UNUSABLE
from retina.data.catalogue import FILE_NOT_JSON as NOT_JSON
from retina.data.catalogue import FILE_NOT_UTF8 as NOT_UTF8
from retina.data.catalogue import FILE_TRUNCATED as TRUNCATED
from retina.data.catalogue import ISCROWD_ASSUMED as CROWD_ASSUMED
from retina.data.catalogue import ISCROWD_NOT_0_OR_1 as CROWD_UNKNOWN
from retina.data.catalogue import SECTION_NOT_A_LIST as SECTION_NO_LIST
