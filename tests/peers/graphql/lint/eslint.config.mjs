// graphql-eslint with every rule for schemas and for Relay; what is switched off has its reason beside it.

import graphql from "@graphql-eslint/eslint-plugin";

const ON = { ...graphql.configs["flat/schema-all"].rules, ...graphql.configs["flat/schema-relay"].rules };

export default [
  {
    files: ["schema.graphql"],
    plugins: { "@graphql-eslint": graphql },
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: "schema.graphql" } } },
    rules: {
      ...ON,
      // Fields stand in the order in which a person asks for them, not in that of the alphabet.
      "@graphql-eslint/alphabetize": "off",
      // What is not fetched again by its id has none: rows of an explanation, sums, pages.
      "@graphql-eslint/strict-id-in-types": "off",
      // A mutation always has an outcome, one of a union; a list is a connection, empty at worst.
      "@graphql-eslint/require-nullable-result-in-root": "off",
      // A mutation answers with what it changed; a way to ask for anything else there would go round the limits of a query.
      "@graphql-eslint/require-field-of-type-query-in-mutation-result": "off",
      // The rule forbids mutations and subscriptions unless told otherwise; bels has all three.
      "@graphql-eslint/no-root-type": "off",
      // `Balance.balance` beside `advance` and `overdue`, `Payment.paymentId` beside our own `id`: words of the trade.
      "@graphql-eslint/no-typename-prefix": "off",
      // The connections specification asks for forward arguments or backward ones; a work list is read forward.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
      // A short list that is never paged is a list; a node without an id of its own is allowed by the specification.
      "@graphql-eslint/relay-edge-types": ["error", { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
