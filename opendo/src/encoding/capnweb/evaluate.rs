//! Expressions of a peer: checked completely, with markers put in the place of capabilities.
//!
//! One pass. Most expressions are data and stay the text they are; only where something is replaced or left out does
//! a new text begin.

mod output;
mod special;

use std::borrow::Cow;
use std::collections::HashMap;

use self::output::Output;
use super::json::{Cursor, list};
use crate::rpc::member::Part;

use super::{MAX_DEPTH, Malformed, TOO_DEEP, cut, is_forbidden, on_enough_stack};

/// Takes the capabilities of an expression as they are found: in the order of the text, inside out.
pub(crate) trait Resolver {
    /// The arguments of a call begin: until the `Import` or `Pipeline` that they belong to, the places of what is
    /// found are places in a table of their own.
    fn begin_arguments(&mut self);

    /// The place of the capability in the table. A call ends the table of its arguments, which is the one begun last.
    fn special(&mut self, special: Special<'_>) -> Result<u32, Malformed>;
}

/// A capability, as a peer expresses it. Ids are the peer's words: they may name nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Special<'a> {
    Export(i64),
    Promise(i64),
    /// Neither path nor arguments: the export itself; a path: what is there; with `args`, a checked list: a call.
    Import {
        id: i64,
        path: Option<Path>,
        args: Option<Cow<'a, str>>,
    },
    /// As `Import`, to be replaced by its result before the value is delivered.
    Pipeline {
        id: i64,
        path: Option<Path>,
        args: Option<Cow<'a, str>>,
    },
    /// `instructions` is a JSON list, of which no element was looked at; see [`instructions`].
    Remap {
        id: i64,
        path: Path,
        captures: Vec<Capture>,
        instructions: &'a str,
    },
    Writable(i64),
    Readable(i64),
    Blob {
        kind: String,
        readable: i64,
    },
}

pub(crate) type Path = Vec<Part>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capture {
    Import(i64),
    Export(i64),
}

/// Checks an expression. `None` if it is the body as it is, otherwise the body.
///
/// A body has no members with forbidden names, and each key at most once. Instructions of a map are evaluated one by
/// one, with a resolver that knows what the ids in them mean.
///
/// # Errors
/// Those of the resolver, and what Cap'n Web says about expressions that it does not know. Capabilities found before
/// have been handed to the resolver.
pub(crate) fn evaluate(text: &str, resolver: &mut dyn Resolver) -> Result<Option<String>, Malformed> {
    let mut evaluation =
        Evaluation { cursor: Cursor::new(text), output: Output::from(0), keys: Vec::new(), resolver };
    evaluation.expression(0)?;
    let end = evaluation.cursor.done();
    evaluation.cursor.end()?;
    Ok(match evaluation.output.finish(text, end) {
        Cow::Borrowed(_) => None,
        Cow::Owned(body) => Some(body),
    })
}

/// The instructions of a map.
///
/// # Errors
/// When there are none.
pub(crate) fn instructions(text: &str) -> Result<Vec<&str>, Malformed> {
    let instructions = list(text)?;
    if instructions.is_empty() {
        return Err(Malformed::new("Invalid empty mapper function."));
    }
    Ok(instructions)
}

struct Evaluation<'a, 'r> {
    cursor: Cursor<'a>,
    output: Output,
    /// Of all objects that are open, the innermost last.
    keys: Vec<Key<'a>>,
    resolver: &'r mut dyn Resolver,
}

struct Key<'a> {
    name: Cow<'a, str>,
    /// Where the member is in the output, and where the next one starts.
    from: usize,
    to: usize,
}

/// As much as bodies of requests want to know about a value.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Text,
    Bytes,
    Readable,
    Other,
}

/// Objects with more members find their duplicates by hashing.
const FEW: usize = 16;

impl<'a> Evaluation<'a, '_> {
    fn expression(&mut self, depth: usize) -> Result<Kind, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(Malformed::of_type(TOO_DEEP));
        }
        match self.cursor.peek() {
            Some(b'"') => self.cursor.raw_string().map(|_| Kind::Text),
            Some(b'[') => on_enough_stack(|| self.list(depth)),
            Some(b'{') => on_enough_stack(|| self.members(depth, false)).map(|()| Kind::Other),
            Some(b'n') => self.cursor.skip().map(|_| Kind::Null),
            _ => self.cursor.skip().map(|_| Kind::Other),
        }
    }

    /// What is in brackets: `[[…]]`, or a tag and what belongs to it.
    fn list(&mut self, depth: usize) -> Result<Kind, Malformed> {
        let start = self.cursor.at();
        self.cursor.expect(b'[')?;
        let known = match self.cursor.peek() {
            Some(b'[') => {
                self.elements(depth + 1)?;
                if self.cursor.more(b']')? { None } else { Some(Kind::Other) }
            }
            Some(b'"') => {
                let tag = self.cursor.string()?;
                self.special(&tag, start, depth)?
            }
            _ => None,
        };
        known.map_or_else(|| Err(self.unknown(start)), Ok)
    }

    fn elements(&mut self, depth: usize) -> Result<(), Malformed> {
        self.cursor.expect(b'[')?;
        let mut first = true;
        while self.cursor.next(&mut first, b']')? {
            self.expression(depth)?;
        }
        Ok(())
    }

    #[cold]
    fn unknown(&mut self, start: usize) -> Malformed {
        self.cursor.back_to(start);
        match self.cursor.skip() {
            Ok(text) => Malformed::of_type(format!("unknown special value: {}", cut(text))),
            Err(no_json) => no_json,
        }
    }

    /// The members of an object, or the properties of an error. Those with forbidden names are evaluated, so that
    /// what they hold is let go, and left out.
    fn members(&mut self, depth: usize, of_error: bool) -> Result<(), Malformed> {
        self.cursor.expect(b'{')?;
        let outer = self.keys.len();
        let mut index = HashMap::new();
        // Where the members start that are left out next, and where the last one that stays ends.
        let mut omitted = None;
        let mut kept = None;
        let mut previous: Option<usize> = None;
        let mut first = true;
        while self.cursor.next(&mut first, b'}')? {
            let from = self.cursor.at();
            let from = self.output.place(from);
            if let Some(at) = previous.take() {
                self.keys[at].to = from;
            }
            let name = self.cursor.string()?;
            self.cursor.expect(b':')?;
            let forbidden = is_forbidden(&name);
            if forbidden || of_error && matches!(name.as_ref(), "name" | "message" | "stack") {
                omitted.get_or_insert(from);
                if forbidden {
                    self.expression(depth + 1)?;
                } else {
                    self.cursor.skip()?;
                }
                if self.cursor.peek() == Some(b'}') {
                    // Nothing comes after them: the comma before goes too.
                    let end = self.output.place(self.cursor.done());
                    self.output.cut(kept.or(omitted).unwrap_or(from), end);
                }
                continue;
            }
            if let Some(start) = omitted.take() {
                self.output.cut(start, from);
            }
            previous = Some(self.keep(outer, &mut index, Key { name, from, to: from }));
            self.expression(depth + 1)?;
            kept = Some(self.output.place(self.cursor.done()));
        }
        self.keys.truncate(outer);
        Ok(())
    }

    /// Remembers a member, and leaves out an earlier one of the same name: the last one wins. Returns its place.
    fn keep(&mut self, outer: usize, index: &mut HashMap<Cow<'a, str>, usize>, key: Key<'a>) -> usize {
        let before = if self.keys.len() - outer <= FEW {
            self.keys[outer..].iter().position(|other| other.name == key.name).map(|at| outer + at)
        } else {
            if index.is_empty() {
                index.extend((outer..).zip(&self.keys[outer..]).map(|(at, key)| (key.name.clone(), at)));
            }
            index.get(&key.name).copied()
        };
        if let Some(at) = before {
            self.output.cut(self.keys[at].from, self.keys[at].to);
            self.keys[at] = key;
            return at;
        }
        if !index.is_empty() {
            index.insert(key.name.clone(), self.keys.len());
        }
        self.keys.push(key);
        self.keys.len() - 1
    }
}

#[cfg(test)]
mod tests;
