"""Which login service a platform trusts, as the platform itself says it."""

import httpx2

from mecapy_platform.client.errors import LoginError
from mecapy_platform.core.errors import UnavailableError

PROTECTED_RESOURCE = "/.well-known/oauth-protected-resource"  # RFC 9728
DISCOVERY = "/.well-known/openid-configuration"
TIMEOUT_SECONDS = 20.0


def find_issuer(url: str) -> str:
    """The issuer of the platform at `url`: named by RFC 9728, else the platform's own.

    LoginError when it names none.
    """
    servers = _read(url + PROTECTED_RESOURCE).get("authorization_servers")
    if isinstance(servers, list) and servers:
        return str(servers[0])
    own = _read(url + DISCOVERY).get("issuer")
    if isinstance(own, str):
        return own
    raise LoginError(
        "no_issuer",
        f"{url} does not name its login service. Use --issuer URL, --token TOKEN, or --data DIR of `mecapy up`.",
    )


def _read(address: str) -> dict[str, object]:
    try:
        answer = httpx2.get(address, timeout=TIMEOUT_SECONDS, verify=not address.startswith("http:"))
        data = answer.json() if answer.status_code == 200 else {}
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise UnavailableError(
            "platform_unreachable", f"Cannot reach {address} ({error}). Is the address right?"
        ) from error
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
