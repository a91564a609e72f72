"""What a test does at the sandbox as an account's owner would: a request with the account's key."""

import json
import urllib.request
from typing import Any

from support.stage import KEY


def post(url: str, content: Any) -> Any:
    """Send JSON with the key of the tests; returns the JSON of the reply."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())
