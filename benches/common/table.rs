//! Markdown tables, and whether to fill them.

use std::fmt;

/// Three significant digits, or a whole number: `0.512`, `37.7`, `64`, `1,024`.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 99.95 && n.fract() == 0.0 => write!(f, "{n}"),
            n if n < 0.995 => write!(f, "{n:.3}"),
            n if n < 9.995 => write!(f, "{n:.2}"),
            n if n < 99.95 => write!(f, "{n:.1}"),
            n => {
                let digits = format!("{n:.0}");
                for (at, digit) in digits.char_indices() {
                    if at > 0 && (digits.len() - at).is_multiple_of(3) {
                        f.write_str(",")?;
                    }
                    write!(f, "{digit}")?;
                }
                Ok(())
            }
        }
    }
}

/// Prints a Markdown table.
pub(crate) fn table(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n### {title}\n");
    println!("| {} |", columns.join(" | "));
    println!("|{}", " --- |".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// Whether to measure, or (run by `cargo test --all-targets`) only to show that the bench still works.
pub(crate) fn for_real() -> bool {
    std::env::args().any(|argument| argument == "--bench") && !std::env::args().any(|it| it == "--quick")
}
