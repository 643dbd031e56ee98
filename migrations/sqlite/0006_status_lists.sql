-- Every session and every client has one index for good, which every token of it carries. Those that are there are
-- numbered; what follows begins with a new list, in which indexes are scattered.
alter table clients add column status_index bigint;
alter table families add column status_index bigint;

update clients set status_index = numbered.place
from (select id, row_number() over (order by id) - 1 as place from clients) as numbered
where numbered.id = clients.id;

update families set status_index = numbered.place + (select count(*) from clients)
from (select id, row_number() over (order by id) - 1 as place from families) as numbered
where numbered.id = families.id;

create unique index clients_by_status_index on clients (status_index);
create unique index families_by_status_index on families (status_index);

-- The indexes whose tokens are no good any more.
create table revocations (
    status_index bigint not null primary key,
    revision     bigint not null, -- of the subject revocations, so that what is new can be asked for
    expires_at   bigint not null  -- when no token that carries the index can live
);

create index revocations_by_revision on revocations (revision);
create index revocations_by_expiry on revocations (expires_at);

-- The value of status_indexes is how many have been handed out: lists have 2^20 each.
insert into revisions (subject, value)
select 'status_indexes', ((select count(*) from clients) + (select count(*) from families) + 1048575) / 1048576 * 1048576;

insert into revisions (subject, value) values ('revocations', 0);

-- 1 where the client's tokens do not say where their status is.
alter table clients add column without_status bigint not null default 0;
