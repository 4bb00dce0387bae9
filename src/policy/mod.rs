//! What never goes into an image, what is withheld, what becomes a volume: a table with a reason a row.
//!
//! Rules are tried in order and the first match wins: `--policy FILE`, then
//! `--exclude`, then what lies inside a live database ([`databases`]), then the
//! built-in [`table`].

mod databases;
pub(crate) mod glob;
mod table;

pub use databases::{Engine, Sign, signs};
pub(crate) use glob::matches;

use crate::error::{Code, Error, Result};
use crate::escape;
use crate::tree;
use memchr::memmem;
use std::borrow::Cow;
use std::collections::HashMap;

/// What happens to a path that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// In the image, whatever later rules say.
    Keep,
    /// Not in the image.
    Drop,
    /// Not in the image, except that directories are.
    DropFiles,
    /// Not in the image because it is secret: listed in `SECRETS.todo`, mounted at run time.
    Withhold,
    /// Not in the image because it is live data: the directory is a volume.
    Volume,
    /// Not in the image because every machine has its own: made anew in the container.
    Regenerate,
    /// In the image with other content, worked out from the machine's (see [`crate::rewrite`]).
    Rewrite,
    /// Whatever the image has: the container runtime mounts its own over it.
    Runtime,
}

impl Action {
    /// Whether the image gets the content as it is on the machine, so that it must be read.
    pub fn needs_content(self) -> bool {
        matches!(self, Action::Keep)
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "withhold" => Action::Withhold,
            "volume" => Action::Volume,
            _ => return None,
        })
    }
}

/// A rule's place in the policy. Every home directory has some thirty rules: two thousand accounts are more than 16 bits.
pub type RuleId = u32;

/// One row: which paths, what happens, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pattern: Vec<u8>,
    /// What happens to a match.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
}

/// All rules of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Rules before this one are the user's and beat what lies inside a database.
    built_in: usize,
    /// Where the rules for database engines, and then that for private keys by content, stand.
    engines: usize,
    /// The rules to try on a path in order, by its first component: most begin with a literal one.
    by_first: HashMap<Vec<u8>, Vec<RuleId>>,
    /// The rules to try on a path whose first component no rule begins with.
    elsewhere: Vec<RuleId>,
}

/// Endings of copies that editors, packagers and administrators leave (`shadow.bak`, `site.key~`).
const COPY_ENDINGS: &[&str] = &[
    "~",
    ".bak",
    ".old",
    ".orig",
    ".save",
    ".swp",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-bak",
    ".ucf-dist",
    ".ucf-old",
];

impl Policy {
    /// The user's rules, then the built-in ones for a machine with these home directories (relative paths).
    pub fn new(user: Vec<Rule>, homes: &[Vec<u8>]) -> Self {
        let mut rules = user;
        let built_in = rules.len();
        for (pattern, action, reason) in table::ROWS {
            for pattern in expand(pattern, homes) {
                rules.push(Rule { pattern, action: *action, reason: (*reason).to_owned() });
            }
        }
        let engines = rules.len();
        let unmatched =
            |action, reason: &str| Rule { pattern: Vec::new(), action, reason: reason.to_owned() };
        rules.extend(Engine::ALL.map(|engine| unmatched(Action::Volume, engine.reason())));
        rules.push(unmatched(Action::Withhold, "private key, known by its content"));
        let (by_first, elsewhere) = index(&rules[..engines]);
        Policy { rules, built_in, engines, by_first, elsewhere }
    }

    /// The rule with this number.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id as usize]
    }

    /// Whether the rule is the user's rather than a built-in one.
    pub fn is_users(&self, id: RuleId) -> bool {
        (id as usize) < self.built_in
    }

    /// The rule for a path; `inside` is that of the live database that the path lies in.
    pub fn for_path(&self, path: &[u8], inside: Option<RuleId>) -> Option<RuleId> {
        // The root itself is what all rules are about.
        if path.is_empty() {
            return None;
        }
        let original = COPY_ENDINGS.iter().find_map(|ending| path.strip_suffix(ending.as_bytes()));
        let matched = |ids: &[RuleId]| ids.iter().copied().find(|&id| self.rule(id).matches(path, original));
        let candidates = self.candidates(path);
        let (user, built_in) =
            candidates.split_at(candidates.partition_point(|&id| (id as usize) < self.built_in));
        matched(user).or(inside).or_else(|| matched(built_in))
    }

    /// The rules that may match, in order.
    fn candidates(&self, path: &[u8]) -> Cow<'_, [RuleId]> {
        match memchr::memchr(b'/', path) {
            Some(slash) => Cow::Borrowed(self.by_first.get(&path[..slash]).unwrap_or(&self.elsewhere)),
            // A copy at the top (`key.bak`) has another first component than the rule that withholds it.
            None => (0..self.engines as RuleId).collect::<Vec<_>>().into(),
        }
    }

    /// The rule for the data of this engine.
    pub fn for_engine(&self, engine: Engine) -> RuleId {
        (self.engines + engine as usize) as RuleId
    }

    /// The rule for a file whose content [`holds_private_key`].
    pub fn for_private_key(&self) -> RuleId {
        (self.engines + Engine::ALL.len()) as RuleId
    }
}

impl Rule {
    /// `--exclude GLOB`: what matches, and everything beneath it.
    pub fn exclude(glob: &str) -> Self {
        Rule { pattern: with_beneath(glob.as_bytes()), action: Action::Drop, reason: "--exclude".to_owned() }
    }

    /// An apt source that holds a password.
    pub fn apt_password(path: &[u8]) -> Self {
        let reason = "apt source with a password".to_owned();
        Rule { pattern: path.to_vec(), action: Action::Withhold, reason }
    }

    /// A file that gives a secret to a service.
    pub fn gives_secret(path: &[u8]) -> Self {
        let reason = "gives a secret to a service".to_owned();
        Rule { pattern: path.to_vec(), action: Action::Withhold, reason }
    }

    /// Whether the rule is about `path`, or withholds the file that `path` is a copy of.
    fn matches(&self, path: &[u8], original: Option<&[u8]>) -> bool {
        glob::matches(&self.pattern, path)
            || self.action == Action::Withhold
                && original.is_some_and(|path| glob::matches(&self.pattern, path))
    }
}

/// Parses a `--policy` file: a line is `ACTION PATTERN [REASON...]`, with `keep`, `drop`, `withhold` or `volume`;
/// `#` begins a comment. A space or other byte in a pattern is written `\xNN`, as all lists of the context do.
pub fn parse(text: &[u8], name: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let at = || format!("{name}, line {}", number + 1);
        let usage = |what: &str| {
            Error::new(Code::Usage, format!("{}: {what}", at()))
                .hint("a line is: keep|drop|withhold|volume PATTERN [REASON]")
        };
        let line = std::str::from_utf8(line).map_err(|_| usage("not UTF-8; write such bytes as \\xNN"))?;
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(word) = words.next() else { continue };
        let action = Action::from_word(word)
            .ok_or_else(|| usage(&format!("unknown action {}", escape::escape(word.as_bytes()))))?;
        let pattern = words.next().ok_or_else(|| usage("no pattern"))?;
        let pattern =
            escape::unescape(pattern).ok_or_else(|| usage("a backslash that is neither \\\\ nor \\xNN"))?;
        let reason: Vec<&str> = words.collect();
        let reason = if reason.is_empty() { at() } else { reason.join(" ") };
        rules.push(Rule { pattern: with_beneath(&pattern), action, reason });
    }
    Ok(rules)
}

/// Whether the beginning of a file shows a private key in PEM armour (RFC 7468, RFC 4716, OpenSSH, PGP).
pub fn holds_private_key(head: &[u8]) -> bool {
    memmem::find_iter(head, b"-----BEGIN ").any(|at| {
        let label = &head[at + 11..];
        let label = &label[..label.len().min(40)];
        let end = memmem::find(label, b"-----").map_or(label, |end| &label[..end]);
        memmem::find(end, b"PRIVATE KEY").is_some()
    })
}

/// A user's pattern, relative, for what it matches and everything beneath: who names a directory means what is in it.
fn with_beneath(pattern: &[u8]) -> Vec<u8> {
    let mut pattern = pattern.strip_prefix(b"/").unwrap_or(pattern).to_vec();
    if !pattern.ends_with(b"/") {
        pattern.push(b'/');
    }
    pattern
}

/// For every literal first component the rules with it and those that begin with a wildcard; and these alone.
fn index(rules: &[Rule]) -> (HashMap<Vec<u8>, Vec<RuleId>>, Vec<RuleId>) {
    let mut by_first: HashMap<Vec<u8>, Vec<RuleId>> = HashMap::new();
    let mut elsewhere = Vec::new();
    for (id, rule) in rules.iter().enumerate() {
        let first = rule.pattern.split(|&byte| byte == b'/').next().unwrap_or_default();
        match first.iter().any(|byte| b"*?[".contains(byte)) {
            true => elsewhere.push(id as RuleId),
            false => by_first.entry(first.to_vec()).or_default().push(id as RuleId),
        }
    }
    for ids in by_first.values_mut() {
        ids.extend(&elsewhere);
        ids.sort_unstable();
    }
    (by_first, elsewhere)
}

/// A row's pattern with `{a,b}` and `~/` written out.
fn expand(pattern: &str, homes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let patterns = match (pattern.find('{'), pattern.find('}')) {
        (Some(open), Some(close)) => {
            let (before, after) = (&pattern[..open], &pattern[close + 1..]);
            pattern[open + 1..close].split(',').map(|choice| format!("{before}{choice}{after}")).collect()
        }
        _ => vec![pattern.to_owned()],
    };
    let in_homes = |pattern: String| -> Vec<Vec<u8>> {
        match pattern.strip_prefix("~/") {
            Some(rest) => homes.iter().map(|home| tree::join(home, rest.as_bytes())).collect(),
            None => vec![pattern.into_bytes()],
        }
    };
    patterns.into_iter().flat_map(in_homes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(user: &str) -> Policy {
        let user = parse(user.as_bytes(), "rules").unwrap();
        Policy::new(user, &[b"root".to_vec(), b"home/*".to_vec()])
    }

    #[test]
    fn thousands_of_accounts_have_rules_of_their_own() {
        let homes: Vec<Vec<u8>> = (0..5000).map(|number| format!("home/u{number}").into_bytes()).collect();
        let policy = Policy::new(Vec::new(), &homes);
        for path in ["home/u0/.ssh/id_rsa", "home/u4999/.ssh/id_rsa", "home/u4999/.m2/settings.xml"] {
            let rule = policy.rule(policy.for_path(path.as_bytes(), None).unwrap());
            assert_eq!(rule.action, Action::Withhold, "{path}");
        }
        assert_eq!(policy.rule(policy.for_path(b"var/cache/apt/x", None).unwrap()).action, Action::DropFiles);
        assert_eq!(policy.rule(policy.for_private_key()).action, Action::Withhold);
    }

    #[test]
    fn built_in_rules_decide_by_path() {
        let policy = policy("");
        for (path, action) in [
            ("etc/nginx/nginx.conf", None),
            ("var/log/nginx/access.log", Some(Action::DropFiles)),
            ("etc/ssh/ssh_host_rsa_key.pub", Some(Action::Regenerate)),
            ("etc/ssh/sshd_config", None),
            ("root/.ssh/id_ed25519", Some(Action::Withhold)),
            ("home/eve/.ssh/id_rsa.bak", Some(Action::Withhold)),
            ("srv/.ssh/id_rsa", None),
            ("etc/letsencrypt/live/site/privkey.pem", Some(Action::Withhold)),
            ("etc/letsencrypt/renewal/site.conf", None),
            ("etc/shadow", Some(Action::Rewrite)),
            ("etc/shadow-", Some(Action::Drop)),
            ("boot", None),
            ("boot/vmlinuz-6.1", Some(Action::Drop)),
            ("", None),
        ] {
            let found = policy.for_path(path.as_bytes(), None).map(|id| policy.rule(id).action);
            assert_eq!(found, action, "{path}");
        }
    }

    #[test]
    fn user_rules_come_first_and_databases_before_the_table() {
        let policy = policy("keep /var/log/app/** wanted\n# a comment\ndrop /srv/two\\x20words/\n");
        let action =
            |path: &str, inside| policy.for_path(path.as_bytes(), inside).map(|id| policy.rule(id).action);
        assert_eq!(action("var/log/app/x", None), Some(Action::Keep));
        assert_eq!(action("srv/two words/x", None), Some(Action::Drop));
        let postgres = policy.for_engine(Engine::PostgreSql);
        assert_eq!(action("var/log/db/x", Some(postgres)), Some(Action::Volume));
        assert_eq!(action("var/log/app/x", Some(postgres)), Some(Action::Keep));
        assert!(policy.rule(postgres).reason.contains("PostgreSQL"));
        assert!(policy.rule(policy.for_private_key()).reason.contains("private key"));
    }

    #[test]
    fn excluding_a_directory_excludes_what_is_in_it() {
        let policy = Policy::new(vec![Rule::exclude("/srv/big"), Rule::exclude("/srv/*.iso")], &[]);
        for (path, excluded) in [
            ("srv/big", true),
            ("srv/big/a/b", true),
            ("srv/bigger", false),
            ("srv/x.iso", true),
            ("srv", false),
        ] {
            assert_eq!(policy.for_path(path.as_bytes(), None).is_some(), excluded, "{path}");
        }
    }

    #[test]
    fn the_index_hides_no_rule() {
        let policy = policy("withhold /secret\nkeep /s*/x/\ndrop /**/y\nkeep /srv/[a-c]\n");
        let names = [
            "secret",
            "secret.bak",
            "srv",
            "srv/b",
            "srv/y",
            "s/x/z",
            "etc/shadow",
            "etc/x.p12",
            "root/.netrc~",
            "q/y",
        ];
        for path in names.map(str::as_bytes) {
            let original = COPY_ENDINGS.iter().find_map(|ending| path.strip_suffix(ending.as_bytes()));
            let one_by_one =
                policy.rules[..policy.engines].iter().position(|rule| rule.matches(path, original));
            assert_eq!(
                policy.for_path(path, None).map(|id| id as usize),
                one_by_one,
                "{}",
                path.escape_ascii()
            );
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = parse(b"keep /a\nfrobnicate /b\n", "p.txt").unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.to_string().contains("p.txt, line 2"), "{error}");
        assert!(parse(b"drop", "p").is_err() && parse(b"drop \\q", "p").is_err());
    }

    #[test]
    fn private_keys_are_known_by_content() {
        assert!(holds_private_key(b"# mine\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"));
        assert!(holds_private_key(b"-----BEGIN PRIVATE KEY-----"));
        assert!(holds_private_key(b"-----BEGIN PGP PRIVATE KEY BLOCK-----"));
        assert!(!holds_private_key(b"-----BEGIN CERTIFICATE-----\nPRIVATE KEY"));
        assert!(!holds_private_key(b"-----BEGIN "));
    }
}
