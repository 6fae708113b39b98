"""Amazon's keys and signatures, by Amazon's own library: botocore's chain of providers and its SigV4 signer.

One rule: what waits happens in `fetch`, in a thread; signing is arithmetic, over keys that are already here.

    AwsKeys(profile).fetch() -> keys        environment, files, SSO, roles, container, instance: as the AWS CLI
    signed(keys, region, url, body)         the headers that prove them, for one request within five minutes
"""

import logging
from typing import Any, Final, Protocol

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConfigNotFound, ConfigParseError, PartialCredentialsError, ProfileNotFound
from botocore.session import Session

from faregate.upstreams.port import CannotStart

# In detail botocore logs what it signs, session token and all, and the answers in which keys come.
logging.getLogger("botocore").setLevel(logging.INFO)

SERVICE: Final = "bedrock"
SOON_S: Final = 900.0
"""botocore itself fetches temporary keys anew when they have less than a quarter of an hour left."""

CONTENT_TYPE: Final = "application/json"

_WAY_OUT: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, name a `profile`, run it where a role is attached,"
    " or export AWS_BEARER_TOKEN_BEDROCK"
)


class Keys(Protocol):
    """botocore's ReadOnlyCredentials."""

    @property
    def access_key(self) -> str: ...

    @property
    def secret_key(self) -> str: ...

    @property
    def token(self) -> str | None: ...


class AwsKeys:
    """A `Source` of keys. The environment and files that AWS's own tools read are read by botocore."""

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._credentials: Any = None

    def fetch(self) -> Keys:
        """Raises CannotStart where there are none, and whatever a provider raises that cannot be reached."""
        if self._credentials is None:
            try:
                self._credentials = Session(profile=self._profile).get_credentials()
            except (ProfileNotFound, ConfigNotFound, ConfigParseError, PartialCredentialsError) as error:
                raise CannotStart(f"{error}; {_WAY_OUT}") from None
        if self._credentials is None:
            raise CannotStart(f"there are no AWS credentials: {_WAY_OUT}")
        keys: Keys = self._credentials.get_frozen_credentials()
        return keys

    def due(self, within_s: float) -> bool:
        needed = getattr(self._credentials, "refresh_needed", None)
        return needed is not None and bool(needed(refresh_in=within_s))


def signed(keys: Keys, region: str, url: str, body: bytes) -> list[tuple[str, str]]:
    """The headers to send with a POST of JSON to `url`: what was signed, the signature, and the time of it."""
    headers = {"content-type": CONTENT_TYPE, "accept": CONTENT_TYPE}
    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    SigV4Auth(keys, SERVICE, region).add_auth(request)
    return [(name.lower(), value) for name, value in request.headers.items()]
