"""Google's access tokens, by Google's own library: google-auth's application default credentials, or an account's key.

One rule: whatever google-auth does, it does in `fetch`, in a thread; what the event loop sees is headers.

    GoogleTokens(file).fetch() -> (("authorization", "Bearer ..."), ...)    for an hour, as a rule
"""

import logging
from datetime import UTC, datetime
from typing import Any, Final

import google.auth
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from faregate.upstreams.port import CannotStart

# In detail google-auth logs its requests for tokens.
logging.getLogger("google.auth").setLevel(logging.INFO)

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
SOON_S: Final = 225.0
"""google-auth itself holds a token to be stale with so much left; a metadata server gives no new one before."""

_WAY_OUT: Final = (
    "name a service account's key as `credentials_file`, set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth"
    " application-default login`, or run it where a service account is attached"
)

Headers = tuple[tuple[str, str], ...]


class GoogleTokens:
    """A `Source` of headers."""

    def __init__(self, credentials_file: str | None) -> None:
        self._file = credentials_file
        self._credentials: Any = None

    def fetch(self) -> Headers:
        """Raises CannotStart where there are no credentials, and whatever google-auth raises that finds no token."""
        request = Request()
        if self._credentials is None:
            self._credentials = self._load(request)
        self._credentials.refresh(request)
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return tuple((name.lower(), value) for name, value in headers.items())

    def due(self, within_s: float) -> bool:
        expiry: datetime | None = self._credentials.expiry
        if expiry is None:
            return False
        return (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() < within_s

    def _load(self, request: Request) -> Any:
        try:
            if self._file is not None:
                return Credentials.from_service_account_file(self._file, scopes=SCOPES)
            return google.auth.default(scopes=SCOPES, request=request)[0]
        except (DefaultCredentialsError, ValueError, OSError) as error:
            raise CannotStart(f"there are no Google credentials: {str(error).rstrip('.')}; {_WAY_OUT}") from None
