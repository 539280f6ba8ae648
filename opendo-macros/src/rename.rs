//! Names as they are on the wire: serde's words for their cases, and its rules.

/// One of serde's `rename_all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    const WORDS: [(&str, Self); 8] = [
        ("lowercase", Self::Lower),
        ("UPPERCASE", Self::Upper),
        ("PascalCase", Self::Pascal),
        ("camelCase", Self::Camel),
        ("snake_case", Self::Snake),
        ("SCREAMING_SNAKE_CASE", Self::ScreamingSnake),
        ("kebab-case", Self::Kebab),
        ("SCREAMING-KEBAB-CASE", Self::ScreamingKebab),
    ];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, case)| *case)
    }

    pub(crate) fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, case)| *case == self).expect("every case has a word").0
    }

    /// The name of a field or of a function, which is in snake case.
    pub(crate) fn field(self, name: &str) -> String {
        let renamed = match self {
            Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => pascal(name),
            Self::Camel => lower_first(&pascal(name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        };
        // Underscores alone are a name as they are.
        if renamed.is_empty() { name.to_owned() } else { renamed }
    }

    /// The name of a variant, which is in Pascal case.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => lower_first(name),
            Self::Snake => snake(name),
            Self::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Self::Kebab => snake(name).replace('_', "-"),
            Self::ScreamingKebab => snake(name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(name: &str) -> String {
    let mut renamed = String::with_capacity(name.len());
    let mut raise = true;
    for letter in name.chars() {
        if letter == '_' {
            raise = true;
        } else if std::mem::take(&mut raise) {
            renamed.push(letter.to_ascii_uppercase());
        } else {
            renamed.push(letter);
        }
    }
    renamed
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        let mut renamed = String::from(first.to_ascii_lowercase());
        renamed.push_str(letters.as_str());
        renamed
    })
}

fn snake(name: &str) -> String {
    let mut renamed = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            renamed.push('_');
        }
        renamed.push(letter.to_ascii_lowercase());
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_renamed_as_serde_renames_them() {
        for (name, camel, pascal, kebab) in [
            ("value", "value", "Value", "value"),
            ("next_value", "nextValue", "NextValue", "next-value"),
            ("_private", "private", "Private", "-private"),
            ("a__b_", "aB", "AB", "a--b-"),
            ("v2_of_it", "v2OfIt", "V2OfIt", "v2-of-it"),
        ] {
            assert_eq!(Case::Camel.field(name), camel);
            assert_eq!(Case::Pascal.field(name), pascal);
            assert_eq!(Case::Kebab.field(name), kebab);
            assert_eq!(Case::Snake.field(name), name);
        }
        assert_eq!(Case::Camel.field("__"), "__");
    }

    #[test]
    fn variants_are_renamed_as_serde_renames_them() {
        for (case, renamed) in [
            (Case::Lower, "notfound"),
            (Case::Upper, "NOTFOUND"),
            (Case::Pascal, "NotFound"),
            (Case::Camel, "notFound"),
            (Case::Snake, "not_found"),
            (Case::ScreamingSnake, "NOT_FOUND"),
            (Case::Kebab, "not-found"),
            (Case::ScreamingKebab, "NOT-FOUND"),
        ] {
            assert_eq!(case.variant("NotFound"), renamed);
            assert_eq!(Case::parse(case.word()), Some(case));
        }
    }
}
