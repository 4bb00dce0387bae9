//! Checks command lines.

use crate::detect::units::environment::Variables;
use crate::detect::units::exec::{self, Exec, Malformed};
use crate::detect::units::machine::{host, shown};
use crate::detect::units::specifiers::Specifiers;
use proptest::prelude::*;

fn parse(line: &[u8]) -> Result<Vec<Exec>, Malformed> {
    exec::parse(line, &mut Specifiers::new(b"web@eu-1.service", &host()))
}

fn environment() -> Variables {
    let mut environment = Variables::default();
    environment.set(b"OPTS", b"-a 'b c' d\\ e");
    environment.set(b"ONE", b"1 2");
    environment.set(b"EMPTY", b"");
    environment.set(b"BYTES", b"\xff");
    environment
}

/// Returns executable and arguments of each command as text.
fn run(line: &str) -> Vec<Vec<String>> {
    let environment = environment();
    let commands = parse(line.as_bytes()).unwrap();
    let run = |exec: &Exec| {
        let mut all = shown([&exec.program]);
        all.extend(shown(exec.arguments(|name| environment.get(name))));
        all
    };
    commands.iter().map(run).collect()
}

#[test]
fn arguments_quotes_escapes_and_variables_are_expanded() {
    // The arguments after the executable's path, which is also `argv[0]`.
    let cases: &[(&str, &[&str])] = &[
        ("/p", &[]),
        ("/p a  b\tc ", &["a", "b", "c"]),
        (r#"/p "a b" 'c d' e"f g"h"#, &["a b", "c d", "ef gh"]),
        (r#"/p "" ''"#, &["", ""]),
        (r#"/p "it's" 'say "x"'"#, &["it's", "say \"x\""]),
        (r"/p \x41\101\u00e9\s\t|", &["AA\u{e9} \\x09|"]),
        (r"/p \q \x0 \x00 \777 \", &["\\\\q", "\\\\x0", "\\\\x00", "\\\\777", "\\\\"]),
        (r"/p \ud800", &["\\\\ud800"]),
        (r#"/p '\'' "\"""#, &["'", "\""]),
        ("/p $OPTS", &["-a", "b c", "d e"]),
        ("/p ${OPTS}", &["-a 'b c' d\\\\ e"]),
        ("/p $ONE x${ONE}y", &["1", "2", "x1 2y"]),
        ("/p $NONE ${NONE} $EMPTY ${EMPTY}", &["", ""]),
        ("/p $$ONE a$ONE $${ONE} ${ONE", &["$ONE", "a$ONE", "${ONE}", "${ONE"]),
        ("/p ${a$$b $", &["${a$b"]),
        (r#"/p "$ONE""#, &["1", "2"]),
        ("/p ${BYTES}", &["\\xff"]),
        ("/p %i %I %p %% %n", &["eu-1", "eu/1", "web", "%", "web@eu-1.service"]),
        (r"/p a \; b ';' x;y", &["a", ";", "b", ";", "x;y"]),
        (":/p $ONE ${ONE} $$", &["$ONE", "${ONE}", "$$"]),
    ];
    for (line, arguments) in cases {
        let commands = run(line);
        assert_eq!(commands.len(), 1, "{line}");
        assert_eq!(commands[0][0], "/p", "{line}");
        assert_eq!(commands[0][2..], **arguments, "{line}");
    }
}

#[test]
fn parse_semicolon_separates_commands() {
    assert_eq!(run("/a 1 ; /b 2;3 ;"), [vec!["/a", "/a", "1"], vec!["/b", "/b", "2;3"]]);
    assert_eq!(run("; ; /a"), [vec!["/a", "/a"]]);
    assert_eq!(run(""), Vec::<Vec<String>>::new());
}

#[test]
fn parse_prefixes_in_any_order_set_flags() {
    let flags = |line: &str| {
        let exec = parse(line.as_bytes()).unwrap().remove(0);
        let flags = exec.flags;
        let all = [
            ('-', flags.ignore_failure),
            (':', flags.no_expand),
            ('+', flags.full_privileges),
            ('!', flags.no_setuid),
            ('|', flags.shell),
            ('@', exec.argv0.is_some()),
        ];
        let set: String = all.into_iter().filter(|(_, is_set)| *is_set).map(|(sign, _)| sign).collect();
        (set, shown([&exec.program]).remove(0))
    };
    for (line, signs, program) in [
        ("/p", "", "/p"),
        ("-/p", "-", "/p"),
        ("@-/p name", "-@", "/p"),
        (":+-/p", "-:+", "/p"),
        ("!!/p", "!", "/p"),
        ("|-/p", "-|", "/p"),
        ("+!/p", "+", "!/p"),
        ("--/p", "-", "-/p"),
        ("-sh", "-", "sh"),
    ] {
        assert_eq!(flags(line), (signs.to_owned(), program.to_owned()), "{line}");
    }
    assert_eq!(run("@/bin/p other a"), [vec!["/bin/p", "other", "a"]]);
}

#[test]
fn parse_malformed_line_returns_error() {
    for (line, cause) in [
        ("/p 'a", Malformed::Unbalanced),
        ("\"/p", Malformed::Unbalanced),
        ("/p ; - x", Malformed::NoProgram),
        ("''", Malformed::NoProgram),
        ("@/p", Malformed::NoProgram),
        ("/p/", Malformed::BadProgram),
        ("/p\\n", Malformed::BadProgram),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(cause), "{line}");
    }
}

#[test]
fn parse_long_line_takes_linear_time_and_debug_hides_it() {
    let long = [b"/p ".to_vec(), b"${ ".repeat(1 << 17), b"${".repeat(1 << 17)].concat();
    assert_eq!(parse(&long).unwrap()[0].words.len(), (1 << 17) + 1);
    let exec = parse(b"/p --password=hunter2 ${TOKEN}").unwrap().remove(0);
    assert!(!format!("{exec:?} {:?}", exec.words).contains("hunter2"));
}

proptest! {
    #[test]
    fn parse_any_bytes_never_panics(line in proptest::collection::vec(any::<u8>(), 0..60), text in "[-@:+!|;\\\\'\"${}% /abx0-7]{0,40}") {
        for line in [line.as_slice(), text.as_bytes()] {
            for exec in parse(line).unwrap_or_default() {
                prop_assert!(!exec.arguments(|_| Some(b"a 'b")).is_empty());
            }
        }
    }
}
