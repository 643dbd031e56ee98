-- The public keys that a client signs its assertions with: a JWK Set, or null.
alter table clients add column jwks text;

-- What may be used once and was: a row is there as long as it would be taken again.
create table used_ids (
    id         bytea  not null primary key, -- SHA-256 over what it is, whose it is and its name
    expires_at bigint not null
);

create index used_ids_by_age on used_ids (expires_at);
