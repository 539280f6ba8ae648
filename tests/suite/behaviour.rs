//! What calls do, the same on every way they can take.
