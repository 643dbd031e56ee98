-- Keys for programs that send one secret with every request. A key is a user's or a client's, never both.
create table api_keys (
    id           text   not null primary key, -- the beginning of the key, which is no secret
    user_id      text   references users (id) on delete cascade,
    client_id    text   references clients (id) on delete cascade,
    name         text,
    scope        text   not null,
    audience     text   not null, -- a JSON array of URIs
    hash         bytea  not null, -- HMAC-SHA-256 under a key of the server's
    status_index bigint not null, -- what the tokens that were made from it carry
    created_at   bigint not null,
    expires_at   bigint,
    revoked_at   bigint,
    check ((user_id is null) <> (client_id is null))
);

create index api_keys_by_user on api_keys (user_id);
create index api_keys_by_client on api_keys (client_id);
create unique index api_keys_by_status_index on api_keys (status_index);

insert into revisions (subject, value) values ('api_keys', 0);
