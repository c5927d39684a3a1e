//! Command lines in, text out.
