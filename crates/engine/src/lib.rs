//! The data: keyspace, command table, execute and apply.
