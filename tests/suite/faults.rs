//! What happens when connections, peers and processes fail.
