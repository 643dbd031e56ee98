-- The thumbprint of the key that the refresh tokens of a public client are bound to (RFC 9449 §5), or null.
alter table families add column jkt text;

-- 1 where every token of the client must be bound to a key of its own (RFC 9449 §5.2).
alter table clients add column dpop_bound bigint not null default 0;
