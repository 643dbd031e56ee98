-- Bumped with every change to who may act and what they hold, so that what was read of a user can be asked for again.
insert into revisions (subject, value) values ('users', 0);
