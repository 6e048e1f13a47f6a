"""Whether the account behind a destination certainly cannot write there, as far as the Hub tells beforehand. Pure.

Only what is certain counts: what a fine-grained token may do is for the Hub to say when it is used.
"""

from collections.abc import Mapping
from typing import Any


def why_not_writable(whoami: Mapping[str, Any], namespace: str) -> str | None:
    """Return why the account cannot write in a namespace, or None where it may be able to.

    Args:
        whoami: What `/api/whoami-v2` answered.
        namespace: User or organisation.
    """
    role = ((whoami.get("auth") or {}).get("accessToken") or {}).get("role")
    account = whoami.get("name")
    if role == "read":
        return f"the token of {account} may only read"
    if role != "write" or whoami.get("type") != "user" or str(account).lower() == namespace.lower():
        return None
    roles = {str(org.get("name")).lower(): org.get("roleInOrg") for org in whoami.get("orgs") or ()}
    if namespace.lower() not in roles:
        return f"{account} is no member of {namespace}"
    if roles[namespace.lower()] == "read":
        return f"{account} may only read in {namespace}"
    return None
