//! The doors (RESP, gRPC admin), sessions, TLS, config, metrics.
