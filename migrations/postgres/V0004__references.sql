-- On a file the index over references is a table that is written in order, many at a time. Here it stays an index: its pages
-- are written when a checkpoint comes, not with each commit.
SELECT 1;
