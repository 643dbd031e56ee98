-- What was done to this database, by whom: rows are only ever added, each with a keyed hash over itself and the hash
-- before it.
create table audit (
    seq          bigint not null primary key, -- 1, 2, 3 … without a gap
    at_ms        bigint not null,
    actor        text   not null,
    act          text   not null,
    subject_kind text   not null,
    subject      text   not null,
    details      text   not null, -- one JSON object
    hash         blob   not null
);

create index audit_by_time on audit (at_ms);

-- One row, the last of the chain. Whoever appends holds its lock until the commit, so that appends stand in line.
create table audit_head (
    id   bigint not null primary key check (id = 1),
    seq  bigint not null,
    hash blob   not null
);

insert into audit_head (id, seq, hash) values (1, 0, zeroblob(32));

-- Families whose ending is not in the audit yet; almost always none.
create index families_unrecorded on families (id) where revoked_reason = 'reuse_unrecorded';
