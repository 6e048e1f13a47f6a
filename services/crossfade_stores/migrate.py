"""`python -m crossfade_stores.migrate`: bring the schema of CROSSFADE_DATABASE_URL to the newest revision.

Run it before the API and the workers of a new release start; running it twice, or twice at once, does no harm.
"""

import os
import sys
from typing import Final

from sqlalchemy.exc import DBAPIError

from crossfade_stores.engine import create_store_engine
from crossfade_stores.schema import upgrade

VARIABLE: Final = "CROSSFADE_DATABASE_URL"


def main() -> str | None:
    """Migrate; return what to tell the user when it could not be done, for `sys.exit`."""
    url = os.environ.get(VARIABLE, "")
    if not url:
        return f"{VARIABLE} is not set; set it to sqlite:////abs/crossfade.db or postgresql://user:pw@host/db"
    try:
        engine = create_store_engine(url)
    except ValueError as error:
        return f"{VARIABLE}: {error}"
    try:
        revision = upgrade(engine)
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        return f"{VARIABLE}: cannot migrate {where}: {str(error.orig).strip()}; check that it runs and may be written"
    finally:
        engine.dispose()
    sys.stdout.write(f"schema at revision {revision}\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
