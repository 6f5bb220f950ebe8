// urql with its normalised cache: queries by GET where they are short, subscriptions as event streams on the same URL
// (urql) or over graphql-ws (urql-ws).

import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { relayPagination } from "@urql/exchange-graphcache/extras";
import { createClient as createWs } from "graphql-ws";
import WebSocket from "ws";

import { DOCUMENTS, INTROSPECTED, given } from "./documents.mjs";

function forward(socket) {
  return (operation) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...operation, query: operation.query ?? "" }, sink) }),
  });
}

export function connect(name, url) {
  const socket = name === "urql-ws" ? createWs({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 }) : null;
  const cache = cacheExchange({
    schema: INTROSPECTED,
    keys: Object.fromEntries(["Balance", "Meter", "RegisterKwh", "RegisterValue", "AccountChange"].map((type) => [type, () => null])),
    resolvers: { Account: { readings: relayPagination() } },
  });
  const client = new Client({
    url,
    // urql's own way to stream: POST with `accept: text/event-stream` among others, chosen by the server.
    fetchSubscriptions: socket === null,
    preferGetMethod: true,
    exchanges: [cache, ...(socket ? [subscriptionExchange({ forwardSubscription: forward(socket) })] : []), fetchExchange],
  });
  const ask = async (operation, variables) => {
    const document = DOCUMENTS[operation];
    const run = document.definitions[0].operation === "mutation" ? client.mutation(document, variables) : client.query(document, variables);
    const answer = await run.toPromise();
    if (answer.error) throw answer.error;
    return answer.data;
  };
  return {
    ask,
    async pages(variables) {
      // The cache adds each page to the ones before: the last answer holds all.
      const pages = [];
      let after;
      let seen = 0;
      do {
        const { edges, pageInfo } = (await ask("Readings", { ...variables, after })).account.readings;
        pages.push(edges.slice(seen).map((edge) => edge.node));
        seen = edges.length;
        after = pageInfo.hasNextPage ? pageInfo.endCursor : undefined;
      } while (after !== undefined);
      return pages;
    },
    watch(operation, variables, sink) {
      const { unsubscribe } = client.subscription(DOCUMENTS[operation], variables).subscribe((told) => {
        if (told.error) sink.error(given(told.error));
        else sink.next(told.data);
      });
      return unsubscribe;
    },
    close: () => socket?.dispose(),
  };
}
