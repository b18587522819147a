CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0)
);

-- One row for each order; `refused_with` is the balance that was too small, if it was.
CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text UNIQUE,
    from_account bigint NOT NULL,
    to_account bigint NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    refused_with bigint,
    at_ms bigint NOT NULL
);

CREATE TABLE entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account bigint NOT NULL REFERENCES accounts,
    transfer bigint REFERENCES transfers,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    at_ms bigint NOT NULL
);

CREATE INDEX entries_by_account ON entries (account, id);
