// The documents of documents.graphql by the names of their operations: as text, and parsed for clients that take them so;
// and the schema as introspection gives it, for caches that know types.

import { readFileSync } from "node:fs";
import { buildSchema, introspectionFromSchema, parse, print } from "graphql";

const published = readFileSync(new URL("../../../src/bels/api/schema.graphql", import.meta.url), "utf8");
export const INTROSPECTED = introspectionFromSchema(buildSchema(published));

const all = parse(readFileSync(new URL("documents.graphql", import.meta.url), "utf8"), { noLocation: true });

export const DOCUMENTS = Object.fromEntries(all.definitions.map((one) => [one.name.value, { kind: "Document", definitions: [one] }]));
export const TEXTS = Object.fromEntries(Object.entries(DOCUMENTS).map(([name, document]) => [name, print(document)]));

/** Turn pages with a client that keeps no pages itself: `ask` again after the end of each. */
export async function turn(ask, variables) {
  const pages = [];
  let after;
  do {
    const page = (await ask("Readings", { ...variables, after })).account.readings;
    pages.push(page.edges.map((edge) => edge.node));
    after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : undefined;
  } while (after !== undefined);
  return pages;
}

export function given(error) {
  return error instanceof Error ? error : new Error(JSON.stringify(error));
}
