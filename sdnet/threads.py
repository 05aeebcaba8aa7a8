"""How long a CPU thread spins before it sleeps when it has nothing to do; imported before torch is.

OpenMP's threads spin for milliseconds at the end of every operation. On two cores that something else uses too,
training was measured to take seven times as long that way; with this shorter spin it does not, and on an idle
machine it is as fast. A value that the user has set stays.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")
