CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    balance INTEGER NOT NULL CHECK (balance >= 0)
) STRICT;

-- One row for each order; `refused_with` is the balance that was too small, if it was.
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,
    from_account INTEGER NOT NULL,
    to_account INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    refused_with INTEGER,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES accounts,
    transfer INTEGER REFERENCES transfers,
    amount INTEGER NOT NULL,
    balance INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX entries_by_account ON entries (account, id);
