//! RESP2/RESP3 decoder and encoder.
