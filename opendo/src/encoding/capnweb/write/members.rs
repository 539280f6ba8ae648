//! Objects: structs and maps. A map whose keys are no texts is an array of pairs.

use serde::ser::{self, Serialize};

use super::super::TextError;
use super::super::json::Cursor;
use super::key::{self, KeyError};
use super::{Last, Writer};

pub(in super::super) struct Members<'w, 'o> {
    writer: &'w mut Writer<'o>,
    start: usize,
    is_empty: bool,
    form: Form,
    after: &'static str,
}

enum Form {
    Object,
    Pairs,
    /// Seconds and nanoseconds since 1970, of which nothing is written before both are there.
    Time([Option<u64>; 2]),
}

impl<'w, 'o> Members<'w, 'o> {
    pub(super) fn open(writer: &'w mut Writer<'o>, after: &'static str) -> Self {
        let start = writer.out.len();
        writer.push("{");
        Self { writer, start, is_empty: true, form: Form::Object, after }
    }

    pub(super) fn open_time(writer: &'w mut Writer<'o>) -> Self {
        let start = writer.out.len();
        Self { writer, start, is_empty: true, form: Form::Time([None; 2]), after: "" }
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.push(",");
        }
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), TextError> {
        if let Form::Time(parts) = &mut self.form {
            value.serialize(&mut *self.writer)?;
            self.writer.out.truncate(self.start);
            if let (Last::Integer(part), Some(place)) =
                (self.writer.last, parts.iter_mut().find(|part| part.is_none()))
            {
                *place = Some(part);
            }
            return Ok(());
        }
        self.comma();
        self.writer.key(key)?;
        self.writer.nested(value)
    }

    fn entry_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TextError> {
        match key::text(key) {
            Ok(text) if matches!(self.form, Form::Object) => {
                self.comma();
                return self.writer.key(&text);
            }
            Ok(_) | Err(KeyError::NoText) => {}
            Err(KeyError::Other(error)) => return Err(error),
        }
        if matches!(self.form, Form::Object) {
            self.become_pairs()?;
        }
        self.comma();
        self.writer.push("[[");
        self.writer.depth += 1;
        self.writer.nested(key)?;
        self.writer.push(",");
        Ok(())
    }

    /// What was written as an object so far.
    fn become_pairs(&mut self) -> Result<(), TextError> {
        let members = self.writer.out.split_off(self.start + 1);
        self.form = Form::Pairs;
        self.writer.out.truncate(self.start);
        self.writer.push("[[");
        let mut cursor = Cursor::new(std::str::from_utf8(&members).unwrap_or_default());
        while cursor.peek().is_some() {
            let key = cursor.skip()?;
            cursor.expect(b':')?;
            let value = cursor.skip()?;
            self.writer.push(&format!("[[{key},{value}]]"));
            if cursor.eat(b',') {
                self.writer.push(",");
            }
        }
        Ok(())
    }

    fn entry_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.writer.nested(value)?;
        if matches!(self.form, Form::Pairs) {
            self.writer.depth -= 1;
            self.writer.push("]]");
        }
        Ok(())
    }

    fn close(self) -> Result<(), TextError> {
        match self.form {
            Form::Object => self.writer.push(self.after),
            Form::Pairs => self.writer.push("]]"),
            Form::Time(parts) => {
                let [seconds, nanos] = parts.map(Option::unwrap_or_default);
                self.writer.push("[\"date\",");
                ser::Serializer::serialize_f64(&mut *self.writer, seconds as f64 * 1e3 + nanos as f64 / 1e6)?;
                self.writer.push("]");
            }
        }
        self.writer.last = Last::Other;
        Ok(())
    }
}

impl ser::SerializeMap for Members<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TextError> {
        self.entry_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.entry_value(value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}

impl ser::SerializeStruct for Members<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TextError> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Members<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TextError> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}
