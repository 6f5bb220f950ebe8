// graphql-ws and graphql-sse: every operation, also queries and mutations, over the one transport.

import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";
import WebSocket from "ws";

import { TEXTS, given, turn } from "./documents.mjs";

function opened(name, url) {
  if (name === "graphql-ws") return createWs({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
  if (name === "graphql-sse") return createSse({ url, retryAttempts: 0 });
  throw new Error(`unknown client ${name}`);
}

function data(answer) {
  if (answer.errors) throw new Error(JSON.stringify(answer.errors));
  return answer.data;
}

export function connect(name, url) {
  const client = opened(name, url);
  const ask = (operation, variables) =>
    new Promise((resolve, reject) => {
      let answer;
      client.subscribe(
        { query: TEXTS[operation], operationName: operation, variables },
        { next: (told) => (answer = told), error: (error) => reject(given(error)), complete: () => resolve(answer) },
      );
    }).then(data);
  return {
    ask,
    pages: (variables) => turn(ask, variables),
    watch: (operation, variables, sink) =>
      client.subscribe(
        { query: TEXTS[operation], operationName: operation, variables },
        { next: (told) => sink.next(data(told)), error: (error) => sink.error(given(error)), complete: () => {} },
      ),
    close: () => client.dispose(),
  };
}
