-- Retries of a lost answer from elsewhere than where the live token was asked for from: at which generation the last
-- one was, and in how many generations in a row there was one.
alter table families add column strange_generation bigint;
alter table families add column strange_in_a_row bigint not null default 0;
