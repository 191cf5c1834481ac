-- Who was online at a time: one row, written every minute.
CREATE TABLE online (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	at    INTEGER NOT NULL,
	nodes BLOB NOT NULL
) STRICT;
