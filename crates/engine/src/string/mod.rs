//! The string commands.
