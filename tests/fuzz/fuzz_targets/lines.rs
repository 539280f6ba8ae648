//! What a peer says that speaks Cap'n Web, and how.

use std::fmt::Write;
use std::time::Duration;

use futures::FutureExt;
use opendo::Node;
use opendo::transport::{Connection, Lines, Receiver, Sender, Transport, kind, memory};
use tokio::time::timeout;

/// The other end of a session.
pub struct Peer {
    sender: Box<dyn Sender<kind::Text>>,
    receiver: Box<dyn Receiver<kind::Text>>,
}

impl Peer {
    pub async fn of(node: &Node) -> Self {
        let (ours, theirs) = memory::pair::<kind::Text>(64);
        node.serve_connection(Connection::new(theirs)).await.unwrap();
        let (sender, receiver) = ours.split();
        Self { sender, receiver }
    }

    pub async fn say(&mut self, line: &str) {
        let mut batch = Lines::default();
        batch.push(line.to_owned());
        // Nobody listens any more, or not now.
        let _ = timeout(Duration::from_secs(1), self.sender.send(&mut batch)).await;
    }

    #[allow(dead_code)] // not every target does
    pub fn listen(&mut self) {
        while self.receiver.receive().now_or_never().flatten().is_some() {}
    }

    pub async fn hear(&mut self) -> Option<String> {
        self.receiver.receive().await.map(|line| line.unwrap())
    }
}

/// The lines of an input, or those that it chooses.
#[allow(dead_code)]
pub fn says(input: &[u8]) -> Vec<String> {
    if input.first() == Some(&b'[') {
        return String::from_utf8_lossy(input).lines().take(60).map(ToOwned::to_owned).collect();
    }
    let mut choice = Choice { bytes: input.iter().copied(), pushed: 0, exported: 0, promised: 0 };
    let mut lines = Vec::new();
    while lines.len() < 60
        && let Some(line) = choice.line()
    {
        lines.push(line);
    }
    lines
}

struct Choice<I> {
    bytes: I,
    pushed: i64,
    exported: i64,
    promised: i64,
}

const METHODS: &[&str] = &[
    "square", "echo", "keep", "counter", "counters", "numbers", "call", "increment", "collect", "give", "sink",
    "fill", "hold", "value", "write", "close", "abort", "0", "nothing", "toString",
];

impl<I: Iterator<Item = u8>> Choice<I> {
    fn of(&mut self, count: u8) -> u8 {
        self.bytes.next().unwrap_or_default() % count
    }

    fn line(&mut self) -> Option<String> {
        let what = self.bytes.next()? % 14;
        Some(match what {
            0..=3 => {
                let expression = self.expression(0);
                self.pushed += 1;
                format!(r#"["push",{expression}]"#)
            }
            4 => {
                let expression = self.expression(0);
                self.pushed += 1;
                format!(r#"["stream",{expression}]"#)
            }
            5 => {
                self.pushed += 1;
                r#"["pipe"]"#.to_owned()
            }
            6..=8 => format!(r#"["pull",{}]"#, self.export()),
            9 => format!(r#"["resolve",{},{}]"#, self.import(), self.expression(0)),
            10 => format!(r#"["reject",{},{}]"#, self.import(), self.expression(0)),
            11 | 12 => format!(r#"["release",{},{}]"#, self.export(), 1 + i64::from(self.of(12) == 11)),
            _ if self.of(8) == 7 => r#"["abort","enough"]"#.to_owned(),
            _ => {
                self.pushed += 1;
                let method = METHODS[usize::from(self.of(METHODS.len() as u8))];
                format!(r#"["push",["pipeline",0,["{method}"],[{}]]]"#, self.expression(1))
            }
        })
    }

    /// What the peer's peer has.
    fn export(&mut self) -> i64 {
        match self.of(8) {
            0 => 0,
            1 => -1 - i64::from(self.of(6)),
            _ => (self.pushed - i64::from(self.of(4))).max(0),
        }
    }

    /// What it waits for.
    fn import(&mut self) -> i64 {
        if self.of(2) == 0 { 1 + i64::from(self.of(6)) } else { -100 - i64::from(self.of(4)) }
    }

    fn path(&mut self) -> String {
        match self.of(5) {
            0 => String::new(),
            1 => "\"a\"".to_owned(),
            2 => self.of(3).to_string(),
            _ => format!("{:?}", METHODS[usize::from(self.of(METHODS.len() as u8))]),
        }
    }

    fn expression(&mut self, depth: u8) -> String {
        let what = if depth > 4 { self.of(6) } else { self.of(20) };
        match what {
            0 => self.of(4).to_string(),
            1 => r#""text""#.to_owned(),
            2 => {
                self.exported += 1;
                format!(r#"["export",{}]"#, -self.exported)
            }
            3 => {
                self.promised += 1;
                format!(r#"["promise",{}]"#, -99 - self.promised)
            }
            4 => format!(r#"["import",{}]"#, self.export()),
            5 => format!(r#"["pipeline",{}]"#, self.export()),
            6 => format!(r#"["pipeline",{},[{}]]"#, self.export(), self.path()),
            7..=11 => {
                let (target, path) = (self.export(), self.path());
                format!(r#"["pipeline",{target},[{path}],{}]"#, self.list(depth))
            }
            12 => {
                let (target, path) = (self.export(), self.path());
                format!(r#"["import",{target},[{path}],{}]"#, self.list(depth))
            }
            13 => format!("[{}]", self.list(depth)),
            14 => format!(r#"{{"a":{},"toString":{}}}"#, self.expression(depth + 1), self.expression(depth + 1)),
            15 => format!(r#"["readable",{}]"#, self.export()),
            16 => format!(r#"["blob","a/b",["readable",{}]]"#, self.export()),
            17 => {
                self.exported += 1;
                format!(r#"["writable",{}]"#, -self.exported)
            }
            18 => format!(r#"["error","RangeError","no",null,{{"a":{}}}]"#, self.expression(depth + 1)),
            _ => self.map(depth),
        }
    }

    fn list(&mut self, depth: u8) -> String {
        let mut out = "[".to_owned();
        for at in 0..self.of(4) {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&self.expression(depth + 1));
        }
        out + "]"
    }

    fn map(&mut self, depth: u8) -> String {
        let (target, path) = (self.export(), self.path());
        let mut captures = String::new();
        for at in 0..self.of(3) {
            let comma = if at > 0 { "," } else { "" };
            if self.of(3) == 0 {
                self.exported += 1;
                let _ = write!(captures, r#"{comma}["export",{}]"#, -self.exported);
            } else {
                let _ = write!(captures, r#"{comma}["import",{}]"#, self.export());
            }
        }
        // In there numbers mean something else.
        let pushed = std::mem::replace(&mut self.pushed, 2);
        let mut instructions = String::new();
        for at in 0..self.of(4) {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(instructions, "{comma}{}", self.expression(depth + 2));
        }
        self.pushed = pushed;
        format!(r#"["remap",{target},[{path}],[{captures}],[{instructions}]]"#)
    }
}
