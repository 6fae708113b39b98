"""The quote: what a call can cost at most, and what it will probably cost.

The ceiling is a ceiling. A byte-level tokenizer never makes more tokens than there are UTF-8 bytes, so the input is
bounded by its bytes and the template's overhead, images and documents by the model's published maximum, and all of it
by the context window; each token at the dearest rate the call can reach. The output is bounded by the cap that is sent.
What is in no byte of the body (a URL, a file, a container) is bounded by the context window alone.

    ceiling = input_tokens_max × dearest input rate + max_tokens × output rate        exact, in nanodollars
"""

import msgspec

from faregate.core.admission import Admitted
from faregate.core.errors import InvalidRequest, PaymentRequired
from faregate.core.estimate import Guess
from faregate.core.money import Nanos, show_credits
from faregate.core.pricing import PriceVersion


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    price: PriceVersion
    input_tokens_max: int
    input_ceiling: Nanos
    max_tokens: int
    min_tokens: int
    ceiling: Nanos
    """x-credits-max: the call can never be charged more."""
    guess: Guess
    input_estimated: Nanos
    """x-credits-input: about what is paid if the stream is cut at once."""
    estimated: Nanos
    """x-credits-estimated."""

    def fit(self, max_tokens: int) -> tuple[Nanos, Nanos]:
        """The ceiling and the estimate with fewer output tokens (a clamp)."""
        output = min(self.guess.usage.output, max_tokens)
        ceiling = self.input_ceiling + max_tokens * self.price.output
        return Nanos(ceiling), Nanos(self.input_estimated + output * self.price.output)


def text_bytes(admitted: Admitted, body: bytes) -> int:
    """The bytes of the body that become text: all but the base64 of its media."""
    return max(0, len(body) - admitted.media_bytes)


def media_tokens_max(admitted: Admitted) -> int:
    """The most tokens that the images and documents of the body may come to."""
    model = admitted.model
    return admitted.images * model.image_tokens_max + admitted.documents * model.document_tokens_max


def input_bound(admitted: Admitted, body: bytes) -> int:
    """What the input comes to at most, whether the model takes as much or not."""
    if admitted.unbounded:
        return admitted.model.context_window
    return text_bytes(admitted, body) + media_tokens_max(admitted) + admitted.overhead_tokens


def input_tokens_max(admitted: Admitted, body: bytes) -> int:
    """The most input tokens this call can come to."""
    return min(input_bound(admitted, body), admitted.model.context_window)


def quote(admitted: Admitted, body: bytes, price: PriceVersion, guess: Guess) -> Quote:
    """Price a call before it runs. Raises InvalidRequest when its input is estimated over the context window."""
    window = admitted.model.context_window
    # How many pages a document has only upstream knows, and how fine its tokenizer cuts is seen after some calls: what
    # may fit is sent, for its own refusal costs nothing.
    least = guess.input_tokens if guess.learnt else guess.input_tokens * 3 // 4
    if least > window and not admitted.documents:
        raise InvalidRequest(
            f"prompt is too long: {guess.input_tokens} tokens > {window} maximum", code="context_length_exceeded"
        )
    rate = price.input
    if admitted.cache_5m:
        rate = max(rate, price.cache_write_5m)
    if admitted.cache_1h:
        rate = max(rate, price.cache_write_1h)
    tokens = max(input_tokens_max(admitted, body), guess.input_tokens)
    input_ceiling = Nanos(tokens * rate)
    usage = guess.usage
    input_estimated = price.cost(msgspec.structs.replace(usage, output=0))
    return Quote(
        price=price,
        input_tokens_max=tokens,
        input_ceiling=input_ceiling,
        max_tokens=admitted.max_tokens,
        min_tokens=admitted.min_tokens,
        ceiling=Nanos(input_ceiling + admitted.max_tokens * price.output),
        guess=guess,
        input_estimated=Nanos(min(input_estimated, input_ceiling)),
        estimated=Nanos(min(input_estimated, input_ceiling) + usage.output * price.output),
    )


def above_limit(quoted: Quote, limit: Nanos, *, available: int) -> PaymentRequired:
    """The refusal of a call whose ceiling is above its caller's own `x-credits-limit`."""
    rest = limit - quoted.input_ceiling
    affordable = rest // quoted.price.output if rest > 0 and quoted.price.output else 0
    return PaymentRequired(
        f"x-credits-limit: this call may cost up to {show_credits(quoted.ceiling)} credits, above your limit of "
        f"{show_credits(limit)}. Raise the limit or lower max_tokens.",
        code="credit_limit_exceeded",
        details={
            "required": show_credits(quoted.ceiling),
            "limit": show_credits(limit),
            "available": show_credits(available),
            "affordable_max_tokens": min(affordable, quoted.max_tokens),
        },
    )
