"""GraphQL for any schema: HTTP and sockets, limits, kept documents and their plans, scalars, pages. It knows nothing of bels."""
