-- References come in no order: an index that is written with each of them writes a page for almost every report.

-- Which recharge has a reference, by what stands for it (`reference_hash`, src/store/sql/references.rs). Other references
-- may have the same, and the recharge may be gone: whoever finds one looks at its row. The latest recharges are not in
-- here yet; `meta` has the last one up to which all are.
CREATE TABLE reference (
    hash     INTEGER NOT NULL,
    recharge INTEGER NOT NULL,
    PRIMARY KEY (hash, recharge)
) WITHOUT ROWID;
INSERT INTO reference SELECT reference_hash(stream, reference_no), id FROM recharge ORDER BY 1, 2;
INSERT INTO meta (name, value) SELECT 'references until', coalesce(max(id), 0) FROM recharge;
DROP INDEX recharge_by_reference;
