use super::*;

#[test]
fn the_first_line_that_differs_is_named() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
    assert_eq!(first_difference("a\nb\n", "a\n"), Some((2, "b", "(the end)")));
    assert_eq!(first_difference("a\n", "a"), Some((2, "(the end)", "(the end)")));
}
