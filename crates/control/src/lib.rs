//! Raft group 0: topology, placement.
