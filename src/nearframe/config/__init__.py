"""Settings, declared once: they feed the file, the environment, the command line and the docs.

Each setting is a field of one of the groups that `Settings` is made of. A value is taken from,
later ones winning: the default, ``nearframe.toml``, the environment (``NEARFRAME_`` and the name
in capitals), the command line (``--name-with-dashes``).
"""

from nearframe.config.declaring import Setting
from nearframe.config.loading import load
from nearframe.config.settings import SETTINGS, Settings
from nearframe.config.storage import WORKING_BYTES

__all__ = ["SETTINGS", "WORKING_BYTES", "Setting", "Settings", "load"]
