// One journey with one client, the same for each: ask for a household, turn the pages of its readings, watch it, submit a
// reading and hear of it. `node journey.mjs CLIENT URL ACCOUNT VALUE` prints what the client was told as one JSON object.

import { once } from "node:events";

const WAIT_MS = 15_000;
const PAGE = 2;

const [, , name, url, number, value] = process.argv;
const MODULES = { apollo: "apollo", relay: "relay", typed: "typed", urql: "urql", "urql-ws": "urql" };
const clients = await import(`./${MODULES[name] ?? "streams"}.mjs`);
const client = clients.connect(name, url);

const events = [];
const heard = new EventTarget();
const failed = new Promise((_, reject) => {
  heard.addEventListener("failure", (event) => reject(event.detail));
});
failed.catch(() => {});

async function hears(count) {
  while (events.length < count) await Promise.race([once(heard, "event"), failed]);
}

function limited(work) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`${name} waits longer than ${WAIT_MS} ms; heard ${JSON.stringify(events)}`)), WAIT_MS).unref();
  });
  return Promise.race([work, late]);
}

async function journey() {
  const household = await client.ask("Household", { number });
  const pages = await client.pages({ number, first: PAGE });
  const stop = client.watch("Changes", { number }, {
    next: (data) => {
      events.push(data);
      heard.dispatchEvent(new Event("event"));
    },
    error: (error) => heard.dispatchEvent(new CustomEvent("failure", { detail: error })),
  });
  await hears(1);
  const input = { account: number, idempotencyKey: `${name} ${value}`, values: [{ register: "TOTAL", value }] };
  const submitted = await client.ask("Submit", { input });
  const again = await client.ask("Submit", { input });
  await hears(2);
  await stop();
  return { household, pages, submitted, again, events };
}

try {
  console.log(JSON.stringify(await limited(journey())));
} catch (error) {
  console.error(error instanceof Error ? error.stack : JSON.stringify(error));
  process.exitCode = 1;
}
await client.close();
// Sockets that a client keeps for its next question would keep this process too.
process.exit();
