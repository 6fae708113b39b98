"""What every Python driver has in common: it tries one feature after another, and says of each what came of it.

The rule: a driver uses its library as that library's users do. A feature is wrong when it raises.

    FARE_URL   FARE_KEY   FARE_POOR_KEY (its wallet is empty)   FARE_MODEL      one line of JSON a feature on stdout
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

URL: Final = os.environ.get("FARE_URL", "")
KEY: Final = os.environ.get("FARE_KEY", "")
POOR_KEY: Final = os.environ.get("FARE_POOR_KEY", "")
MODEL: Final = os.environ.get("FARE_MODEL", "")

SENTENCE: Final = "The gate opens when the fare is held."
CITY: Final = "Utrecht"
SKY: Final = "overcast, 11 degrees"
ASK_TOOL: Final = f'How is the weather? <<{{"name": "weather", "input": {{"city": "{CITY}"}}}}>>'


class NotServed(Exception):
    """The gateway does not have it."""


def weather(city: str) -> str:
    """The weather of a city."""
    assert city == CITY, city
    return SKY


def ride(features: dict[str, Callable[[], Any]], version: str) -> None:
    """Try them all."""
    say({"version": version})
    for name, feature in features.items():
        try:
            feature()
        except NotServed as error:
            say({"feature": name, "served": False, "said": str(error)[:300]})
        except Exception as error:
            say({"feature": name, "ok": False, "said": f"{type(error).__name__}: {error}"[:600]})
        else:
            say({"feature": name, "ok": True})


def say(line: dict[str, Any]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
