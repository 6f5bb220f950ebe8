// The front end of typed/typed.ts, as tsc built it (a module's path in TYPED_CLIENT), in the shape of the other clients.

import WebSocket from "ws";

import { given } from "./documents.mjs";

const built = await import(process.env.TYPED_CLIENT);

export function connect(_name, url) {
  const client = built.connect(url, WebSocket);
  return {
    ask(operation, variables) {
      if (operation === "Household") return client.household(variables.number);
      const { account, idempotencyKey, values } = variables.input;
      return client.submit(account, idempotencyKey, values[0].value);
    },
    pages: client.pages,
    watch: (_operation, { number }, sink) => client.watch(number, { ...sink, error: (error) => sink.error(given(error)) }),
    close: client.close,
  };
}
