//! Lists that begin with a tag. `None` stands for one that Cap'n Web does not know.

use std::borrow::Cow;

use super::super::json::{Cursor, integral};
use super::super::{MAX_BIGINT, Malformed, bigint, bytes, cut};
use super::output::Output;
use super::{Capture, Evaluation, Kind, Path, Special};
use crate::rpc::member::Part;

impl<'a> Evaluation<'a, '_> {
    /// After the tag of the list that starts at `start`.
    pub(super) fn special(
        &mut self,
        tag: &str,
        start: usize,
        depth: usize,
    ) -> Result<Option<Kind>, Malformed> {
        let kind = match tag {
            "undefined" => return Ok((!self.more()?).then_some(Kind::Other)),
            "inf" | "-inf" | "nan" => Kind::Other,
            "bigint" => {
                let Some(digits) = self.next_string()? else { return Ok(None) };
                check_bigint(&digits)?;
                Kind::Other
            }
            "date" => {
                if !self.more()? || !matches!(self.cursor.peek(), Some(b'n' | b'-' | b'0'..=b'9')) {
                    return Ok(None);
                }
                self.cursor.skip()?;
                Kind::Other
            }
            "bytes" => return self.bytes(),
            "error" => return self.error(depth),
            "url" => return Ok((self.next_string()?.is_some() && !self.more()?).then_some(Kind::Other)),
            "headers" => {
                return Ok((self.more()? && self.pairs()? && !self.more()?).then_some(Kind::Other));
            }
            "request" => return self.request(depth),
            "response" => return self.response(depth),
            "blob" => return self.blob(start),
            "import" => return self.reference(start, depth, false),
            "pipeline" => return self.reference(start, depth, true),
            "remap" => return self.remap(start),
            "export" | "promise" | "writable" | "readable" => {
                let Some(id) = self.next_id()? else { return Ok(None) };
                self.skip_rest()?;
                return match tag {
                    "export" => self.found(start, Special::Export(id), Kind::Other),
                    "promise" => self.found(start, Special::Promise(id), Kind::Other),
                    "writable" => self.found(start, Special::Writable(id), Kind::Other),
                    _ => self.found(start, Special::Readable(id), Kind::Readable),
                };
            }
            _ => return Ok(None),
        };
        self.skip_rest()?;
        Ok(Some(kind))
    }

    fn found(&mut self, start: usize, what: Special<'_>, kind: Kind) -> Result<Option<Kind>, Malformed> {
        let place = self.resolver.special(what)?;
        self.output.replace(self.cursor.text(), start, self.cursor.done(), place);
        Ok(Some(kind))
    }

    fn more(&mut self) -> Result<bool, Malformed> {
        self.cursor.more(b']')
    }

    fn skip_rest(&mut self) -> Result<(), Malformed> {
        while self.more()? {
            self.cursor.skip()?;
        }
        Ok(())
    }

    fn next_string(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        if self.more()? && self.cursor.peek() == Some(b'"') {
            self.cursor.string().map(Some)
        } else {
            Ok(None)
        }
    }

    fn next_id(&mut self) -> Result<Option<i64>, Malformed> {
        if self.more()? { self.id() } else { Ok(None) }
    }

    fn id(&mut self) -> Result<Option<i64>, Malformed> {
        if !matches!(self.cursor.peek(), Some(b'-' | b'0'..=b'9')) {
            return Ok(None);
        }
        let number = self.cursor.number()?;
        let absent = || Malformed::new(format!("no such entry on exports table: {}", cut(number)));
        integral(number).map(Some).ok_or_else(absent)
    }

    fn bytes(&mut self) -> Result<Option<Kind>, Malformed> {
        let Some(text) = self.next_string()? else { return Ok(None) };
        let length = bytes::decoded_len(&text)
            .ok_or_else(|| Malformed::syntax(format!("invalid base64: {}", cut(&text))))?;
        if !self.more()? {
            return Ok(Some(Kind::Bytes));
        }
        if self.cursor.peek() != Some(b'"') {
            let what = type_of(self.cursor.skip()?);
            return Err(Malformed::of_type(format!("Unknown bytes type marker type: {what}")));
        }
        let marker = self.cursor.string()?;
        let Some(container) = bytes::Container::named(&marker) else {
            let marker: String = marker.chars().take(64).collect();
            return Err(Malformed::of_type(format!("Unknown bytes type marker: {marker}")));
        };
        let size = container.element_size();
        if length % size != 0 {
            return Err(Malformed::of_type(format!(
                "Invalid byte length {length} for {marker}; expected a multiple of {size}"
            )));
        }
        self.skip_rest()?;
        Ok(Some(if container == bytes::Container::Uint8Array { Kind::Bytes } else { Kind::Other }))
    }

    fn error(&mut self, depth: usize) -> Result<Option<Kind>, Malformed> {
        if self.next_string()?.is_none() || self.next_string()?.is_none() {
            return Ok(None);
        }
        if !self.more()? {
            return Ok(Some(Kind::Other));
        }
        self.cursor.skip()?;
        if !self.more()? {
            return Ok(Some(Kind::Other));
        }
        if self.cursor.peek() != Some(b'{') {
            return Ok(None);
        }
        self.members(depth, true)?;
        self.skip_rest()?;
        Ok(Some(Kind::Other))
    }

    /// Whether a list of pairs of strings is next.
    fn pairs(&mut self) -> Result<bool, Malformed> {
        let mut pairs = Cursor::new(self.cursor.skip()?);
        if !pairs.eat(b'[') {
            return Ok(false);
        }
        let mut first = true;
        while pairs.next(&mut first, b']')? {
            if !pairs.eat(b'[') || pairs.raw_string().is_err() {
                return Ok(false);
            }
            if !pairs.more(b']')? || pairs.raw_string().is_err() || pairs.more(b']')? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn request(&mut self, depth: usize) -> Result<Option<Kind>, Malformed> {
        if self.next_string()?.is_none() || !self.more()? || self.cursor.peek() != Some(b'{') {
            return Ok(None);
        }
        self.init(|this, name| {
            match name {
                "body" if this.cursor.peek() == Some(b'"') => drop(this.cursor.skip()?),
                "body" if !this.skipped_falsy()? => {
                    let kind = this.expression(depth + 1)?;
                    if !matches!(kind, Kind::Bytes | Kind::Readable) {
                        return Err(Malformed::of_type("Request body must be of type ReadableStream."));
                    }
                }
                "signal" if !this.skipped_falsy()? => {
                    return Err(Malformed::of_type("Request siganl must be of type AbortSignal."));
                }
                "headers" => this.headers()?,
                "body" | "signal" => {}
                _ => drop(this.cursor.skip()?),
            }
            Ok(())
        })?;
        Ok((!self.more()?).then_some(Kind::Other))
    }

    fn response(&mut self, depth: usize) -> Result<Option<Kind>, Malformed> {
        if !self.more()? {
            return Ok(None);
        }
        if self.expression(depth + 1)? == Kind::Other {
            return Err(Malformed::of_type("Response body must be of type ReadableStream."));
        }
        if !self.more()? || self.cursor.peek() != Some(b'{') {
            return Ok(None);
        }
        self.init(|this, name| {
            match name {
                "webSocket" if !this.skipped_falsy()? => {
                    return Err(Malformed::of_type("Can't deserialize a Response containing a webSocket."));
                }
                "webSocket" => {}
                "headers" => this.headers()?,
                _ => drop(this.cursor.skip()?),
            }
            Ok(())
        })?;
        Ok((!self.more()?).then_some(Kind::Other))
    }

    fn init(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.cursor.expect(b'{')?;
        let mut first = true;
        while self.cursor.next(&mut first, b'}')? {
            let name = self.cursor.string()?;
            self.cursor.expect(b':')?;
            member(self, &name)?;
        }
        Ok(())
    }

    fn headers(&mut self) -> Result<(), Malformed> {
        if self.skipped_falsy()? || self.pairs()? {
            return Ok(());
        }
        Err(Malformed::of_type("Request headers must be serialized as an array of pairs."))
    }

    /// Steps over what JavaScript takes for nothing.
    fn skipped_falsy(&mut self) -> Result<bool, Malformed> {
        let at = self.cursor.at();
        let text = self.cursor.skip()?;
        let is_falsy = matches!(text, "null" | "false" | "\"\"") || text.parse() == Ok(0.0);
        if !is_falsy {
            self.cursor.back_to(at);
        }
        Ok(is_falsy)
    }

    fn blob(&mut self, start: usize) -> Result<Option<Kind>, Malformed> {
        let Some(kind) = self.next_string()? else { return Ok(None) };
        if !self.more()? {
            return Ok(None);
        }
        let content = |this: &mut Self| -> Result<Option<i64>, Malformed> {
            if !this.cursor.eat(b'[')
                || this.cursor.peek() != Some(b'"')
                || this.cursor.string()? != "readable"
            {
                return Ok(None);
            }
            let Some(id) = this.next_id()? else { return Ok(None) };
            this.skip_rest()?;
            Ok(Some(id))
        };
        let Some(readable) = content(self)? else {
            return Err(Malformed::of_type("Blob content must be serialized as a ReadableStream."));
        };
        if self.more()? {
            return Ok(None);
        }
        self.found(start, Special::Blob { kind: kind.into_owned(), readable }, Kind::Other)
    }

    fn reference(&mut self, start: usize, depth: usize, promise: bool) -> Result<Option<Kind>, Malformed> {
        let Some(id) = self.next_id()? else { return Ok(None) };
        let (mut path, mut args) = (None, None);
        if self.more()? {
            path = self.path()?;
            if path.is_none() {
                return Ok(None);
            }
            if self.more()? {
                if self.cursor.peek() != Some(b'[') {
                    return Ok(None);
                }
                self.resolver.begin_arguments();
                args = Some(self.arguments(depth + 1)?);
                if self.more()? {
                    return Ok(None);
                }
            }
        }
        let what =
            if promise { Special::Pipeline { id, path, args } } else { Special::Import { id, path, args } };
        self.found(start, what, Kind::Other)
    }

    /// A list with an output of its own: it has its own table.
    fn arguments(&mut self, depth: usize) -> Result<Cow<'a, str>, Malformed> {
        let inner = Output::from(self.cursor.at());
        let outer = std::mem::replace(&mut self.output, inner);
        self.elements(depth)?;
        let inner = std::mem::replace(&mut self.output, outer);
        Ok(inner.finish(self.cursor.text(), self.cursor.done()))
    }

    fn path(&mut self) -> Result<Option<Path>, Malformed> {
        if !self.cursor.eat(b'[') {
            return Ok(None);
        }
        let mut path = Vec::new();
        let mut first = true;
        while self.cursor.next(&mut first, b']')? {
            path.push(match self.cursor.peek() {
                Some(b'"') => Part::Name(self.cursor.string()?.into_owned()),
                Some(b'-' | b'0'..=b'9') => Part::Index(self.cursor.number()?.parse().unwrap_or(f64::NAN)),
                _ => return Ok(None),
            });
        }
        Ok(Some(path))
    }

    fn remap(&mut self, start: usize) -> Result<Option<Kind>, Malformed> {
        let Some(id) = self.next_id()? else { return Ok(None) };
        if !self.more()? {
            return Ok(None);
        }
        let Some(path) = self.path()? else { return Ok(None) };
        if !self.more()? || !self.cursor.eat(b'[') {
            return Ok(None);
        }
        let mut captures = Vec::new();
        let mut first = true;
        while self.cursor.next(&mut first, b']')? {
            let text = self.cursor.skip()?;
            let unknown = || Malformed::of_type(format!("unknown map capture: {}", cut(text)));
            captures.push(capture(text).ok_or_else(unknown)?);
        }
        if !self.more()? || self.cursor.peek() != Some(b'[') {
            return Ok(None);
        }
        let instructions = self.cursor.skip()?;
        if self.more()? {
            return Ok(None);
        }
        self.found(start, Special::Remap { id, path, captures, instructions }, Kind::Other)
    }
}

fn capture(text: &str) -> Option<Capture> {
    let mut cursor = Cursor::new(text);
    if !cursor.eat(b'[') {
        return None;
    }
    let tag = cursor.string().ok()?;
    let id = if cursor.more(b']').ok()? { integral(cursor.number().ok()?)? } else { return None };
    if cursor.more(b']').ok()? {
        return None;
    }
    match tag.as_ref() {
        "import" => Some(Capture::Import(id)),
        "export" => Some(Capture::Export(id)),
        _ => None,
    }
}

fn check_bigint(text: &str) -> Result<(), Malformed> {
    if text.len() > MAX_BIGINT && text.encode_utf16().count() > MAX_BIGINT {
        let text = format!("Deserialized bigint exceeds maximum length of {MAX_BIGINT} digits.");
        return Err(Malformed::of_type(text));
    }
    match bigint::parts(text) {
        Some(_) => Ok(()),
        None => Err(Malformed::syntax(format!("Cannot convert {} to a BigInt", cut(text)))),
    }
}

/// What `typeof` says about a value.
fn type_of(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'[' | b'{' | b'n') => "object",
        Some(b't' | b'f') => "boolean",
        Some(b'"') => "string",
        _ => "number",
    }
}
