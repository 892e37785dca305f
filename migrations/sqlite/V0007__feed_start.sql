-- Where a stream's feed begins, if events before it are still there because a delivery of theirs is open: what is old is removed
-- whatever lies before it, and a feed has no gaps.
CREATE TABLE feed_start (
    stream   INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL
);
