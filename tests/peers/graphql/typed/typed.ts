// A front end with the types that graphql-codegen's client preset makes: documents as texts over fetch and graphql-ws.

import { createClient } from "graphql-ws";

import type { TypedDocumentString } from "./made/graphql.js";
import { ChangesDocument, HouseholdDocument, ReadingsDocument, SubmitDocument } from "./made/graphql.js";
import type { ChangesSubscription, ReadingsQuery, ReadingsQueryVariables, SubmitMutation } from "./made/graphql.js";
import type { Scalars } from "./schema.js";

type IsAny<T> = 0 extends 1 & T ? true : false;
type AnyScalar = { [Name in keyof Scalars]: true extends IsAny<Scalars[Name]["input"]> | IsAny<Scalars[Name]["output"]> ? Name : never }[keyof Scalars];
// The compiler refuses this line as soon as one scalar is `any`.
export const ANY_SCALARS: readonly [AnyScalar] extends readonly [never] ? true : AnyScalar = true;

type Edge = NonNullable<ReadingsQuery["account"]>["readings"]["edges"][number];
type Sink = { next: (data: ChangesSubscription) => void; error: (error: unknown) => void };

/** Say in Russian what became of a reading: the compiler knows every outcome of the union. */
export function said(outcome: SubmitMutation["submitReading"]): string {
  switch (outcome.__typename) {
    case "ReadingAccepted":
      return `Принято: ${outcome.consumption.map(({ kwh }) => kwh satisfies number).join(", ")} кВт·ч`;
    case "ReadingHeld":
      return `Проверяем: ${outcome.reason}`;
    case "ReadingRefused":
      return outcome.text;
    case "MessageParked":
      return outcome.receipt;
    default:
      return outcome satisfies never;
  }
}

async function ask<Data, Variables>(url: string, document: TypedDocumentString<Data, Variables>, variables: Variables): Promise<Data> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { accept: "application/graphql-response+json", "content-type": "application/json" },
    body: JSON.stringify({ query: document.toString(), variables }),
  });
  const told = (await answer.json()) as { data: Data; errors?: unknown };
  if (told.errors !== undefined) throw new Error(JSON.stringify(told.errors));
  return told.data;
}

export function connect(url: string, webSocketImpl: unknown) {
  const socket = createClient({ url: url.replace("http", "ws"), webSocketImpl, retryAttempts: 0 });
  return {
    household: (number: string) => ask(url, HouseholdDocument, { number }),
    submit: (account: string, idempotencyKey: string, value: string) =>
      ask(url, SubmitDocument, { input: { account, idempotencyKey, values: [{ register: "TOTAL", value }] } }),
    async pages(variables: ReadingsQueryVariables): Promise<Edge["node"][][]> {
      const pages: Edge["node"][][] = [];
      let after: string | null = null;
      do {
        const { account }: ReadingsQuery = await ask(url, ReadingsDocument, { ...variables, after });
        if (!account) throw new Error("no account");
        pages.push(account.readings.edges.map((edge) => edge.node));
        after = account.readings.pageInfo.hasNextPage ? (account.readings.pageInfo.endCursor ?? null) : null;
      } while (after !== null);
      return pages;
    },
    watch(number: string, sink: Sink): () => void {
      return socket.subscribe<ChangesSubscription>(
        { query: ChangesDocument.toString(), variables: { number } },
        { next: ({ data }) => data && sink.next(data), error: sink.error, complete: () => undefined },
      );
    },
    close: () => socket.dispose(),
  };
}
