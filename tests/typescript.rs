//! The TypeScript declarations of interfaces, checked by the real compiler against the real client library.
//!
//! Needs Node and npm, which fetch `typescript/package-lock.json` once into the target directory. Where they are not to be
//! had, `OPENDO_SKIP_NODE=1` leaves out what needs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use opendo::typescript::{Declarations, declarations};

#[path = "typescript/interfaces.rs"]
mod interfaces;
#[path = "npm.rs"]
mod npm;

use interfaces::{ApiStub, PassportStub};

fn api() -> Declarations {
    declarations().interface::<ApiStub>()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("typescript")
}

#[test]
fn the_declarations_are_those_that_the_client_is_checked_against() {
    api().assert_current(sources().join("api.ts"));
}

#[test]
fn what_is_added_twice_is_declared_once() {
    let twice = api().interface::<PassportStub>().interface::<ApiStub>();
    assert_eq!(twice.to_string(), api().to_string());
}

#[test]
fn a_file_is_written_when_it_differs_and_the_difference_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.ts");
    api().write(&path).unwrap();
    api().assert_current(&path);
    std::fs::write(&path, api().to_string().replace("add(", "subtract(")).unwrap();
    let told = std::panic::catch_unwind(|| api().assert_current(&path)).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("is not current") && told.contains("subtract(") && told.contains("add("), "{told}");
}

/// Where compiler and client library are installed.
fn installed() -> PathBuf {
    npm::directory("typescript", &["tsconfig.json", "api.ts", "client.ts"])
}

#[test]
fn a_client_is_typed() {
    if npm::is_left_out() {
        return;
    }
    let mut compiler = Command::new("node");
    npm::succeeds(
        compiler.args(["node_modules/typescript/bin/tsc", "--project", "."]).current_dir(installed()),
    );
}

/// What the README shows beside its client.
#[allow(unreachable_pub)]
mod readme {
    use opendo::prelude::*;

    #[derive(Default)]
    pub struct Counter {
        value: u64,
    }

    #[durable_object(rename_all = "camelCase")]
    impl Counter {
        /// Adds `by`; returns the new value.
        pub fn increment(&mut self, by: u64) -> u64 {
            self.value += by;
            self.value
        }

        #[method(property)]
        pub fn value(&self) -> u64 {
            self.value
        }

        pub async fn count_to(&self, last: u64, tell: Callback<u64, ()>) {
            for n in 1..=last {
                let _ = tell.call(n).await;
            }
        }
    }

    impl DurableObject for Counter {
        async fn new(_: Ctx) -> opendo::Result<Self> {
            Ok(Self::default())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_in_the_readme_is_typed_and_runs() {
    if npm::is_left_out() {
        return;
    }
    let node = opendo::Node::builder().object::<readme::Counter>().start().await.unwrap();
    let address = node.listen("ws://127.0.0.1:0").await.unwrap().to_string();
    let readme = include_str!("../README.md");
    let client = readme.split("```ts\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(client.contains("ws://127.0.0.1:8080"));
    let work = tokio::task::spawn_blocking(installed).await.unwrap();
    let place = work.join("readme");
    std::fs::create_dir_all(&place).unwrap();
    declarations().interface::<readme::CounterStub>().write(place.join("counter.ts")).unwrap();
    std::fs::write(place.join("client.ts"), client.replace("ws://127.0.0.1:8080", &address)).unwrap();
    std::fs::write(place.join("package.json"), r#"{"type":"module"}"#).unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let options =
            ["--ignoreConfig", "--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck"];
        let lib = ["--lib", "es2023,esnext.disposable,dom,dom.asynciterable"];
        npm::succeeds(
            Command::new("node")
                .arg("../node_modules/typescript/bin/tsc")
                .args(options)
                .args(lib)
                .args(["client.ts", "--outDir", "out"])
                .current_dir(&place),
        );
        let client = Command::new("node")
            .args(["--experimental-websocket", "--no-warnings", "out/client.js"])
            .current_dir(&place)
            .output()
            .unwrap();
        assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
        String::from_utf8(client.stdout).unwrap()
    });
    assert_eq!(said.await.unwrap().split_whitespace().collect::<Vec<_>>(), ["2", "2", "1", "2", "3"]);
}
