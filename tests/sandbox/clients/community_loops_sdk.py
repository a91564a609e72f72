"""The package loops-sdk against the sandbox. It sends `mailingLists: null` where no list is named."""

import json
import sys

from loops_sdk import APIError, LoopsClient

client = LoopsClient("sandbox", api_root=f"{sys.argv[1]}/api/")
client.create_contact_property("plan", "string")
created = client.create_contact("ann@example.com", {"firstName": "Ann", "plan": "pro"})
updated = client.update_contact("ann@example.com", {"plan": "team"}, mailing_lists={"l1": True})
[found] = client.find_contact(email="ann@example.com")
try:
    client.create_contact("ann@example.com")
    refused = 0
except APIError as problem:
    refused = problem.status_code
deleted = client.delete_contact(email="ann@example.com")
lists = client.get_mailing_lists()
print(
    json.dumps(
        {
            "same": created["id"] == updated["id"],
            "found": {"firstName": found["firstName"], "plan": found["plan"], "lists": found["mailingLists"]},
            "refused": refused,
            "deleted": deleted["success"],
            "lists": [entry["id"] for entry in lists],
        }
    )
)
