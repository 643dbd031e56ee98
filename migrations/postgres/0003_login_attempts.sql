-- Password guesses: those that failed today, and those that are being judged right now. Unlike before, a guess has its
-- place here before it is judged, so that any number of instances judges no more than one would.
--
-- kind    account  source   counts the guesses
-- pair    A        S        at one account from one source
-- account A        ''       at one account from all sources that are not known for it
-- source  none     S        at all accounts from one source that is not known for them
-- Rows of another shape hold a place for as long as a guess is judged and count nothing.
create table login_attempts (
    kind        text   not null,
    account     bytea  not null, -- a keyed hash of the name, which need not exist; empty for none
    source      text   not null,
    count       bigint not null, -- failures since first_at_ms
    pending     text   not null, -- when each guess that is being judged was let in, in ms, separated by spaces
    first_at_ms bigint not null,
    last_at_ms  bigint not null,
    primary key (kind, account, source)
);

create index login_attempts_by_age on login_attempts (kind, last_at_ms);

insert into login_attempts (kind, account, source, count, pending, first_at_ms, last_at_ms)
select 'pair', account, source, count, '', first_at * 1000, last_at * 1000 from login_failures;

drop table login_failures;

-- Where a user has lately logged in from.
create table known_sources (
    user_id         text   not null references users (id) on delete cascade,
    source          text   not null,
    last_success_at bigint not null,
    primary key (user_id, source)
);

create index known_sources_by_age on known_sources (last_success_at);

-- 1 where the client may say for which address it asks.
alter table clients add column trust_user_address bigint not null default 0;
