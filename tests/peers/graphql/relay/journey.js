// The questions of journey.mjs as Relay writes them: relay-compiler checks them against the schema and makes the artifacts
// that relay.mjs runs.

import { graphql } from "relay-runtime";

export const household = graphql`
  query journeyHouseholdQuery($number: String!) {
    account(number: $number) {
      id
      number
      open
      openedAt
      balance {
        balance
        overdue
      }
      meter {
        number
        capacity
        registers
      }
    }
  }
`;

export const readings = graphql`
  query journeyReadingsQuery($number: String!, $first: Int!) {
    account(number: $number) {
      id
      ...journey_readings @arguments(first: $first)
    }
  }
`;

export const page = graphql`
  fragment journey_readings on Account
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" })
  @refetchable(queryName: "journeyReadingsPageQuery") {
    readings(first: $first, after: $after) @connection(key: "journey_readings") {
      edges {
        node {
          id
          entry
          status
          receivedAt
          values {
            register
            value
          }
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;

export const submit = graphql`
  mutation journeySubmitMutation($input: SubmitReadingInput!) {
    submitReading(input: $input) {
      __typename
      ... on ReadingAccepted {
        receipt
        replayed
        consumption {
          register
          kwh
        }
      }
      ... on Refusal {
        code
        text
      }
    }
  }
`;

export const changes = graphql`
  subscription journeyChangesSubscription($number: String!) {
    accountChanged(accountNumber: $number) {
      account {
        id
        number
        version
      }
      entries {
        id
        kind
      }
    }
  }
`;
