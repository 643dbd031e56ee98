-- Columns are text, 64-bit integers and bytes only; times are Unix seconds unless the name says _ms.
-- A state that has a time is a nullable time, never a flag.

create table clients (
    id           text   not null primary key,
    name         text,
    grant_types  text   not null, -- separated by spaces
    scope        text   not null,
    audience     text   not null, -- a JSON array of URIs
    auth_methods text   not null, -- separated by spaces
    access_ttl   bigint,          -- seconds
    refresh_ttl  bigint,          -- seconds
    alg          text,
    disabled_at  bigint,
    created_at   bigint not null
);

-- Position 0 is the current secret, position 1 the one it replaced.
create table client_secrets (
    client_id  text   not null references clients (id) on delete cascade,
    position   bigint not null,
    kind       text   not null, -- hmac | argon2
    hash       blob   not null,
    created_at bigint not null,
    expires_at bigint,
    primary key (client_id, position)
);

create table users (
    id            text   not null primary key,
    username      text   not null unique,
    email         text,
    name          text,
    password_hash text   not null,
    disabled_at   bigint,
    created_at    bigint not null,
    last_login_at bigint
);

create table roles (
    name        text   not null primary key,
    scope       text   not null,
    description text,
    created_at  bigint not null
);

create table user_roles (
    user_id text not null references users (id) on delete cascade,
    role    text not null references roles (name) on delete cascade,
    primary key (user_id, role)
);

create index user_roles_by_role on user_roles (role);

-- A refresh-token family. Its tokens are computed from secret and generation; none is stored.
create table families (
    id             text   not null primary key,
    client_id      text   not null references clients (id) on delete cascade,
    user_id        text   not null references users (id) on delete cascade,
    requested      text   not null,
    granted        text   not null,
    audience       text   not null, -- a JSON array of URIs
    secret         blob   not null,
    generation     bigint not null,
    retries        bigint not null,
    source         text   not null,
    auth_time      bigint not null,
    rotated_at_ms  bigint not null,
    expires_at     bigint not null,
    revoked_at     bigint,
    revoked_reason text
);

create index families_by_user on families (user_id);
create index families_by_client on families (client_id);
create index families_by_expiry on families (expires_at);

-- A key that is gone has no row. The private half is sealed under the encryption key.
create table signing_keys (
    kid          text   not null primary key,
    algorithm    text   not null,
    state        text   not null, -- pending | active | retired
    sealed       blob   not null,
    created_at   bigint not null,
    longest_ttl  bigint not null, -- seconds: the longest life of any token it may have signed
    activates_at bigint not null, -- when it may sign, or began to
    retired_at   bigint,
    retires_at   bigint           -- when it leaves the JWKS
);

-- Several instances may try to make the first key at once; one wins.
create unique index signing_keys_one_active on signing_keys (algorithm) where state = 'active';
create unique index signing_keys_one_pending on signing_keys (algorithm) where state = 'pending';

-- Bumped by whoever changes something that the servers keep in memory.
create table revisions (
    subject text   not null primary key,
    value   bigint not null
);

insert into revisions (subject, value) values ('clients', 0), ('roles', 0), ('keys', 0);

-- What is true of this database as a whole.
create table installation (
    name  text not null primary key,
    value blob not null
);

-- Failed logins by account (a keyed hash of the name, which need not exist) and source.
create table login_failures (
    account  blob   not null,
    source   text   not null,
    count    bigint not null,
    first_at bigint not null,
    last_at  bigint not null,
    primary key (account, source)
);

create index login_failures_by_age on login_failures (first_at);
