//! Rich dependencies: expressions of relations in parentheses
//! (<https://rpm.org/docs/latest/manual/boolean_dependencies.html>).
//!
//! ```text
//! (a and b and c)  (a or b)  (a if b)  (a if b else c)  (a unless b)  (a unless b else c)
//! (a with b)  (a without b)
//! ```

use crate::pkg::rpm::provides::Provides;
use crate::pkg::rpm::relation::{Relation, Sense};
use crate::pkg::rpm::source::Damage;

/// Most nested parentheses; real expressions have at most four.
const MAX_DEPTH: usize = 64;

/// A dependency of one package on others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    /// One relation.
    One(Relation<'a>),
    /// All of them.
    And(Vec<Expression<'a>>),
    /// At least one of them.
    Or(Vec<Expression<'a>>),
    /// One package that satisfies all of them.
    With(Vec<Expression<'a>>),
    /// A package that satisfies the first and not the second.
    Without(Box<[Expression<'a>; 2]>),
    /// The first if the second is satisfied, else the third, if there is one.
    If(Box<[Expression<'a>; 2]>, Option<Box<Expression<'a>>>),
    /// The first if the second is not satisfied, else the third. Without a third, the second must
    /// not be satisfied.
    Unless(Box<[Expression<'a>; 2]>, Option<Box<Expression<'a>>>),
}

/// One dependency that an expression comes to with the present packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Satisfied {
    /// Packages that satisfy it, ascending, each once; empty if it is not satisfied.
    pub packages: Vec<u32>,
}

impl<'a> Expression<'a> {
    /// Returns the expression of a relation of a package. The error has the offset in the name.
    pub fn of(relation: &Relation<'a>) -> Result<Self, Damage> {
        if relation.is_rich() { Self::parse(relation.name) } else { Ok(Expression::One(*relation)) }
    }

    /// Parses a rich dependency. The error has the offset in the text.
    pub fn parse(text: &'a [u8]) -> Result<Self, Damage> {
        let mut parser = Parser { text, at: 0 };
        let expression = parser.group(0)?;
        parser.skip_space();
        if parser.at < text.len() {
            return Err(parser.error("text follows the expression"));
        }
        Ok(expression)
    }

    /// Whether the packages satisfy the expression.
    pub fn is_satisfied(&self, provides: &Provides) -> bool {
        match self {
            Expression::One(relation) => relation.is_rpmlib() || !provides.satisfiers(relation).is_empty(),
            Expression::And(all) => all.iter().all(|one| one.is_satisfied(provides)),
            Expression::Or(any) => any.iter().any(|one| one.is_satisfied(provides)),
            Expression::With(_) | Expression::Without(_) => !self.packages(provides).is_empty(),
            Expression::If(pair, _) if pair[1].is_satisfied(provides) => pair[0].is_satisfied(provides),
            Expression::If(_, otherwise) => otherwise.as_ref().is_none_or(|one| one.is_satisfied(provides)),
            Expression::Unless(pair, otherwise) if pair[1].is_satisfied(provides) => {
                otherwise.as_ref().is_some_and(|one| one.is_satisfied(provides))
            }
            Expression::Unless(pair, _) => pair[0].is_satisfied(provides),
        }
    }

    /// Returns the dependencies that the expression comes to with the present packages, all of which
    /// must be satisfied.
    ///
    /// Alternatives are one dependency on the packages of all of them, if each is one dependency;
    /// else the first satisfied alternative counts.
    pub fn needs(&self, provides: &Provides) -> Vec<Satisfied> {
        match self {
            Expression::One(relation) if relation.is_rpmlib() => Vec::new(),
            Expression::One(_) | Expression::With(_) | Expression::Without(_) => {
                vec![Satisfied { packages: self.packages(provides) }]
            }
            Expression::And(all) => all.iter().flat_map(|one| one.needs(provides)).collect(),
            Expression::Or(any) => any_of(any.iter().map(|one| one.needs(provides)).collect()),
            Expression::If(pair, otherwise) => match (pair[1].is_satisfied(provides), otherwise) {
                (true, _) => pair[0].needs(provides),
                (false, Some(otherwise)) => otherwise.needs(provides),
                (false, None) => Vec::new(),
            },
            Expression::Unless(pair, otherwise) => match (pair[1].is_satisfied(provides), otherwise) {
                (false, _) => pair[0].needs(provides),
                (true, Some(otherwise)) => otherwise.needs(provides),
                (true, None) => vec![Satisfied { packages: Vec::new() }],
            },
        }
    }

    /// Returns the packages that satisfy the expression each by itself, ascending. Only single
    /// relations, `or`, `with` and `without` have such packages.
    fn packages(&self, provides: &Provides) -> Vec<u32> {
        match self {
            Expression::One(relation) => provides.satisfiers(relation),
            Expression::Or(any) => {
                let mut packages: Vec<_> = any.iter().flat_map(|one| one.packages(provides)).collect();
                packages.sort_unstable();
                packages.dedup();
                packages
            }
            Expression::With(all) => {
                let mut sets = all.iter().map(|one| one.packages(provides));
                let first = sets.next().unwrap_or_default();
                sets.fold(first, |mut left, right| {
                    left.retain(|package| right.binary_search(package).is_ok());
                    left
                })
            }
            Expression::Without(pair) => {
                let excluded = pair[1].packages(provides);
                let mut packages = pair[0].packages(provides);
                packages.retain(|package| excluded.binary_search(package).is_err());
                packages
            }
            Expression::And(_) | Expression::If(..) | Expression::Unless(..) => Vec::new(),
        }
    }
}

/// Returns the dependencies of alternatives.
fn any_of(alternatives: Vec<Vec<Satisfied>>) -> Vec<Satisfied> {
    if alternatives.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    if alternatives.iter().all(|needs| needs.len() == 1) {
        let mut packages: Vec<_> =
            alternatives.into_iter().flatten().flat_map(|need| need.packages).collect();
        packages.sort_unstable();
        packages.dedup();
        return vec![Satisfied { packages }];
    }
    let is_satisfied = |needs: &Vec<Satisfied>| needs.iter().all(|need| !need.packages.is_empty());
    let chosen = alternatives.into_iter().find(is_satisfied);
    chosen.unwrap_or_else(|| vec![Satisfied { packages: Vec::new() }])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    With,
    Without,
    If,
    Unless,
    Else,
}

impl Operator {
    fn of(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"and" => Operator::And,
            b"or" => Operator::Or,
            b"with" => Operator::With,
            b"without" => Operator::Without,
            b"if" => Operator::If,
            b"unless" => Operator::Unless,
            b"else" => Operator::Else,
            _ => return None,
        })
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// Parses an expression in parentheses at this position.
    fn group(&mut self, depth: usize) -> Result<Expression<'a>, Damage> {
        if depth == MAX_DEPTH {
            return Err(self.error("parentheses are nested too deeply"));
        }
        if !self.accept(b'(') {
            return Err(self.error("a parenthesis is missing"));
        }
        let mut operands = vec![self.operand(depth)?];
        let mut operators = Vec::new();
        while !self.accept(b')') {
            let start = self.at;
            let word = self.word();
            let Some(operator) = Operator::of(word) else {
                return Err(Damage::at(start as u64, "an operator is missing"));
            };
            if !continues(&operators, operator) {
                return Err(Damage::at(start as u64, "these operators cannot follow each other"));
            }
            operators.push(operator);
            operands.push(self.operand(depth)?);
        }
        self.expression(operands, &operators)
    }

    fn expression(
        &self,
        mut operands: Vec<Expression<'a>>,
        operators: &[Operator],
    ) -> Result<Expression<'a>, Damage> {
        let incomplete = || self.error("the expression is incomplete");
        let Some(&operator) = operators.first() else {
            return operands.pop().ok_or_else(incomplete);
        };
        let otherwise = if operands.len() == 3 && operators.get(1) == Some(&Operator::Else) {
            operands.pop().map(Box::new)
        } else {
            None
        };
        let pair =
            |operands: Vec<Expression<'a>>| operands.try_into().map(Box::new).map_err(|_| incomplete());
        Ok(match operator {
            Operator::And => Expression::And(operands),
            Operator::Or => Expression::Or(operands),
            Operator::With => Expression::With(operands),
            Operator::Without => Expression::Without(pair(operands)?),
            Operator::If => Expression::If(pair(operands)?, otherwise),
            Operator::Unless => Expression::Unless(pair(operands)?, otherwise),
            Operator::Else => return Err(self.error("else without if")),
        })
    }

    /// Parses an expression or a relation.
    fn operand(&mut self, depth: usize) -> Result<Expression<'a>, Damage> {
        self.skip_space();
        let operand = match self.text.get(self.at) {
            Some(b'(') => self.group(depth + 1)?,
            _ => Expression::One(self.relation()?),
        };
        self.skip_space();
        Ok(operand)
    }

    fn relation(&mut self) -> Result<Relation<'a>, Damage> {
        let name = self.word();
        if name.is_empty() {
            return Err(self.error("a name is missing"));
        }
        self.skip_space();
        let before = self.at;
        let Some(sense) = Sense::parse(self.word()) else {
            self.at = before;
            return Ok(Relation { name, sense: Sense::default(), version: b"" });
        };
        self.skip_space();
        let version = self.word();
        if version.is_empty() {
            return Err(self.error("a version is missing"));
        }
        Ok(Relation { name, sense, version })
    }

    /// Returns the text up to a space, a comma, or a parenthesis that the word did not open.
    fn word(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let mut open = 0_usize;
        let ends = |byte: &u8| match byte {
            b'(' => {
                open += 1;
                false
            }
            b')' if open > 0 => {
                open -= 1;
                false
            }
            b')' | b',' => true,
            _ => is_space(*byte),
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn accept(&mut self, byte: u8) -> bool {
        let accepted = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(accepted);
        accepted
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|&byte| is_space(byte) || byte == b',') {
            self.at += 1;
        }
    }

    fn error(&self, reason: &str) -> Damage {
        Damage::at(self.at as u64, reason)
    }
}

/// Whether `next` can follow the operators of an expression: only `and`, `or` and `with` can be
/// repeated, and `else` needs `if` or `unless`.
fn continues(operators: &[Operator], next: Operator) -> bool {
    match (operators, next) {
        ([Operator::If | Operator::Unless], Operator::Else) => true,
        (_, Operator::Else) => false,
        ([], _) => true,
        ([.., last], Operator::And | Operator::Or | Operator::With) => *last == next,
        _ => false,
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns packages 0, 1, ... with these words: `name`, or `name=version`.
    fn provides(packages: &[&str]) -> Provides {
        let mut provides = Provides::new(&[(b"/bin", b"/usr/bin")]);
        for (number, words) in (0..).zip(packages) {
            for word in words.split(' ') {
                if word.starts_with('/') {
                    provides.add_path(number, word.as_bytes());
                    continue;
                }
                let (name, version) = word.split_once('=').unwrap_or((word, ""));
                let sense = if version.is_empty() { Sense::default() } else { Sense::EQUAL };
                provides.add_name(
                    number,
                    &Relation { name: name.as_bytes(), sense, version: version.as_bytes() },
                );
            }
        }
        provides
    }

    /// Shows an expression with all parentheses.
    fn show(expression: &Expression<'_>) -> String {
        let join = |all: &[Expression<'_>], word: &str| all.iter().map(show).collect::<Vec<_>>().join(word);
        let with_else = |pair: &[Expression<'_>; 2], word: &str, otherwise: &Option<Box<Expression<'_>>>| {
            let otherwise = otherwise.as_ref().map(|one| format!(" else {}", show(one))).unwrap_or_default();
            format!("({}{otherwise})", join(pair, word))
        };
        match expression {
            Expression::One(one) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let version = if one.version.is_empty() {
                    String::new()
                } else {
                    format!("[{} {}]", one.sense.0, text(one.version))
                };
                format!("{}{version}", text(one.name))
            }
            Expression::And(all) => format!("({})", join(all, " and ")),
            Expression::Or(all) => format!("({})", join(all, " or ")),
            Expression::With(all) => format!("({})", join(all, " with ")),
            Expression::Without(pair) => format!("({})", join(&pair[..], " without ")),
            Expression::If(pair, otherwise) => with_else(pair, " if ", otherwise),
            Expression::Unless(pair, otherwise) => with_else(pair, " unless ", otherwise),
        }
    }

    #[test]
    fn parse_syntax_of_manual_returns_expression() {
        for (text, expected) in [
            ("(a)", "a"),
            ("((a))", "a"),
            ("( a  and b,and c )", "(a and b and c)"),
            ("(a or (b and c))", "(a or (b and c))"),
            ("(a >= 1.0 or b < 2:3-1)", "(a[12 1.0] or b[2 2:3-1])"),
            ("(a if b else c)", "(a if b else c)"),
            ("(a unless b)", "(a unless b)"),
            ("(a unless b else (c or d))", "(a unless b else (c or d))"),
            ("(feat >= 1.0 with feat < 3.0)", "(feat[12 1.0] with feat[2 3.0])"),
            ("(a without b)", "(a without b)"),
            ("(perl(Foo::Bar) = 1 or lib.so.1()(64bit))", "(perl(Foo::Bar)[8 1] or lib.so.1()(64bit))"),
            ("(/usr/bin/python3 if (a or b))", "(/usr/bin/python3 if (a or b))"),
        ] {
            assert_eq!(show(&Expression::parse(text.as_bytes()).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn parse_other_text_returns_offset() {
        for (text, expected) in [
            ("", "a parenthesis is missing at offset 0"),
            ("a", "a parenthesis is missing at offset 0"),
            ("()", "a name is missing at offset 1"),
            ("(a", "an operator is missing at offset 2"),
            ("(a b)", "an operator is missing at offset 3"),
            ("(a and)", "a name is missing at offset 6"),
            ("(a and b or c)", "these operators cannot follow each other at offset 9"),
            ("(a if b if c)", "these operators cannot follow each other at offset 8"),
            ("(a else b)", "these operators cannot follow each other at offset 3"),
            ("(a if b else c else d)", "these operators cannot follow each other at offset 15"),
            ("(a without b without c)", "these operators cannot follow each other at offset 13"),
            ("(a >= )", "a version is missing at offset 6"),
            ("(a) b", "text follows the expression at offset 4"),
        ] {
            assert_eq!(Expression::parse(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
        }
        let deep = [b"(".repeat(10_000), b"a".to_vec(), b")".repeat(10_000)].concat();
        assert_eq!(Expression::parse(&deep).unwrap_err().reason, "parentheses are nested too deeply");
        let long = format!("({}a)", "a or ".repeat(100_000));
        assert!(Expression::parse(long.as_bytes()).is_ok());
    }

    #[test]
    fn is_satisfied_and_needs_follow_the_packages() {
        let provides = provides(&["a=1 feat=2", "b=1.5-2 feat=3 /usr/bin/tool", "c x", "d x lib"]);
        for (text, expected) in [
            ("(a and b)", Some("0 1")),
            ("(a and no)", None),
            ("(a or b)", Some("0,1")),
            ("(no or b)", Some("1")),
            ("(no or none)", None),
            ("((a and b) or c)", Some("0 1")),
            ("((a and no) or c)", Some("2")),
            ("((a and no) or none)", None),
            ("(a if b)", Some("0")),
            ("(no if b)", None),
            ("(no if none)", Some("")),
            ("(no if none else c)", Some("2")),
            ("(no if a else c)", None),
            ("(a unless no)", Some("0")),
            ("(a unless b)", None),
            ("(a unless b else c)", Some("2")),
            ("(no unless none)", None),
            ("(feat >= 2.5 with b)", Some("1")),
            ("(feat < 2.5 with b)", None),
            ("(feat with feat >= 1)", Some("0,1")),
            ("(x without lib)", Some("2")),
            ("(lib without x)", None),
            ("((a or d) with x)", Some("3")),
            ("(rpmlib(Anything) and a)", Some("0")),
            ("(/bin/tool and b = 1.5)", Some("1 1")),
            ("(b = 1.5-3 or none)", None),
            ("(/usr//bin/tool)", Some("1")),
            ("(rpmlib(X) or no)", Some("")),
        ] {
            let expression = Expression::parse(text.as_bytes()).unwrap();
            let needs = expression.needs(&provides);
            let show =
                |need: &Satisfied| need.packages.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let satisfied = needs.iter().all(|need| !need.packages.is_empty());
            assert_eq!(expression.is_satisfied(&provides), satisfied, "{text}");
            let found = satisfied.then(|| needs.iter().map(show).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn parse_any_expression_is_satisfied_if_its_needs_are(text in "(\\(|\\)|a|b| no| and | or | if | else | unless | with | without | >= 1| ){0,14}") {
            let provides = provides(&["a=1", "b"]);
            for text in [text.clone(), format!("({text})")] {
                if let Ok(expression) = Expression::parse(text.as_bytes()) {
                    let needs = expression.needs(&provides);
                    prop_assert_eq!(expression.is_satisfied(&provides), needs.iter().all(|need| !need.packages.is_empty()));
                    prop_assert_eq!(show(&expression).is_empty(), false);
                }
            }
        }
    }
}
