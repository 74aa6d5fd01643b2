-- What the loaders keep for themselves. No reader needs it.

-- A loader writes here which identities it is about to use, and only then rows under them. What
-- a killed load left behind is found by its identity: without its root nobody else can see it.
CREATE TABLE IF NOT EXISTS LoadIntents
(
    intent_root          UUID,
    intent_nodes         Array(UUID),
    intent_name          String,
    intent_date          DateTime,
    intent_state         Enum8('pending' = 0, 'done' = 1, 'withdrawn' = 2),
    intent_host          LowCardinality(String),
    intent_process       UInt32,
    intent_process_start UInt64,
    ts                   DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (intent_name, intent_date, intent_root);

-- The distinct paths that packages require. A load of packages looks up here which of their files
-- have to be provides; among all dependencies that would be a search through the database.
CREATE TABLE IF NOT EXISTS RequiredPaths
(
    path_name String,
    path_hash UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY path_hash;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_required_paths TO RequiredPaths
(
    path_name String,
    path_hash UInt64
)
AS SELECT DISTINCT
    dp_name AS path_name,
    murmurHash3_64(dp_name) AS path_hash
FROM Depends
WHERE dp_type = 'require' AND startsWith(dp_name, '/');

INSERT INTO RequiredPaths (path_name, path_hash)
SELECT DISTINCT dp_name, murmurHash3_64(dp_name)
FROM Depends
WHERE dp_type = 'require' AND dp_name >= '/' AND dp_name < '0';

-- Readers look packages and task states up by numbers that are not in front in the sorting keys.
-- These indexes are free on insert. Those of Files, FileNames and Depends are not here, because
-- they make bulk inserts slower by a tenth; an operator who reads more than he loads may add them.
ALTER TABLE Packages
    ADD INDEX IF NOT EXISTS index_pkg_hash pkg_hash TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS index_pkg_srcrpm_hash pkg_srcrpm_hash TYPE bloom_filter GRANULARITY 1;

ALTER TABLE PackageHash
    ADD INDEX IF NOT EXISTS index_pkgh_sha256 pkgh_sha256 TYPE bloom_filter GRANULARITY 1;

ALTER TABLE TaskStates
    ADD INDEX IF NOT EXISTS index_task_id task_id TYPE minmax GRANULARITY 1;
