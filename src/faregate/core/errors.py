"""Everything we tell a caller when the answer is not the one they asked for.

* GatewayError
  + Refused                  the caller can act on it; asking again unchanged will not help
    - InvalidRequest         400 invalid_request_error   invalid_body | invalid_param | context_length_exceeded
    - Unauthenticated        401 authentication_error    invalid_api_key | key_revoked | key_expired
    - PaymentRequired        402 billing_error           insufficient_credits | quota_exceeded | credit_limit_exceeded
    - Forbidden              403 permission_error        model_not_in_scope | ip_not_allowed
    - NotFound               404 not_found_error         model_not_found | not_found
    - MethodNotAllowed       405 invalid_request_error   method_not_allowed
    - BodyTooLarge           413 request_too_large       request_too_large
    - UnsupportedMedia       415 invalid_request_error   request_body_encoding_unsupported
    - Unsupported            422 invalid_request_error   unsupported_parameter | idempotency_mismatch
    - Conflict               409 conflict_error          conflict
    - Repeated               409 conflict_error          idempotency_done
  + Unavailable              time may mend it; the SDKs may ask again
    - BodyTimeout            408 timeout_error           body_timeout
    - InFlight               409 conflict_error          idempotency_in_flight
    - RateLimited            429 rate_limit_error        requests | input_tokens | output_tokens | concurrency | spend_*
    - RateLimited            429 rate_limit_error        abandoned | batch_requests
    - Internal               500 api_error               internal
    - UpstreamFailed         502 api_error               upstream_error
    - NotReady               503 api_error               no_upstream | database_unavailable | busy | shutting_down
    - UpstreamTimeout        504 timeout_error           upstream_timeout
    - UpstreamOverloaded     529 overloaded_error        upstream_overloaded

An error class *is* its wire meaning, so raising it anywhere below the edge is enough: the edge has one renderer.
Programmer errors are not in this tree. They are assertions, and they crash into one 500.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

SLEEP_S_MAX: Final = 60
"""SDKs obey `retry-after` without a cap: beyond a minute they are told not to try again by themselves."""


class GatewayError(Exception):
    status: ClassVar[int]
    kind: ClassVar[str]
    """`error.type` on the wire."""
    code: str
    """`details.error_code` on the wire: stable, for machines. The class has a default, the instance may be finer."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        assert hasattr(type(self), "status"), "raise a leaf: it carries the meaning"
        super().__init__(message)
        self.message = message
        """Shown to the caller verbatim: no host names, no SQL, no keys."""
        if code is not None:
            self.code = code
        self.details = details or {}
        """More fields for `error.details`, beside `error_code`."""
        self.retry_after_s = retry_after_s
        self.should_retry = self.retryable if should_retry is None else should_retry
        """False is sent as `x-should-retry: false`, so that SDKs neither repeat nor sleep."""
        self.headers = headers
        """More headers of the answer: `anthropic-ratelimit-*` where a rate refused, `allow` where a method did."""

    retryable: ClassVar[bool]


class Refused(GatewayError):
    retryable = False


class Unavailable(GatewayError):
    retryable = True


class InvalidRequest(Refused):
    status, kind, code = 400, "invalid_request_error", "invalid_param"


class Unauthenticated(Refused):
    status, kind, code = 401, "authentication_error", "invalid_api_key"


class PaymentRequired(Refused):
    status, kind, code = 402, "billing_error", "insufficient_credits"


class Forbidden(Refused):
    status, kind, code = 403, "permission_error", "model_not_in_scope"


class NotFound(Refused):
    status, kind, code = 404, "not_found_error", "not_found"


class MethodNotAllowed(Refused):
    status, kind, code = 405, "invalid_request_error", "method_not_allowed"


class Conflict(Refused):
    status, kind, code = 409, "conflict_error", "conflict"


class Repeated(Refused):
    """The call `charge_id` once more. Where its answer is kept, that is given again instead."""

    status, kind, code = 409, "conflict_error", "idempotency_done"

    def __init__(self, message: str, *, charge_id: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.charge_id = charge_id


class BodyTooLarge(Refused):
    status, kind, code = 413, "request_too_large", "request_too_large"


class UnsupportedMedia(Refused):
    status, kind, code = 415, "invalid_request_error", "request_body_encoding_unsupported"


class Unsupported(Refused):
    status, kind, code = 422, "invalid_request_error", "unsupported_parameter"


class BodyTimeout(Unavailable):
    status, kind, code = 408, "timeout_error", "body_timeout"


class InFlight(Unavailable):
    status, kind, code = 409, "conflict_error", "idempotency_in_flight"


class RateLimited(Unavailable):
    status, kind, code = 429, "rate_limit_error", "requests"


class Internal(Unavailable):
    status, kind, code = 500, "api_error", "internal"


class UpstreamFailed(Unavailable):
    status, kind, code = 502, "api_error", "upstream_error"


class NotReady(Unavailable):
    status, kind, code = 503, "api_error", "no_upstream"

    @property
    def unknown(self) -> bool:
        """Whether what was asked may have been done all the same."""
        return self.details.get("outcome") == "unknown"


class UpstreamTimeout(Unavailable):
    status, kind, code = 504, "timeout_error", "upstream_timeout"


class UpstreamOverloaded(Unavailable):
    status, kind, code = 529, "overloaded_error", "upstream_overloaded"
