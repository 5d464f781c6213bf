//! The transaction log in RocksDB: group commit, encryption at rest.
