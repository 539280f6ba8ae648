//! The macros as their users meet them: what must compile, and what a mistake looks like.
//!
//! One case a file, named after the mistake. The expected messages are those of the pinned toolchain; write
//! them again with `TRYBUILD=overwrite cargo test --test ui`, and read the difference.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
