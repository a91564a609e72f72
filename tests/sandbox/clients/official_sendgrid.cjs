// The official JavaScript client of SendGrid against the sandbox. Prints what it was answered as one JSON object.
const client = require("@sendgrid/client");

async function main() {
  const [base, text] = process.argv.slice(2);
  const contact = JSON.parse(text);
  client.setApiKey("SG.sandbox");
  client.setDefaultRequest("baseUrl", base);
  const call = (method, url, body) => client.request({ method, url, body }).then(([response, content]) => ({ status: response.statusCode, content }));
  const fields = await call("GET", "/v3/marketing/field_definitions");
  const accepted = await call("PUT", "/v3/marketing/contacts", { contacts: [contact] });
  const refused = await call("PUT", "/v3/marketing/contacts", { contacts: [{ email: "nobody" }] })
    .catch((problem) => ({ status: problem.code, content: problem.response.body }));
  let job = { content: { status: "pending" } };
  for (let turn = 0; turn < 200 && job.content.status === "pending"; turn += 1) {
    job = await call("GET", `/v3/marketing/contacts/imports/${accepted.content.job_id}`);
  }
  const search = await call("POST", "/v3/marketing/contacts/search/emails", { emails: [contact.email] });
  console.log(JSON.stringify({
    field_ids: fields.content.custom_fields.map((field) => field.id),
    accepted: accepted.status,
    refused: refused.content.errors[0].field,
    status: job.content.status,
    found: search.content.result[contact.email].contact,
  }));
}

main();
