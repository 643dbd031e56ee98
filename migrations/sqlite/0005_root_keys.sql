-- The key that everything else is derived from, sealed under each encryption key that opens this database: one, or two
-- while an old one is still accepted.
create table root_keys (
    fingerprint blob   not null primary key, -- of the encryption key
    sealed      blob   not null,
    created_at  bigint not null,
    expires_at  bigint
);
