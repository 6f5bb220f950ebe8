// Ask the public audits of GraphQL over HTTP; print each with its verdict: `node audits.mjs URL`.

import { serverAudits } from "graphql-http";

const verdicts = [];
for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const result = await audit.fn();
  const [level] = audit.name.split(" ");
  verdicts.push({ id: audit.id, level, name: audit.name, status: result.status, reason: result.reason ?? null });
}
console.log(JSON.stringify(verdicts));
