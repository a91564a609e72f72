"""The package python-emarsys against the sandbox.

Version 0.1 hashes texts, as only Python 2 can: the one method that signs is replaced here. Everything else is the
client's own.
"""

import base64
import hashlib
import json
import sys
import uuid
from datetime import UTC, datetime

from emarsys import Emarsys


class Client(Emarsys):
    def _authentication_header_value(self) -> str:
        created, nonce = datetime.now(UTC).replace(microsecond=0).isoformat(), uuid.uuid4().hex
        digest = hashlib.sha1(f"{nonce}{created}{self._secret_token}".encode()).hexdigest()
        shown = base64.b64encode(digest.encode()).decode()
        return (
            f'UsernameToken Username="{self._username}", PasswordDigest="{shown}", Nonce="{nonce}", Created="{created}"'
        )


client = Client("sandbox001", "sandbox-secret", base_uri=f"{sys.argv[1]}/api/v2/")
plan = client.call("field", "POST", {"name": "Plan", "application_type": "shorttext"})["id"]
created = client.call("contact", "POST", {"3": "ann@example.com", "1": "Ann", str(plan): "pro"})["id"]
upserted = client.call(
    "contact/?create_if_not_exists=1", "PUT", {"key_id": "3", "contacts": [{"3": "bob@example.com"}]}
)
updated = client.call("contact", "PUT", {"key_id": "3", "3": "ann@example.com", "2": "Lee"})["id"]
data = client.call(
    "contact/getdata",
    "POST",
    {"keyId": "3", "keyValues": ["ann@example.com", "nobody@example.com"], "fields": ["1", "2", str(plan)]},
)
ids = client.call("contact/checkids", "POST", {"key_id": "3", "external_ids": ["bob@example.com"]})["ids"]
try:
    client.call("contact", "POST", {"key_id": "3", "3": "ann@example.com"})
    refused = 0
except Emarsys.Error as problem:
    refused = problem.code
names = [field["name"] for field in client.call("field", "GET")]
print(
    json.dumps(
        {
            "same": int(created) == int(updated),
            "found": [{name: row[name] for name in ("1", "2", str(plan))} for row in data["result"]],
            "missing": [error["errorCode"] for error in data["errors"]],
            "ids": ids == {"bob@example.com": str(upserted["ids"][0])},
            "refused": refused,
            "has_field": "Plan" in names,
        }
    )
)
