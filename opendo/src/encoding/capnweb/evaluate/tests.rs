use super::*;

/// Writes down what it is told.
#[derive(Default)]
struct Log {
    found: Vec<String>,
    /// How much each open table holds.
    tables: Vec<u32>,
}

impl Resolver for Log {
    fn begin_arguments(&mut self) {
        self.tables.push(0);
    }

    fn special(&mut self, special: Special<'_>) -> Result<u32, Malformed> {
        if let Special::Import { args: Some(_), .. } | Special::Pipeline { args: Some(_), .. } = &special {
            self.tables.pop();
        }
        self.found.push(format!("{special:?}"));
        if self.tables.is_empty() {
            self.tables.push(0);
        }
        let table = self.tables.last_mut().unwrap();
        *table += 1;
        Ok(*table - 1)
    }
}

fn body(text: &str) -> Result<(Option<String>, Vec<String>), Malformed> {
    let mut log = Log { tables: vec![0], ..Log::default() };
    let body = evaluate(text, &mut log)?;
    assert_eq!(log.tables.len(), 1);
    Ok((body, log.found))
}

fn changed(text: &str) -> String {
    body(text).unwrap().0.unwrap()
}

fn refusal(text: &str) -> String {
    body(text).unwrap_err().message
}

#[test]
fn data_stays_the_text_it_is() {
    for text in [
        "1",
        "-0.5e7",
        "null",
        "true",
        "\"a\\ud800\"",
        "{}",
        "[[]]",
        "[[1,[[2]],{\"a\":[[]]}]]",
        " { \"a\" : 1 } ",
        r#"["undefined"]"#,
        r#"["inf",1]"#,
        r#"["-inf"]"#,
        r#"["nan"]"#,
        r#"["bigint","-12"]"#,
        r#"["bigint","0x1f"]"#,
        r#"["bigint",""]"#,
        r#"["date",1.5]"#,
        r#"["date",null]"#,
        r#"["bytes",""]"#,
        r#"["bytes","AA=="]"#,
        r#"["bytes","AAAAAA","Uint32Array"]"#,
        r#"["bytes","AA","ArrayBuffer",1]"#,
        r#"["error","E","m"]"#,
        r#"["error","E","m","stack"]"#,
        r#"["error","E","m",null,{"code":1,"cause":["error","E","m"]}]"#,
        r#"["url","https://a/"]"#,
        r#"["headers",[["a","b"],["c","d"]]]"#,
        r#"["request","https://a/",{}]"#,
        r#"["request","https://a/",{"method":"POST","headers":[["a","b"]],"body":["bytes","AA"],"cf":{"x":[1,2]}}]"#,
        r#"["response",null,{"status":404}]"#,
        r#"["response","text",{}]"#,
    ] {
        assert_eq!(body(text).unwrap_or_else(|error| panic!("{text}: {error}")).0, None, "{text}");
    }
}

#[test]
fn capabilities_become_markers_in_order() {
    let (text, found) = body(
        r#"[[["export",-1],{"a":["promise",-2]},["writable",-3,0],["readable",4.0],["import",5],["pipeline",6,["a",1]]]]"#,
    )
    .unwrap();
    assert_eq!(text.unwrap(), r##"[[["#",0],{"a":["#",1]},["#",2],["#",3],["#",4],["#",5]]]"##);
    assert_eq!(
        found,
        [
            "Export(-1)",
            "Promise(-2)",
            "Writable(-3)",
            "Readable(4)",
            "Import { id: 5, path: None, args: None }",
            r#"Pipeline { id: 6, path: Some([Name("a"), Index(1.0)]), args: None }"#,
        ]
    );
}

#[test]
fn calls_in_arguments_come_first_and_arguments_have_their_own_table() {
    let (text, found) =
        body(r#"{"r":["pipeline",0,["f"],[["export",-1],["import",0,[],[["export",-2], 7]],["export",-3]]],"s":["export",-4]}"#)
            .unwrap();
    assert_eq!(text.unwrap(), r##"{"r":["#",0],"s":["#",1]}"##);
    assert_eq!(
        found,
        [
            "Export(-1)",
            "Export(-2)",
            r##"Import { id: 0, path: Some([]), args: Some("[[\"#\",0], 7]") }"##,
            "Export(-3)",
            r##"Pipeline { id: 0, path: Some([Name("f")]), args: Some("[[\"#\",0],[\"#\",1],[\"#\",2]]") }"##,
            "Export(-4)",
        ]
    );
    let (_, found) = body(r#"["pipeline",0,["f"],[1,"x"]]"#).unwrap();
    assert_eq!(found, [r#"Pipeline { id: 0, path: Some([Name("f")]), args: Some("[1,\"x\"]") }"#]);
}

#[test]
fn maps_blobs_and_bodies_are_capabilities_too() {
    let (text, found) = body(
        r#"[[["remap",1,["l"],[["import",0],["export",-1]],[["pipeline",-1,["f"],[["pipeline",0]]],["pipeline",1]]],
            ["blob","text/plain",["readable",2]],["request","https://a/",{"body":["readable",3],"method":"PUT"}],
            ["response",["readable",4],{}]]]"#,
    )
    .unwrap();
    let text: String = text.unwrap().split_whitespace().collect();
    assert_eq!(
        text,
        r##"[[["#",0],["#",1],["request","https://a/",{"body":["#",2],"method":"PUT"}],["response",["#",3],{}]]]"##
    );
    assert_eq!(
        found,
        [
            r#"Remap { id: 1, path: [Name("l")], captures: [Import(0), Export(-1)], instructions: "[[\"pipeline\",-1,[\"f\"],[[\"pipeline\",0]]],[\"pipeline\",1]]" }"#,
            r#"Blob { kind: "text/plain", readable: 2 }"#,
            "Readable(3)",
            "Readable(4)",
        ]
    );
}

#[test]
fn forbidden_members_are_evaluated_and_left_out() {
    for (text, expected) in [
        (r#"{"__proto__":1}"#, "{}"),
        (r#"{"a":1,"toString":2}"#, r#"{"a":1}"#),
        (r#"{"toJSON":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"constructor":{"b":2},"c":3}"#, r#"{"a":1,"c":3}"#),
        (r#"{"valueOf":1,"toString":2}"#, "{}"),
        (r#"{"a":1,"valueOf":1,"toString":2}"#, r#"{"a":1}"#),
        (r#"{"\u005f_proto__":1,"a":{"__proto__":1}}"#, r#"{"a":{}}"#),
        (r#"{"toString":["export",-1],"a":["export",-2]}"#, r##"{"a":["#",1]}"##),
        (
            r#"["error","E","m",null,{"name":1,"stack":["x"],"a":2,"__proto__":3}]"#,
            r#"["error","E","m",null,{"a":2}]"#,
        ),
    ] {
        assert_eq!(changed(text), expected, "{text}");
    }
    assert_eq!(body(r#"{"toString":["export",-1]}"#).unwrap().1, ["Export(-1)"]);
    assert!(refusal(r#"{"toString":["nonsense"]}"#).contains("unknown special value"));
}

#[test]
fn of_equal_keys_the_last_wins() {
    for (text, expected) in [
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"b":2,"a":3,"a":4}"#, r#"{"b":2,"a":4}"#),
        (r#"{"a":{"b":1,"b":2},"a":{"b":3,"b":4}}"#, r#"{"a":{"b":4}}"#),
        (r#"{"\u0061":1,"a":2,"":3,"":4}"#, r#"{"a":2,"":4}"#),
        (r#"{"a":1,"toString":0,"a":2,"valueOf":0}"#, r#"{"a":2}"#),
        (r#"{"a":["export",-1],"a":["export",-2]}"#, r##"{"a":["#",1]}"##),
    ] {
        assert_eq!(changed(text), expected, "{text}");
    }
    let many: Vec<String> = (0..40).chain(5..10).map(|at| format!("\"{at}\":{at}")).collect();
    let text = changed(&format!("{{{}}}", many.join(",")));
    assert_eq!(text.matches(':').count(), 40);
    assert!(text.ends_with(r#""39":39,"5":5,"6":6,"7":7,"8":8,"9":9}"#));
}

#[test]
fn what_is_no_expression_is_refused_in_the_words_of_the_protocol() {
    for text in [
        "[]",
        "[1,2]",
        "[[1],[2]]",
        "[null]",
        r#"["undefined",1]"#,
        r#"["nonsense"]"#,
        r##"["#",0]"##,
        r#"["bigint",1]"#,
        r#"["bigint"]"#,
        r#"["date","x"]"#,
        r#"["date"]"#,
        r#"["bytes",1]"#,
        r#"["error","E"]"#,
        r#"["error","E",1]"#,
        r#"["error","E","m",null,null]"#,
        r#"["error","E","m",null,[]]"#,
        r#"["error","E","m",null,5]"#,
        r#"["url"]"#,
        r#"["url","a","b"]"#,
        r#"["url",1]"#,
        r#"["headers",{}]"#,
        r#"["headers",[["a"]]]"#,
        r#"["headers",[["a","b","c"]]]"#,
        r#"["headers",[],1]"#,
        r#"["request","u"]"#,
        r#"["request","u",null]"#,
        r#"["request","u",{},1]"#,
        r#"["response",null]"#,
        r#"["blob",1,2]"#,
        r#"["blob","t"]"#,
        r#"["import"]"#,
        r#"["import","0"]"#,
        r#"["import",0,"path"]"#,
        r#"["import",0,[null]]"#,
        r#"["import",0,[],{}]"#,
        r#"["import",0,[],[],1]"#,
        r#"["remap",0,[],[]]"#,
        r#"["remap",0,[],[],[],1]"#,
        r#"["remap",0,[],[],{}]"#,
        r#"["export"]"#,
        r#"["export","1"]"#,
        r#"["promise",null]"#,
    ] {
        assert_eq!(refusal(text), format!("unknown special value: {text}"));
        assert_eq!(refusal(&format!("{{\"a\":[[{text}]]}}")), format!("unknown special value: {text}"));
    }
    for (text, expected) in [
        (r#"["bytes","AA",5]"#, "Unknown bytes type marker type: number"),
        (r#"["bytes","AA",null]"#, "Unknown bytes type marker type: object"),
        (r#"["bytes","AA","Float16Array"]"#, "Unknown bytes type marker: Float16Array"),
        (
            r#"["bytes","AAAA","Uint32Array"]"#,
            "Invalid byte length 3 for Uint32Array; expected a multiple of 4",
        ),
        (r#"["bytes","A"]"#, "invalid base64: A"),
        (r#"["bigint","1.5"]"#, "Cannot convert 1.5 to a BigInt"),
        (r#"["import",1.5]"#, "no such entry on exports table: 1.5"),
        (r#"["pipeline",1e308,[]]"#, "no such entry on exports table: 1e308"),
        (r#"["remap",0,[],[["promise",1]],[]]"#, r#"unknown map capture: ["promise",1]"#),
        (r#"["remap",0,[],[5],[]]"#, "unknown map capture: 5"),
        (r#"["request","u",{"body":5}]"#, "Request body must be of type ReadableStream."),
        (r#"["request","u",{"body":["export",-1]}]"#, "Request body must be of type ReadableStream."),
        (r#"["request","u",{"headers":{}}]"#, "Request headers must be serialized as an array of pairs."),
        (r#"["response",{},{}]"#, "Response body must be of type ReadableStream."),
        (r#"["blob","t",null]"#, "Blob content must be serialized as a ReadableStream."),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
    let digits = |count: usize| format!("[\"bigint\",\"-{}\"]", "9".repeat(count - 1));
    assert!(body(&digits(16_384)).is_ok());
    assert_eq!(refusal(&digits(16_385)), "Deserialized bigint exceeds maximum length of 16384 digits.");
}

#[test]
fn depth_is_bounded_and_counts_on_through_calls() {
    let arrays = |levels: usize| format!("{}1{}", "[[".repeat(levels), "]]".repeat(levels));
    assert!(body(&arrays(255)).is_ok());
    assert_eq!(refusal(&arrays(256)), TOO_DEEP);
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(body(&objects(255)).is_ok());
    assert_eq!(refusal(&objects(256)), TOO_DEEP);
    let calls = |levels: usize| format!("{}1{}", "[\"pipeline\",0,[],[".repeat(levels), "]]".repeat(levels));
    assert!(body(&calls(255)).is_ok());
    assert_eq!(refusal(&calls(256)), TOO_DEEP);
    let causes = |levels: usize| {
        format!("{}1{}", r#"["error","E","m",null,{"cause":"#.repeat(levels), "}]".repeat(levels))
    };
    assert!(body(&causes(255)).is_ok());
    assert_eq!(refusal(&causes(256)), TOO_DEEP);
    assert_eq!(refusal(&"[[".repeat(1_000_000)), TOO_DEEP);
    assert_eq!(refusal(&"[\"error\",\"E\",\"m\",".repeat(1_000_000)), TOO_DEEP);
}

#[test]
fn an_expression_cut_anywhere_is_refused() {
    let text =
        r#"{"a":[["pipeline",0,["f",1],[["export",-1],["bytes","AAE"],"\u00e9"]],["date",1.5e3],true,null]}"#;
    for end in 0..text.len() {
        assert!(body(&text[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_map_has_instructions() {
    assert_eq!(instructions(r#"[["pipeline",0],{"a":1}]"#).unwrap(), [r#"["pipeline",0]"#, r#"{"a":1}"#]);
    assert_eq!(instructions("[]").unwrap_err().message, "Invalid empty mapper function.");
}
