-- What is asked about payments and waits for a decision.
SELECT;
