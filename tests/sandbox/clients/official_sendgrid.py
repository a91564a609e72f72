"""The official Python client of SendGrid against the sandbox. Prints what it was answered as one JSON object."""

import json
import sys

from python_http_client.exceptions import BadRequestsError
from sendgrid import SendGridAPIClient

marketing = SendGridAPIClient("SG.sandbox", host=sys.argv[1]).client.marketing
fields = json.loads(marketing.field_definitions.get().body)
made = marketing.field_definitions.post(request_body={"name": "seats", "field_type": "Number"})
contact = json.loads(sys.argv[2])
accepted = marketing.contacts.put(request_body={"contacts": [contact]})
job = json.loads(accepted.body)["job_id"]
try:
    marketing.contacts.put(request_body={"contacts": [{"email": "nobody"}]})
    refused = ""
except BadRequestsError as problem:
    refused = problem.to_dict["errors"][0]["field"]
status = {"status": "pending"}
for _ in range(200):
    status = json.loads(marketing.contacts.imports._(job).get().body)
    if status["status"] != "pending":
        break
search = marketing.contacts.search.emails.post(request_body={"emails": [contact["email"]]})
by_id = marketing.contacts.search.identifiers._("external_id").post(
    request_body={"identifiers": [contact["external_id"]]}
)
print(
    json.dumps(
        {
            "field_ids": [field["id"] for field in fields["custom_fields"]],
            "created_field": json.loads(made.body)["field_type"],
            "accepted": accepted.status_code,
            "refused": refused,
            "status": status["status"],
            "found": json.loads(search.body)["result"][contact["email"]]["contact"],
            "found_by_id": by_id.status_code,
        }
    )
)
