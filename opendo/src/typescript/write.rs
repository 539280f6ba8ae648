//! From types to text.

use std::fmt::Write;

use super::types::{Body, Declared, Field, Kind, Method, Type, Types};

/// All that is declared, as a module.
pub(super) fn module(types: &Types) -> String {
    let mut writer = Writer { types, out: String::new() };
    for declared in &types.0 {
        writer.declared(declared);
    }
    let body = writer.out;
    let mut out = String::from(
        "// Made by opendo from Rust interfaces. Do not edit: change the Rust code and make it again.\n",
    );
    let used = |name: &str| body.contains(name);
    let imports: Vec<_> = [("RpcStub", "RpcStub<"), ("RpcTarget", "extends RpcTarget {")]
        .iter()
        .filter(|(_, mark)| used(mark))
        .map(|(name, _)| *name)
        .collect();
    if !imports.is_empty() {
        let _ = writeln!(out, "\nimport type {{ {} }} from \"capnweb\";", imports.join(", "));
    }
    if used("MaybePromise<") {
        out.push_str("\n/** What an implementation returns; a caller awaits it. */\nexport type MaybePromise<T> = T | Promise<T>;\n");
    }
    out + &body
}

struct Writer<'a> {
    types: &'a Types,
    out: String,
}

/// Where a type stands, as far as its form depends on it.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// What a method returns.
    Result,
    /// Where a union needs no parentheses.
    Loose,
    /// Where it does.
    Tight,
}

impl Writer<'_> {
    fn declared(&mut self, declared: &Declared) {
        let Declared { name, docs, body, .. } = declared;
        self.out.push('\n');
        self.docs(docs, "");
        match body {
            Body::Interface(methods) => {
                self.push(&["export interface ", name, " extends RpcTarget {\n"]);
                methods.iter().for_each(|method| self.method(method));
                self.out.push_str("}\n");
            }
            Body::Alias(Type(Kind::Object(fields))) => {
                self.push(&["export interface ", name, " {\n"]);
                for field in fields {
                    self.docs(&field.docs, "  ");
                    self.out.push_str("  ");
                    self.field(field);
                    self.out.push_str(";\n");
                }
                self.out.push_str("}\n");
            }
            Body::Alias(Type(Kind::Union(types))) if types.len() > 1 => {
                self.push(&["export type ", name, " ="]);
                for ty in types {
                    self.out.push_str("\n  | ");
                    self.ty(ty, At::Tight);
                }
                self.out.push_str(";\n");
            }
            Body::Alias(ty) => {
                self.push(&["export type ", name, " = "]);
                self.ty(ty, At::Loose);
                self.out.push_str(";\n");
            }
            Body::Open => unreachable!("what was begun was declared"),
        }
    }

    fn method(&mut self, method: &Method) {
        let Method { name, docs, property, args, returns } = method;
        self.docs(docs, "  ");
        self.out.push_str("  ");
        if *property {
            self.push(&["readonly ", &key(name), ": "]);
            self.ty(returns, At::Loose);
            return self.out.push_str(";\n");
        }
        self.push(&[&key(name), "("]);
        let required = args.iter().rposition(|(_, ty)| !ty.is_optional()).map_or(0, |last| last + 1);
        for (index, (name, ty)) in args.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.push(&[&argument(name), if index < required { ": " } else { "?: " }]);
            self.ty(ty, At::Loose);
            if index < required && ty.is_optional() {
                self.out.push_str(" | undefined");
            }
        }
        self.out.push_str("): MaybePromise<");
        self.ty(returns, At::Result);
        self.out.push_str(">;\n");
    }

    fn field(&mut self, field: &Field) {
        self.push(&[&key(&field.name), if field.optional { "?: " } else { ": " }]);
        self.ty(&field.ty, At::Loose);
    }

    fn ty(&mut self, Type(kind): &Type, at: At) {
        match kind {
            Kind::Text(text) => self.out.push_str(text),
            Kind::Literal(text) => self.out.push_str(&quoted(text)),
            Kind::Byte => self.out.push_str("number"),
            Kind::Unit => self.out.push_str(if at == At::Result { "void" } else { "undefined" }),
            Kind::Optional(ty) => self.in_parentheses(at == At::Tight, |writer| {
                // The type of an option of nothing: `undefined | null`.
                writer.ty(ty, if matches!(ty.0, Kind::Function(..)) { At::Tight } else { At::Loose });
                writer.out.push_str(" | null");
            }),
            Kind::Union(types) if types.is_empty() => self.out.push_str("never"),
            Kind::Union(types) => self.in_parentheses(at == At::Tight && types.len() > 1, |writer| {
                writer.separated(types, " | ", At::Tight);
            }),
            Kind::List(ty) => {
                self.ty(ty, At::Tight);
                self.out.push_str("[]");
            }
            Kind::Tuple(types) => {
                self.out.push('[');
                self.separated(types, ", ", At::Loose);
                self.out.push(']');
            }
            Kind::Object(fields) if fields.is_empty() => self.out.push_str("Record<string, never>"),
            Kind::Object(fields) => {
                self.out.push_str("{ ");
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str("; ");
                    }
                    self.field(field);
                }
                self.out.push_str(" }");
            }
            Kind::Generic(name, of) => {
                self.push(&[name, "<"]);
                self.separated(of, ", ", At::Loose);
                self.out.push('>');
            }
            Kind::Function(arg, returns) => self.in_parentheses(at == At::Tight, |writer| {
                if arg.0 == Kind::Unit {
                    writer.out.push_str("() => ");
                } else {
                    writer.out.push_str(if arg.is_optional() { "(arg?: " } else { "(arg: " });
                    writer.ty(arg, At::Loose);
                    writer.out.push_str(") => ");
                }
                writer.out.push_str("MaybePromise<");
                writer.ty(returns, At::Result);
                writer.out.push('>');
            }),
            Kind::Named(number) => {
                let types = self.types;
                self.out.push_str(&types.0[*number].name);
            }
        }
    }

    fn in_parentheses(&mut self, needed: bool, write: impl FnOnce(&mut Self)) {
        if needed {
            self.out.push('(');
        }
        write(self);
        if needed {
            self.out.push(')');
        }
    }

    fn separated(&mut self, types: &[Type], separator: &str, at: At) {
        for (index, ty) in types.iter().enumerate() {
            if index > 0 {
                self.out.push_str(separator);
            }
            self.ty(ty, at);
        }
    }

    fn docs(&mut self, docs: &str, indent: &str) {
        // A comment must not end where its text says so.
        let docs = docs.replace("*/", "*\\/");
        let lines: Vec<_> =
            docs.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
        match &*lines {
            [] => {}
            [line] => self.push(&[indent, "/** ", line, " */\n"]),
            lines => {
                self.push(&[indent, "/**\n"]);
                for line in lines {
                    self.push(&[indent, if line.is_empty() { " *" } else { " * " }, line, "\n"]);
                }
                self.push(&[indent, " */\n"]);
            }
        }
    }

    fn push(&mut self, parts: &[&str]) {
        self.out.extend(parts.iter().copied());
    }
}

/// A name of a member.
fn key(name: &str) -> String {
    let mut letters = name.chars();
    let is_name =
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, '_' | '$'))
            && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$'));
    if is_name { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A name of an argument: JavaScript has words that Rust has not.
fn argument(name: &str) -> String {
    const WORDS: &[&str] = &[
        "arguments",
        "await",
        "break",
        "case",
        "catch",
        "class",
        "const",
        "continue",
        "debugger",
        "default",
        "delete",
        "do",
        "else",
        "enum",
        "eval",
        "export",
        "extends",
        "false",
        "finally",
        "for",
        "function",
        "if",
        "implements",
        "import",
        "in",
        "instanceof",
        "interface",
        "let",
        "new",
        "null",
        "package",
        "private",
        "protected",
        "public",
        "return",
        "static",
        "super",
        "switch",
        "this",
        "throw",
        "true",
        "try",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ];
    if WORDS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}
