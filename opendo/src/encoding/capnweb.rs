//! Cap'n Web's expressions.
