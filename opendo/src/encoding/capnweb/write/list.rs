//! Arrays, which are bytes if all their elements are.

use serde::ser::{self, Serialize};

use super::super::{TextError, bytes};
use super::{Last, Writer};

pub(in super::super) struct List<'w, 'o> {
    writer: &'w mut Writer<'o>,
    start: usize,
    is_empty: bool,
    /// All elements so far, of which none is written then.
    bytes: Option<Vec<u8>>,
    bare: bool,
    after: &'static str,
}

impl<'w, 'o> List<'w, 'o> {
    pub(super) fn open(writer: &'w mut Writer<'o>, after: &'static str) -> Self {
        let bare = std::mem::take(&mut writer.bare);
        let start = writer.out.len();
        writer.push(if bare { "[" } else { "[[" });
        let bytes = if bare { None } else { Some(Vec::new()) };
        Self { writer, start, is_empty: true, bytes, bare, after }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        let at = self.writer.out.len();
        if !self.is_empty {
            self.writer.push(",");
        }
        self.writer.last = Last::Other;
        if self.bare {
            // Part of a special form, which is one value.
            value.serialize(&mut *self.writer)?;
        } else {
            self.writer.nested(value)?;
        }
        if let Some(bytes) = &mut self.bytes {
            if let Last::Byte(byte) = self.writer.last {
                bytes.push(byte);
                self.writer.out.truncate(at);
                return Ok(());
            }
            // No bytes after all.
            if !bytes.is_empty() {
                let value = self.writer.out.split_off(at);
                for byte in bytes {
                    self.writer.json(byte)?;
                    self.writer.push(",");
                }
                self.writer.out.extend_from_slice(&value);
            }
            self.bytes = None;
        }
        self.is_empty = false;
        Ok(())
    }

    fn close(self) -> Result<(), TextError> {
        match self.bytes {
            Some(elements) if !elements.is_empty() => {
                self.writer.out.truncate(self.start);
                self.writer.push("[\"bytes\",\"");
                bytes::encode(&elements, self.writer.out);
                self.writer.push("\"]");
            }
            _ => self.writer.push(if self.bare { "]" } else { "]]" }),
        }
        self.writer.push(self.after);
        self.writer.last = Last::Other;
        Ok(())
    }
}

impl ser::SerializeSeq for List<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.push(value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}

impl ser::SerializeTuple for List<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.push(value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for List<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.push(value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}

impl ser::SerializeTupleVariant for List<'_, '_> {
    type Ok = ();
    type Error = TextError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.push(value)
    }

    fn end(self) -> Result<(), TextError> {
        self.close()
    }
}
