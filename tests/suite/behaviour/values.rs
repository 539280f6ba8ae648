//! Every shape of value, there and back.

// There is a method with twenty.
#![allow(clippy::too_many_arguments)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use opendo::NodeBuilder;
use opendo::prelude::*;
use serde::{Deserialize, Serialize};

pub struct Echo;

impl DurableObject for Echo {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Echo>().object::<Wide>()
}

fn echo(world: &World) -> EchoStub {
    world.get("echo")
}

use super::world::World;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Newtype(pub u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair(pub u8, pub String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    pub unit: Unit,
    pub newtype: Newtype,
    pub pair: Pair,
    pub list: Vec<Pair>,
    pub maybe: Option<Box<Nested>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Variant {
    Unit,
    Newtype(u64),
    Tuple(u8, String),
    Struct { left: i32, right: Option<Box<Variant>> },
    Empty(),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Tree {
    Leaf(i64),
    Node(Vec<Tree>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tagged<T> {
    pub number: u32,
    pub tag: PhantomData<T>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Renamed {
    pub first_field: u8,
    #[serde(skip)]
    pub left_out: u8,
}

macro_rules! many_fields {
    ($($field:ident: $type:ty = $value:expr;)*) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct Many { $(pub $field: $type),* }

        impl Many {
            fn filled() -> Self {
                Self { $($field: $value),* }
            }
        }
    };
}

many_fields! {
    f01: u8 = 1; f02: u16 = 2; f03: u32 = 3; f04: u64 = 4; f05: i8 = -5; f06: i16 = -6; f07: i32 = -7; f08: i64 = -8;
    f09: bool = true; f10: char = 'x'; f11: f32 = 1.5; f12: f64 = -2.5; f13: String = "13".into(); f14: () = ();
    f15: Option<u8> = None; f16: Option<String> = Some("16".into()); f17: Vec<u8> = vec![17; 17]; f18: (u8, u8) = (1, 8);
    f19: [u16; 3] = [1, 9, 300]; f20: Unit = Unit; f21: Newtype = Newtype(21); f22: Pair = Pair(22, "22".into());
    f23: Variant = Variant::Unit; f24: Variant = Variant::Tuple(2, "4".into()); f25: u128 = u128::MAX; f26: i128 = i128::MIN;
    f27: BTreeMap<u8, String> = BTreeMap::from([(2, "7".into())]); f28: BTreeSet<char> = ['2', '8'].into();
    f29: VecDeque<u8> = [2, 9].into(); f30: Box<str> = "30".into(); f31: Duration = Duration::from_nanos(31);
    f32: Cow<'static, str> = Cow::Borrowed("32"); f33: Option<Option<u8>> = Some(None); f34: Result<u8, String> = Err("34".into());
    f35: std::num::NonZeroU8 = 35.try_into().unwrap(); f36: std::ops::Range<u8> = 3..6; f37: usize = 37; f38: isize = -38;
    f39: Tree = Tree::Leaf(39); f40: Vec<Vec<u8>> = vec![vec![4], vec![], vec![0]];
}

/// Methods that give back what they get.
macro_rules! echoes {
    ($($method:ident: $type:ty;)*) => {
        #[durable_object]
        impl Echo {
            $(pub fn $method(&self, value: $type) -> $type { value })*
        }
    };
}

echoes! {
    unit: (); boolean: bool; letter: char;
    u8: u8; u16: u16; u32: u32; u64: u64; u128: u128; usize: usize;
    i8: i8; i16: i16; i32: i32; i64: i64; i128: i128; isize: isize;
    f32: f32; f64: f64;
    text: String; boxed_text: Box<str>; cow: Cow<'static, str>; cow_list: Cow<'static, [u16]>;
    bytes: Vec<u8>; list: Vec<String>; deque: VecDeque<i16>; boxed_list: Box<[u32]>; units: Vec<()>;
    maybe: Option<u32>; maybe_unit: Option<()>; maybe_maybe: Option<Option<String>>; either: Result<u8, String>;
    one: (u8,); two: (u8, String); twelve: (u8, u16, u32, u64, i8, i16, i32, i64, bool, char, f32, ());
    array: [u32; 4]; empty_array: [String; 0]; long_array: [u8; 32]; arrays: [[i8; 2]; 2];
    unit_struct: Unit; newtype: Newtype; pair: Pair; nested: Nested; renamed: Renamed; many: Many;
    variant: Variant; tree: Tree; boxed: Box<Newtype>; tagged: Tagged<fn()>; phantom: PhantomData<String>;
    map: BTreeMap<String, Vec<u8>>; hash_map: HashMap<u64, String>; by_pair: BTreeMap<(u8, char), Variant>;
    set: BTreeSet<i32>; hash_set: HashSet<String>;
    duration: Duration; time: SystemTime; ip: IpAddr; socket: SocketAddr; bound: Bound<u8>;
    id: ObjectId<EchoStub>; ids: Vec<ObjectId<EchoStub>>;
}

/// Sends each value and gets it back.
macro_rules! there_and_back {
    ($stub:ident.$method:ident: $($value:expr),+ $(,)?) => {
        all_come_back(vec![$($value),+], |value| $stub.$method(value)).await
    };
}

async fn all_come_back<T: Clone + PartialEq + Debug>(values: Vec<T>, send: impl Fn(T) -> Call<T>) {
    for value in values {
        assert_eq!(send(value.clone()).await.unwrap(), value);
    }
}

every_way! {
    #[batch]
    async fn unit_bool_and_char(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.unit: ());
        there_and_back!(echo.boolean: true, false);
        there_and_back!(echo.letter: '\0', 'a', 'é', '😀', char::MAX);
    }

    /// More than any buffer on the way takes at once. The time is too short for a keepalive to set it going again.
    async fn texts_of_many_megabytes(world: &World) {
        let echo = echo(world).with_timeout(Duration::from_secs(12));
        there_and_back!(echo.text: "0123456789abcdef".repeat(512 * 1024));
    }

    #[batch]
    async fn unsigned_integers_to_their_extremes(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.u8: 0, 1, u8::MAX);
        there_and_back!(echo.u16: 0, 127, 128, u16::MAX);
        there_and_back!(echo.u32: 0, u32::MAX);
        there_and_back!(echo.u64: 0, 1 << 53, (1 << 53) + 1, u64::MAX);
        there_and_back!(echo.u128: 0, u128::from(u64::MAX) + 1, u128::MAX);
        there_and_back!(echo.usize: 0, usize::MAX);
    }

    #[batch]
    async fn signed_integers_to_their_extremes(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.i8: i8::MIN, -1, 0, i8::MAX);
        there_and_back!(echo.i16: i16::MIN, -1, 0, i16::MAX);
        there_and_back!(echo.i32: i32::MIN, -1, 0, i32::MAX);
        there_and_back!(echo.i64: i64::MIN, -1, 0, i64::MAX);
        there_and_back!(echo.i128: i128::MIN, i128::from(i64::MIN) - 1, -1, 0, i128::MAX);
        there_and_back!(echo.isize: isize::MIN, isize::MAX);
    }

    #[batch]
    async fn floats_bit_by_bit(world: &World) {
        let (echo, text) = (echo(world), world.is_text());
        // JSON has one zero, and one of what is no number.
        let is_lost = |from: f64, to: f64| {
            (from.is_nan() && to.is_nan()) || (from == 0.0 && to.to_bits() == 0.0_f64.to_bits())
        };
        let singles =
            [0.0, -0.0, 1.5, f32::MIN, f32::MAX, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY];
        for value in singles.into_iter().chain([f32::NAN, f32::from_bits(0x7fc0_1234), f32::from_bits(1)]) {
            let back = echo.f32(value).await?;
            assert!(back.to_bits() == value.to_bits() || (text && is_lost(value.into(), back.into())), "{value}");
        }
        let doubles = [0.0, -0.0, 0.1, f64::MIN, f64::MAX, f64::EPSILON, f64::INFINITY, f64::NEG_INFINITY];
        for value in doubles.into_iter().chain([f64::NAN, -f64::NAN, f64::from_bits(0x7ff8_0000_dead_beef)]) {
            let back = echo.f64(value).await?;
            assert!(back.to_bits() == value.to_bits() || (text && is_lost(value, back)), "{value}");
        }
    }

    #[batch]
    async fn texts(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.text: String::new(), "\0".to_owned(), "é😀\u{feff}\u{202e}".to_owned(), "\r\n\"\\".to_owned());
        there_and_back!(echo.boxed_text: Box::from("boxed"));
        there_and_back!(echo.cow: Cow::Borrowed("borrowed"), Cow::Owned("owned".to_owned()));
        there_and_back!(echo.cow_list: Cow::Borrowed(&[1, 2, 3][..]));
    }

    #[batch]
    async fn a_text_of_a_mebibyte(world: &World) {
        let text = "é".repeat(1 << 19);
        assert_eq!(echo(world).text(text.clone()).await?, text);
    }

    #[batch]
    async fn bytes_of_a_mebibyte(world: &World) {
        let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        assert_eq!(echo(world).bytes(bytes.clone()).await?, bytes);
    }

    #[batch]
    async fn lists(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.bytes: vec![], vec![0; 300], (0..=255).collect::<Vec<u8>>());
        there_and_back!(echo.list: vec![], vec![String::new()], vec!["a".to_owned(), "b".repeat(200)]);
        there_and_back!(echo.deque: VecDeque::from([-1, 2, -3]));
        there_and_back!(echo.boxed_list: Box::from([1, 2, u32::MAX]));
        there_and_back!(echo.units: vec![(); 1000]);
    }

    #[batch]
    async fn options_and_results_as_values(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.maybe: None, Some(0), Some(u32::MAX));
        there_and_back!(echo.maybe_unit: None);
        there_and_back!(echo.maybe_maybe: None, Some(Some(String::new())));
        // In JavaScript there are no two kinds of nothing.
        let (unit, none) = if world.is_text() { (None, None) } else { (Some(()), Some(None)) };
        assert_eq!(echo.maybe_unit(Some(())).await?, unit);
        assert_eq!(echo.maybe_maybe(Some(None)).await?, none);
        // As an argument it is a value; as a return type it is split.
        assert_eq!(echo.either(Ok(1)).await?, 1);
        assert_eq!(echo.either(Err("no".into())).await, Err(CallError::App("no".into())));
    }

    #[batch]
    async fn tuples(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.one: (1,));
        there_and_back!(echo.two: (1, "two".to_owned()));
        there_and_back!(echo.twelve: (1, 2, 3, 4, -5, -6, -7, -8, true, 'x', 0.5, ()));
    }

    #[batch]
    async fn arrays(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.array: [0, 1, 2, u32::MAX]);
        there_and_back!(echo.empty_array: []);
        there_and_back!(echo.long_array: [7; 32]);
        there_and_back!(echo.arrays: [[1, -1], [i8::MIN, i8::MAX]]);
    }

    #[batch]
    async fn structs_of_every_kind(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.unit_struct: Unit);
        there_and_back!(echo.newtype: Newtype(u64::MAX));
        there_and_back!(echo.pair: Pair(1, "one".into()));
        let inner =
            Nested { unit: Unit, newtype: Newtype(2), pair: Pair(3, "3".into()), list: vec![], maybe: None };
        let outer =
            Nested { list: vec![Pair(4, "4".into()); 3], maybe: Some(Box::new(inner.clone())), ..inner };
        assert_eq!(echo.nested(outer.clone()).await?, outer);
        there_and_back!(echo.renamed: Renamed { first_field: 9, left_out: 0 });
    }

    #[batch]
    async fn a_struct_of_forty_fields(world: &World) {
        let f33 = if world.is_text() { None } else { Some(None) }; // there are no two kinds of nothing
        assert_eq!(echo(world).many(Many::filled()).await?, Many { f33, ..Many::filled() });
    }

    #[batch]
    async fn enum_variants_of_every_kind(world: &World) {
        let echo = echo(world);
        let right = Some(Box::new(Variant::Newtype(5)));
        there_and_back!(
            echo.variant:
            Variant::Unit,
            Variant::Newtype(1),
            Variant::Tuple(2, "two".into()),
            Variant::Struct { left: -3, right: right.clone() },
            Variant::Empty(),
        );
    }

    #[batch]
    async fn recursive_types(world: &World) {
        let echo = echo(world);
        let mut tree = Tree::Node(vec![Tree::Leaf(1), Tree::Node(vec![]), Tree::Leaf(-1)]);
        for _ in 0..100 {
            tree = Tree::Node(vec![tree, Tree::Leaf(0)]);
        }
        assert_eq!(echo.tree(tree.clone()).await?, tree);
        there_and_back!(echo.boxed: Box::new(Newtype(1)));
    }

    #[batch]
    async fn maps_and_sets(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.map: BTreeMap::new(), BTreeMap::from([("a".to_owned(), vec![1]), (String::new(), vec![])]));
        there_and_back!(echo.hash_map: (0..100).map(|at| (at, at.to_string())).collect::<HashMap<_, _>>());
        there_and_back!(echo.by_pair: BTreeMap::from([((1, 'a'), Variant::Unit), ((1, 'b'), Variant::Empty())]));
        there_and_back!(echo.set: BTreeSet::from([3, -1, 2]));
        there_and_back!(echo.hash_set: HashSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[batch]
    async fn times_and_addresses(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.duration: Duration::ZERO, Duration::from_nanos(1), Duration::MAX);
        there_and_back!(echo.time: SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::new(1 << 33, 500_000_000));
        let fine = SystemTime::UNIX_EPOCH + Duration::new(1 << 33, 999_999_999);
        let back = echo.time(fine).await?;
        let off = back.duration_since(fine).unwrap_or_else(|error| error.duration());
        // JavaScript's times are doubles of milliseconds.
        assert!(off <= if world.is_text() { Duration::from_micros(1) } else { Duration::ZERO }, "{off:?}");
        there_and_back!(echo.ip: IpAddr::V4(Ipv4Addr::LOCALHOST), "2001:db8::1".parse::<IpAddr>().unwrap());
        there_and_back!(echo.socket: "127.0.0.1:80".parse::<SocketAddr>().unwrap(), "[::1]:65535".parse::<SocketAddr>().unwrap());
        there_and_back!(echo.bound: Bound::Unbounded, Bound::Included(1), Bound::Excluded(2));
    }

    #[batch]
    async fn phantom_data(world: &World) {
        let echo = echo(world);
        there_and_back!(echo.phantom: PhantomData);
        assert_eq!(echo.tagged(Tagged { number: 1, tag: PhantomData }).await?.number, 1);
    }

    #[batch]
    async fn twenty_arguments_keep_their_places(world: &World) {
        let wide: WideStub = world.get("wide");
        let all = wide
            .twenty(
                1,
                2,
                3,
                4,
                -5,
                -6,
                -7,
                -8,
                true,
                'x',
                11.5,
                -12.5,
                "13".into(),
                (),
                None,
                Some(16),
                vec![17],
                (1, 8),
                Unit,
                20,
            )
            .await?;
        assert_eq!(
            all,
            r#"1 2 3 4 -5 -6 -7 -8 true 'x' 11.5 -12.5 "13" () None Some(16) [17] (1, 8) Unit 20"#
        );
    }

    #[batch]
    async fn no_arguments_and_no_result(world: &World) {
        let wide: WideStub = world.get("wide");
        let nothing: () = wide.nothing().await?;
        assert_eq!(nothing, ());
        assert_eq!(wide.unit_argument(()).await?, ());
    }

    #[batch]
    async fn arguments_named_like_rust_and_like_us(world: &World) {
        let wide: WideStub = world.get("wide");
        assert_eq!(wide.r#match(1, 2, 3, 4, 5).await?, [1, 2, 3, 4, 5]);
    }
}

/// Methods whose lists of arguments are unusual.
pub struct Wide;

#[durable_object]
impl Wide {
    pub fn twenty(
        &self,
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: i8,
        f: i16,
        g: i32,
        h: i64,
        i: bool,
        j: char,
        k: f32,
        l: f64,
        m: String,
        n: (),
        o: Option<u8>,
        p: Option<u8>,
        q: Vec<u8>,
        r: (u8, u8),
        s: Unit,
        t: u64,
    ) -> String {
        format!(
            "{a} {b} {c} {d} {e} {f} {g} {h} {i} {j:?} {k} {l} {m:?} {n:?} {o:?} {p:?} {q:?} {r:?} {s:?} {t}"
        )
    }

    pub fn nothing(&self) {}

    pub fn unit_argument(&mut self, _nothing: ()) {}

    pub fn r#match(&self, r#type: u8, call: u8, args: u8, options: u8, out: u8) -> [u8; 5] {
        [r#type, call, args, options, out]
    }
}

impl DurableObject for Wide {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}
