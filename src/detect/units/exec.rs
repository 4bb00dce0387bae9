//! Parses command lines of services ("COMMAND LINES" in `systemd.service(5)`).
//!
//! A line is split into words first. Then specifiers are expanded in each word. Variables are
//! expanded only when the service starts. Therefore no value can become a quote, a separator or a
//! specifier.

use super::specifiers::Specifiers;
use super::words::{self, Unbalanced};
use crate::model::tree;
use std::fmt;

/// One command of an `Exec*=` line.
///
/// Arguments can contain passwords, so `Debug` shows only the executable.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    /// Executable: an absolute path, or a name to look up in the search path.
    pub program: Vec<u8>,
    /// `argv[0]` of the process, if it is not the path (prefix `@`).
    pub argv0: Option<Vec<u8>>,
    /// Arguments after `argv[0]`.
    pub words: Vec<Word>,
    /// Prefixes of the command.
    pub flags: Flags,
}

/// The prefixes of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Whether a failure is ignored (`-`).
    pub ignore_failure: bool,
    /// Whether variables are not expanded (`:`).
    pub no_expand: bool,
    /// Whether the command runs as root without the service's restrictions (`+`).
    pub full_privileges: bool,
    /// Whether the command runs without the service's user and group, but with its other
    /// restrictions (`!` or `!!`).
    pub no_setuid: bool,
    /// Whether the command runs through the user's shell (`|`).
    pub shell: bool,
}

/// An argument before variables are expanded.
#[derive(Clone, PartialEq, Eq)]
pub enum Word {
    /// A word `$NAME`: one argument per word of the value, none if the variable is not set.
    Split(Vec<u8>),
    /// One argument, even if it expands to the empty string.
    Joined(Vec<Piece>),
}

/// A part of an argument.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Literal bytes.
    Literal(Vec<u8>),
    /// `${NAME}`: the unchanged value, or nothing if the variable is not set.
    Variable(Vec<u8>),
}

/// The reason why a command line is invalid. Systemd then refuses the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A quote is not closed.
    Unbalanced,
    /// A command has no executable.
    NoProgram,
    /// The executable is a directory, or contains a control character.
    BadProgram,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Malformed::Unbalanced => "unclosed quote",
            Malformed::NoProgram => "command without an executable",
            Malformed::BadProgram => "executable is not the path of a file",
        })
    }
}

impl From<Unbalanced> for Malformed {
    fn from(Unbalanced: Unbalanced) -> Self {
        Malformed::Unbalanced
    }
}

/// Parses the commands of one `Exec*=` value. A word `;` separates commands.
///
/// # Errors
/// Returns an error if the line is malformed. Then none of its commands is valid.
pub fn parse(line: &[u8], specifiers: &mut Specifiers<'_>) -> Result<Vec<Exec>, Malformed> {
    let mut commands = Vec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        if let Some(tail) = strip_token(rest, b";") {
            rest = tail;
            continue;
        }
        commands.push(parse_one(&mut rest, specifiers)?);
    }
    Ok(commands)
}

fn parse_one(rest: &mut &[u8], specifiers: &mut Specifiers<'_>) -> Result<Exec, Malformed> {
    let first = words::next(rest)?.ok_or(Malformed::NoProgram)?;
    let (flags, has_argv0, program) = prefixes(&first);
    let program = specifiers.expand(program);
    if program.is_empty() {
        return Err(Malformed::NoProgram);
    }
    if program.ends_with(b"/") || program.iter().any(u8::is_ascii_control) {
        return Err(Malformed::BadProgram);
    }
    let mut arguments = Vec::new();
    while !rest.is_empty() && strip_token(rest, b";").is_none() {
        if let Some(tail) = strip_token(rest, b"\\;") {
            arguments.push(b";".to_vec());
            *rest = tail;
        } else if let Some(word) = words::next(rest)? {
            arguments.push(specifiers.expand(&word));
        }
    }
    let mut arguments = arguments.into_iter();
    let argv0 = if has_argv0 { Some(arguments.next().ok_or(Malformed::NoProgram)?) } else { None };
    let words = arguments.map(|word| Word::parse(word, flags.no_expand)).collect();
    Ok(Exec { program, argv0, words, flags })
}

/// Returns the flags, whether `@` is among the prefixes, and the executable. Each prefix is
/// accepted once, as in systemd.
fn prefixes(word: &[u8]) -> (Flags, bool, &[u8]) {
    let mut flags = Flags::default();
    let mut has_argv0 = false;
    let mut marks = 0;
    let mut program = word;
    while let Some((&byte, tail)) = program.split_first() {
        match byte {
            b'-' if !flags.ignore_failure => flags.ignore_failure = true,
            b'@' if !has_argv0 => has_argv0 = true,
            b':' if !flags.no_expand => flags.no_expand = true,
            b'|' if !flags.shell => flags.shell = true,
            b'+' if !flags.full_privileges && !flags.no_setuid => flags.full_privileges = true,
            b'!' if !flags.full_privileges && marks < 2 => {
                marks += 1;
                flags.no_setuid = true;
            }
            _ => break,
        }
        program = tail;
    }
    (flags, has_argv0, program)
}

/// Returns the text after `token`, if the text starts with this token as a separate word.
fn strip_token<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    let tail = text.strip_prefix(token)?;
    let is_separate = tail.first().is_none_or(u8::is_ascii_whitespace);
    is_separate.then(|| tail.trim_ascii_start())
}

impl Word {
    fn parse(word: Vec<u8>, is_literal: bool) -> Self {
        match &*word {
            _ if is_literal => Word::Joined(vec![Piece::Literal(word)]),
            [b'$', name @ ..] if !matches!(name.first(), Some(b'{' | b'$')) => Word::Split(name.to_vec()),
            _ => Word::Joined(pieces(&word)),
        }
    }

    /// Returns the argument, if it contains no variable.
    pub fn literal(&self) -> Option<Vec<u8>> {
        let Word::Joined(pieces) = self else { return None };
        let literals = pieces.iter().map(|piece| match piece {
            Piece::Literal(bytes) => Some(bytes.as_slice()),
            Piece::Variable(_) => None,
        });
        Some(literals.collect::<Option<Vec<_>>>()?.concat())
    }

    /// Returns the names of the variables in the argument.
    pub fn variables(&self) -> Vec<&[u8]> {
        match self {
            Word::Split(name) => vec![name],
            Word::Joined(pieces) => pieces.iter().filter_map(Piece::variable).collect(),
        }
    }
}

impl Piece {
    fn variable(&self) -> Option<&[u8]> {
        match self {
            Piece::Literal(_) => None,
            Piece::Variable(name) => Some(name),
        }
    }
}

/// Splits a word into parts: `$$` is a literal `$`, `${NAME}` a variable, any other `$` literal.
fn pieces(word: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'$', [b'$', tail @ ..]) => {
                literal.push(b'$');
                rest = tail;
            }
            (b'$', [b'{', tail @ ..]) => match memchr::memchr(b'}', tail) {
                Some(end) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Variable(tail[..end].to_vec()));
                    rest = &tail[end + 1..];
                }
                // Searching for the brace again at every `$` would take quadratic time.
                None => {
                    literal.push(b'$');
                    literal.extend(undouble(&mut rest));
                }
            },
            _ => literal.push(byte),
        }
    }
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// Returns the rest of a word without a closing brace, with `$$` replaced by `$`.
fn undouble(rest: &mut &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        bytes.push(byte);
        *rest = if byte == b'$' { tail.strip_prefix(b"$").unwrap_or(tail) } else { tail };
    }
    bytes
}

impl Exec {
    /// Returns all arguments, starting with `argv[0]`. `lookup` returns the values of variables.
    ///
    /// The result can contain secrets.
    pub fn arguments<'e>(&self, lookup: impl Fn(&[u8]) -> Option<&'e [u8]>) -> Vec<Vec<u8>> {
        let mut arguments = vec![self.argv0.as_ref().unwrap_or(&self.program).clone()];
        for word in &self.words {
            match word {
                Word::Split(name) => {
                    arguments.extend(lookup(name).map(words::split_relaxed).unwrap_or_default());
                }
                Word::Joined(pieces) => {
                    let value = |piece: &Piece| match piece {
                        Piece::Literal(bytes) => bytes.clone(),
                        Piece::Variable(name) => lookup(name).unwrap_or_default().to_vec(),
                    };
                    arguments.push(pieces.iter().flat_map(value).collect());
                }
            }
        }
        arguments
    }

    /// Returns whether the command runs an executable with this name: itself, through a program
    /// such as `env`, or in a command line for a shell. Ignores variables.
    pub fn runs(&self, program: &[u8]) -> bool {
        let own = tree::file_name(&self.program);
        let words: Vec<Vec<u8>> = self.words.iter().filter_map(Word::literal).collect();
        let is_shell = matches!(own, b"sh" | b"bash" | b"dash" | b"ash" | b"ksh" | b"zsh" | b"busybox");
        own == program
            || is_wrapper(own) && is_argument(words.iter().map(Vec::as_slice), program)
            || is_shell && words.iter().any(|line| line_runs(line, program))
    }
}

/// Whether the program or shell keyword runs the command in its arguments.
fn is_wrapper(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "!", "{", "chrt", "do", "elif", "else", "env", "exec", "flock", "if", "ionice", "nice", "nohup",
        "setsid", "stdbuf", "sudo", "then", "time", "timeout", "until", "while",
    ];
    NAMES.iter().any(|wrapper| name == wrapper.as_bytes())
}

/// Whether one of the words is an executable: its name, or its path in a directory `bin` or `sbin`.
fn is_argument<'w>(words: impl Iterator<Item = &'w [u8]>, program: &[u8]) -> bool {
    let mut before: &[u8] = b"";
    for word in words {
        let is_program = word == program
            || word.starts_with(b"/")
                && tree::file_name(word) == program
                && tree::parent(word).ends_with(b"bin");
        // `-u` of sudo and `-g` are followed by an account.
        if is_program && !matches!(before, b"-u" | b"-g") {
            return true;
        }
        before = word;
    }
    false
}

/// Whether a command line of a shell runs an executable, as far as this can be seen without
/// running the shell: quotes and expansions are not interpreted.
pub fn line_runs(line: &[u8], program: &[u8]) -> bool {
    let commands = line.split(|byte| b";&|()`\n".contains(byte));
    commands.into_iter().any(|command| {
        let words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        // Assignments before a command apply to its environment.
        let mut words = words.skip_while(|word| word.contains(&b'=')).peekable();
        let Some(first) = words.next() else { return false };
        tree::file_name(first) == program || is_wrapper(first) && is_argument(words, program)
    })
}

impl fmt::Debug for Exec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = crate::model::escape::escape(&self.program);
        write!(out, "Exec({program}, {} arguments, {:?})", self.words.len(), self.flags)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Split(name) => write!(out, "${}", crate::model::escape::escape(name)),
            Word::Joined(pieces) => out.debug_list().entries(pieces).finish(),
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Literal(bytes) => write!(out, "{} bytes", bytes.len()),
            Piece::Variable(name) => write!(out, "${{{}}}", crate::model::escape::escape(name)),
        }
    }
}
