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
