-- The HTTP status of a kept answer. NULL where it was kept before there was a status: the call's usual one.
ALTER TABLE kept_answer ADD COLUMN status BIGINT;
