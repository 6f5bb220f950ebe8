// Relay's runtime with the artifacts of relay-compiler (a folder in RELAY_ARTIFACTS): fetch, and graphql-ws for subscriptions.
// With BY_ID set it asks by the ids of trusted documents, and sends no text over HTTP.

import { createRequire } from "node:module";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const require = createRequire(import.meta.url);
const relay = require("relay-runtime");
const artifact = (name) => require(`${process.env.RELAY_ARTIFACTS}/${name}.graphql.js`);

const NAMES = { Household: "journeyHouseholdQuery", Submit: "journeySubmitMutation", Changes: "journeyChangesSubscription" };

export function connect(_name, url) {
  const socket = createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
  const environment = new relay.Environment({
    store: new relay.Store(new relay.RecordSource()),
    network: relay.Network.create(
      async (request, variables) => {
        const asked = process.env.BY_ID ? { documentId: request.id } : { query: request.text, operationName: request.name };
        const answer = await fetch(url, {
          method: "POST",
          headers: { accept: "application/graphql-response+json", "content-type": "application/json" },
          body: JSON.stringify({ ...asked, variables }),
        });
        return answer.json();
      },
      (request, variables) =>
        relay.Observable.create((sink) => socket.subscribe({ query: request.text, operationName: request.name, variables }, sink)),
    ),
  });
  const fetched = (name, variables) => relay.fetchQuery(environment, artifact(name), variables).toPromise();
  return {
    ask(operation, variables) {
      if (operation !== "Submit") return fetched(NAMES[operation], variables);
      return new Promise((resolve, reject) => {
        relay.commitMutation(environment, {
          mutation: artifact(NAMES.Submit),
          variables,
          onCompleted: (told, errors) => (errors ? reject(new Error(JSON.stringify(errors))) : resolve(told)),
          onError: reject,
        });
      });
    },
    async pages({ number, first }) {
      const { account } = await fetched("journeyReadingsQuery", { number, first });
      const fragment = relay.getSingularSelector(artifact("journey_readings"), account);
      const pages = [];
      for (let seen = 0; ; ) {
        // Relay's store adds each page to the ones before; the next one is asked for through `node(id)`.
        const { edges, pageInfo } = environment.lookup(fragment).data.readings;
        pages.push(edges.slice(seen).map((edge) => edge.node));
        seen = edges.length;
        if (!pageInfo.hasNextPage) return pages;
        await fetched("journeyReadingsPageQuery", { id: account.id, first, after: pageInfo.endCursor });
      }
    },
    watch(operation, variables, sink) {
      const { dispose } = relay.requestSubscription(environment, {
        subscription: artifact(NAMES[operation]),
        variables,
        onNext: sink.next,
        onError: sink.error,
      });
      return dispose;
    },
    close: () => socket.dispose(),
  };
}
