"""GraphQL: what front ends, bots and partner programs ask and are told."""
