//! Types that could be taken for something else by the derive, and what serde says that does not concern it.
#![deny(warnings)]
use opendo::TypeScript;
use opendo::typescript::{Type, TypeScript as _, Types};
use serde::{Deserialize, Serialize};

#[allow(non_camel_case_types, dead_code)]
mod shadowed {
    pub struct Vec;
    pub struct String;
    pub struct Option;
    pub struct u8;
    pub trait TypeScript {}
}

#[derive(Serialize, Deserialize, TypeScript)]
#[serde(deny_unknown_fields, bound = "", rename = "r#type")]
pub struct Raw {
    #[serde(alias = "kind", alias = "sort", default = "one")]
    pub r#type: u8,
    /// What the type does not say.
    #[doc = concat!("in two", " parts")]
    #[deprecated]
    pub in_two: Vec<Unknown>,
}

fn one() -> u8 {
    1
}

#[derive(Serialize, Deserialize)]
pub struct Unknown;

#[derive(Serialize, Deserialize, TypeScript)]
pub enum Never {}

#[derive(Serialize, Deserialize, TypeScript)]
#[serde(transparent)]
pub struct Through {
    pub inner: Box<Option<Through2>>,
}

#[derive(Serialize, Deserialize, TypeScript)]
pub struct Through2(#[serde(default)] pub u8);

fn in_a_function() {
    use shadowed::*;
    #[derive(opendo::TypeScript)]
    #[allow(dead_code)]
    struct Local {
        a: Vec,
        b: Option,
    }
    let _ = (Vec, String, Option, u8);
    Local::describe(&mut Types::default());
}

fn main() {
    in_a_function();
    let mut types = Types::default();
    assert_eq!(Vec::<Through2>::describe(&mut types), Type::text("Uint8Array"));
    let _ = (Raw::describe(&mut types), Never::describe(&mut types), Through::describe(&mut types));
    let _ = Unknown;
}
