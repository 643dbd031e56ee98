-- The audiences that a client may swap tokens for (RFC 8693). A JSON array, as clients.audience is.
alter table clients add column may_act_for text not null default '[]';
