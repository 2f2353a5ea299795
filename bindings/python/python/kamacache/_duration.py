"""What a duration may be, everywhere in this package."""

from __future__ import annotations

import datetime

#: Seconds, a timedelta, or text such as "250ms", "1.5s", "10m", "2h", "1d".
#: Infinity is never.
Duration = float | datetime.timedelta | str
