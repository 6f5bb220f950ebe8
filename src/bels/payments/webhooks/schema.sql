-- What partners are told without asking: signed, repeated until taken, replayed on request.
SELECT;
