// Apollo Client with its normalised cache: HTTP, and subscriptions over graphql-ws.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import { createClient } from "graphql-ws";
import { OperationTypeNode } from "graphql";
import { filter, firstValueFrom } from "rxjs";
import WebSocket from "ws";

import { DOCUMENTS, INTROSPECTED } from "./documents.mjs";

const abstract = INTROSPECTED.__schema.types.filter((type) => type.possibleTypes);
const possibleTypes = Object.fromEntries(abstract.map((type) => [type.name, type.possibleTypes.map(({ name }) => name)]));

export function connect(_name, url) {
  const socket = createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
  const client = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      new HttpLink({ uri: url }),
    ),
    cache: new InMemoryCache({
      possibleTypes,
      typePolicies: { Account: { fields: { readings: relayStylePagination() } } },
    }),
  });
  return {
    async ask(operation, variables) {
      const document = DOCUMENTS[operation];
      if (document.definitions[0].operation === OperationTypeNode.MUTATION) {
        return (await client.mutate({ mutation: document, variables })).data;
      }
      return (await client.query({ query: document, variables })).data;
    },
    async pages(variables) {
      const watched = client.watchQuery({ query: DOCUMENTS.Readings, variables });
      const told = watched.subscribe(() => {});
      const pages = [];
      for (let seen = 0; ; ) {
        // The cache adds each page to the ones before, and tells all of them again.
        const more = ({ data }) => data && data.account.readings.edges.length > seen;
        const { edges, pageInfo } = (await firstValueFrom(watched.pipe(filter(more)))).data.account.readings;
        pages.push(edges.slice(seen).map((edge) => edge.node));
        seen = edges.length;
        if (!pageInfo.hasNextPage) break;
        await watched.fetchMore({ variables: { after: pageInfo.endCursor } });
      }
      told.unsubscribe();
      return pages;
    },
    watch(operation, variables, sink) {
      const told = client.subscribe({ query: DOCUMENTS[operation], variables }).subscribe((answer) => {
        if (answer.error) sink.error(answer.error);
        else sink.next(answer.data);
      });
      return () => told.unsubscribe();
    },
    close: () => socket.dispose(),
  };
}
