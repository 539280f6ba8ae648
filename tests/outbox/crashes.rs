//! Crashes at each commit.
