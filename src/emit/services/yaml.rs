//! YAML documents that readers of YAML 1.1 and of YAML 1.2 understand in the same way.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::{LitStr, ser_options};

/// Returns `value` as a document in block style, with keys in the order of their bytes.
pub(super) fn document(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("keys are strings and no value fails to serialize");
    // Without `yaml_12` the crate also quotes `no`, `12:30` and `2001-01-01`, which kubectl and
    // PyYAML (YAML 1.1) take for other types.
    let options = ser_options! { compact_list_indent: false, prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&Styled(&value), options);
    text.expect("writing to memory cannot fail")
}

/// A value whose scripts are literal blocks.
struct Styled<'a>(&'a Value);

impl Serialize for Styled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key, Styled(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Styled)),
            Value::String(string) if is_script(string) => LitStr(string).serialize(serializer),
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Whether the string has several lines that are printable, each ended by a newline, and the
/// first line is not indented. The crate also writes others as blocks, but libyaml, which the
/// readers of Docker Compose and kubectl descend from, fails at a tab where it looks for the
/// indentation.
fn is_script(string: &str) -> bool {
    let is_printable = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    let begins = string.starts_with(|first: char| first.is_ascii_graphic());
    let ends = string.ends_with('\n') && !string.ends_with("\n\n");
    begins && ends && string.bytes().all(is_printable) && string.lines().count() > 1
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the YAML 1.1 reader is a program")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use serde_json::json;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Strings that some version of YAML takes for another type or for syntax.
    const HOSTILE: &str = "|no|NO|y|N|Off|on|~|null|0755|1e3|1_000|0x1f|0o17|0b1|12:30|12:30:45|1:30.5|2001-01-01\
        |2001-1-1 1:2:3|.inf|.nan|inf|NaN|a: b|a:|a #b|#b|%x|@x|`x|- x|-|---|...|*x|&x|!x|>|?|? x|{a}|[a]|a, b|'|\"\
        |\\|a\nb|a\nb\n|a\n\nb\n\n| a\nb\n|\na\n|a\r\nb\n|\t|\n|\na|a\tb| a|a |  |<<|=|é|\u{85}|\u{7f}|\u{feff}|\u{2028}\
        |\u{fffe}|\u{ffff}|\u{e000}|\u{10ffff}|\0|\u{1b}|!!int 1|--- a|%YAML 1.1|+.5|-.e1|1__0|0x_|190:20:30";

    fn hostile() -> impl Strategy<Value = String> {
        let known: Vec<String> = HOSTILE.split('|').chain(["|"]).map(str::to_owned).collect();
        prop_oneof![
            1 => prop::sample::select(known),
            2 => "[-+0-9._:eExobaTZ, ]{1,9}",
            2 => "[-?:,\\[\\]{}#&*!|>'\"%@`<= \\n\\ta]{1,9}",
            1 => "[nNyYoOfFaAlLuUsStTrReE~]{1,5}",
            2 => any::<String>(),
        ]
    }

    #[test]
    fn document_hostile_strings_are_strings_in_pyyaml() {
        let (strategy, mut runner) = (hostile(), TestRunner::deterministic());
        let mut draw = || strategy.new_tree(&mut runner).unwrap().current();
        let mut strings: Vec<String> = HOSTILE.split('|').map(str::to_owned).collect();
        strings.extend(std::iter::repeat_with(&mut draw).take(4_000));
        let keys: serde_json::Map<String, Value> =
            strings.iter().map(|string| (string.clone(), json!({"x": [string]}))).collect();
        let value = json!({"keys": keys, "values": strings});
        let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(document(&value).as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "python3-yaml is required: tests/packages.txt");
        assert!(serde_json::from_slice::<Value>(&output.stdout).unwrap() == value);
    }

    #[test]
    fn document_ambiguous_strings_are_quoted() {
        for string in ["no", "12:30", "=", "1e3", "0x1f", "~", " a", "a ", "", "2001-01-01", "<<", "a: b"] {
            let text = document(&json!({string: string}));
            assert!(text.starts_with(['"', '\'']) && text.ends_with(['"', '\'', '\n']), "{text}");
            assert_eq!(yaml_serde::from_str::<Value>(&text).unwrap(), json!({string: string}), "{text}");
        }
        for string in ["vm2docker/machine:latest", "/var/lib/a.b-c_d", "./x", "nobody", "53:53/udp", "6s"] {
            assert_eq!(document(&string), format!("{string}\n"));
        }
    }

    #[test]
    fn document_nested_value_has_block_style() {
        let value = json!({
            "name": "x", "list": ["a", {"b": 1, "c": ["d"]}, []], "map": {"e": {}, "f": {"g": true}}, "none": null
        });
        let text = "list:\n  - a\n  - b: 1\n    c:\n      - d\n  - []\nmap:\n  e: {}\n  f:\n    g: true\nname: x\nnone: null\n";
        assert_eq!(document(&value), text);
        assert_eq!(yaml_serde::from_str::<Value>(text).unwrap(), value);
    }

    #[test]
    fn document_script_is_a_literal_block() {
        let script = "#!/bin/sh\n\n  a: \"$b\"\n- c \n";
        let value = json!({"x": ["-c", script], "z": script});
        let text = document(&value);
        let block = |indent: &str| format!("|\n{indent}#!/bin/sh\n\n{indent}  a: \"$b\"\n{indent}- c \n");
        assert_eq!(text, format!("x:\n  - -c\n  - {}z: {}", block("    "), block("  ")));
        assert_eq!(yaml_serde::from_str::<Value>(&text).unwrap(), value);
        for other in [" a\nb\n", "a\nb", "a\nb\n\n", "a\r\nb\n", "\na\n", "\ta\nb\n", "\n\ta\n", "a\n"] {
            assert!(document(&other).starts_with('"'), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn document_any_string_comes_back(key in hostile(), text in hostile()) {
            let value = json!({"a": {key: [&text]}, "b": text});
            prop_assert_eq!(yaml_serde::from_str::<Value>(&document(&value)).unwrap(), value);
        }
    }
}
