-- The ledger of the loaders: one row for each run of a command and each message of the daemon.
-- No reader of packages needs it; operators ask it what was loaded when, and what failed.

CREATE TABLE IF NOT EXISTS LoaderRuns
(
    run_program     LowCardinality(String),
    run_version     LowCardinality(String),
    run_host        LowCardinality(String),
    run_started     DateTime64(3),
    run_seconds     Float64,
    run_result      LowCardinality(String),
    run_exit_code   UInt8,
    run_subject     String,
    run_routing_key LowCardinality(String),
    run_attempt     UInt32,
    run_tables      Array(String),
    run_table_rows  Array(UInt64),
    run_rows        UInt64,
    run_warnings    UInt32,
    run_error       String,
    ts              DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (run_program, run_started);
