// The official JavaScript client of Loops against the sandbox. Prints what it was answered as one JSON object.
const { APIError, LoopsClient, RateLimitExceededError } = require("loops");

async function main() {
  const client = new LoopsClient("sandbox");
  client.apiRoot = `${process.argv[2]}/api/`;
  const key = await client.testApiKey();
  await client.createContactProperty("plan", "string");
  const created = await client.createContact({ email: "ann@example.com", properties: { firstName: "Ann", plan: "pro" } });
  const updated = await client.updateContact({ email: "ann@example.com", userId: "u-1", properties: { plan: null } });
  const [found] = await client.findContact({ userId: "u-1" });
  const refused = await client.createContact({ email: "ann@example.com" }).catch((problem) => problem);
  const deleted = await client.deleteContact({ email: "ann@example.com" });
  const burst = await Promise.all(
    Array.from({ length: 14 }, (_, n) => client.updateContact({ email: `u${n}@example.com` }).catch((problem) => problem)),
  );
  console.log(JSON.stringify({
    key: key.success,
    same: created.id === updated.id,
    found: { userId: found.userId, firstName: found.firstName, plan: found.plan },
    refused: refused instanceof APIError ? refused.statusCode : 0,
    deleted: deleted.success,
    limited: burst.filter((answer) => answer instanceof RateLimitExceededError).length,
    limits: burst.filter((answer) => answer instanceof RateLimitExceededError).map((answer) => answer.limit),
  }));
}

main();
