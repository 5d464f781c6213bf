//! Cluster builder, fault injection, load, history recording and checking.
