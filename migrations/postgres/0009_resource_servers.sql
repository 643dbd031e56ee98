-- The audiences that a client serves: it may introspect their tokens. A JSON array, as clients.audience is.
alter table clients add column resource_servers text not null default '[]';
