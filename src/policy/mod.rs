//! Rules that exclude paths from the image, withhold them or make them volumes. Each rule has a
//! reason.
//!
//! Rules are tried in order and the first match wins: `--policy FILE`, then `--exclude`, then the
//! rules for files of live databases ([`databases`]), then the built-in [`table`]. Independently,
//! [`content`] detects secrets in files.

pub mod content;
mod copies;
mod databases;
pub mod line;
pub(crate) mod names;
mod table;

pub use copies::originals;
pub use databases::{Engine, Sign, signs};

use crate::error::{Code, Error, Result};
use crate::glob::GlobSet;
use crate::model::escape;
use std::sync::LazyLock;

/// Action for a path that a rule matches.
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
    /// Not in the image because it is secret and not needed there. Other names of the same file
    /// are withheld.
    DropSecret,
    /// Not in the image because it is live data: the directory is a volume.
    Volume,
    /// Not in the image because each machine has its own: generated again in the container.
    Regenerate,
    /// In the image with other content, derived from the machine's (see
    /// [`crate::pkg::dpkg::rewrite`]).
    Rewrite,
    /// Any content in the image: the container runtime mounts its own file over it.
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

/// A rule's place in the policy.
pub type RuleId = u32;

/// One row: which paths, what happens, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pattern: Vec<u8>,
    /// Action for a matching path.
    pub action: Action,
    /// Reason in English.
    pub reason: String,
}

/// All rules of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Rules before this one are the user's and beat what lies inside a database.
    built_in: usize,
    /// Where the rules for database engines stand.
    engines: usize,
    /// The patterns of all rules but those for engines.
    patterns: GlobSet,
}

impl Policy {
    /// Returns the user's rules, followed by the built-in ones for a machine with these home
    /// directories (relative paths).
    pub fn new(user: Vec<Rule>, homes: &[Vec<u8>]) -> Self {
        let mut rules = user;
        let built_in = rules.len();
        let mut patterns = GlobSet::new(rules.iter().map(|rule| &*rule.pattern));
        homes.iter().for_each(|home| patterns.share(home));
        for (pattern, action, reason) in table::ROWS {
            for pattern in expand(pattern) {
                let id = rules.len() as RuleId;
                match pattern.strip_prefix("~/") {
                    Some(pattern) => patterns.insert_shared(pattern.as_bytes(), id),
                    None => patterns.insert(pattern.as_bytes(), id),
                }
                let pattern = pattern.into_bytes();
                rules.push(Rule { pattern, action: *action, reason: (*reason).to_owned() });
            }
        }
        let engines = rules.len();
        let unmatched =
            |action, reason: &str| Rule { pattern: Vec::new(), action, reason: reason.to_owned() };
        rules.extend(Engine::ALL.map(|engine| unmatched(Action::Volume, engine.reason())));
        Policy { rules, built_in, engines, patterns }
    }

    /// The rule with this number.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id as usize]
    }

    /// Whether the rule is the user's rather than a built-in one.
    pub fn is_users(&self, id: RuleId) -> bool {
        (id as usize) < self.built_in
    }

    /// Returns the rule for a path. `inside` is the rule of the live database that contains the
    /// path.
    pub fn for_path(&self, path: &[u8], inside: Option<RuleId>) -> Option<RuleId> {
        // No rule applies to the root directory.
        if path.is_empty() {
            return None;
        }
        let first = self.patterns.first(path, |_| true);
        // A copy of a secret is a secret.
        let keeps_secret = |id| matches!(self.rule(id).action, Action::Withhold | Action::DropSecret);
        let of_originals = copies::originals(path);
        let of_originals =
            of_originals.iter().filter_map(|original| self.patterns.first(original, keeps_secret));
        match of_originals.chain(first).min() {
            Some(id) if self.is_users(id) => Some(id),
            built_in => inside.filter(|_| !databases::is_package_managers(path)).or(built_in),
        }
    }

    /// Returns the built-in rule that withholds or drops the secret at this path.
    pub fn for_secret(&self, path: &[u8]) -> Option<RuleId> {
        let is_secret = |id: &RuleId| matches!(self.rule(*id).action, Action::Withhold | Action::DropSecret);
        self.for_path(path, None).filter(|id| is_secret(id) && !self.is_users(*id))
    }

    /// Returns the rule for the data of this engine.
    pub fn for_engine(&self, engine: Engine) -> RuleId {
        (self.engines + engine as usize) as RuleId
    }
}

impl Rule {
    /// Returns the rule of `--exclude GLOB`: for each match, and everything below it.
    pub fn exclude(glob: &str) -> Self {
        Rule { pattern: with_beneath(glob.as_bytes()), action: Action::Drop, reason: "--exclude".to_owned() }
    }

    /// Returns the rule for a configuration file of repositories that contains a password.
    pub fn repository_password(path: &[u8]) -> Self {
        let reason = "repository configuration with a password".to_owned();
        Rule { pattern: line::literal(path), action: Action::Withhold, reason }
    }

    /// Returns the rule for a swap file, which holds memory of the machine.
    pub fn swap_file(path: &[u8]) -> Self {
        Rule { pattern: line::literal(path), action: Action::Drop, reason: "swap space".to_owned() }
    }

    /// Returns the rule for what is in a container engine's storage directory.
    pub fn container_storage(directory: &[u8]) -> Self {
        let reason = table::CONTAINERS.to_owned();
        Rule { pattern: [&line::literal(directory)[..], b"/**"].concat(), action: Action::Drop, reason }
    }

    /// Returns the rule for a file or directory that provides secrets to a service.
    pub fn gives_secret(path: &[u8]) -> Self {
        let reason = "gives a secret to a service".to_owned();
        // The pattern of a directory matches what is below it, and that of a file the file.
        let pattern = [&line::literal(path)[..], b"/"].concat();
        Rule { pattern, action: Action::Withhold, reason }
    }
}

/// Parses a `--policy` file. A line is `ACTION PATTERN [REASON...]`, with the action `keep`,
/// `drop`, `withhold` or `volume`. `#` starts a comment. A space or another byte in a pattern is
/// written as `\xNN`, as in all lists of the context.
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

/// Returns the built-in table: pattern, action, reason. In a pattern (see [`crate::glob`]),
/// `{a,b}` matches either, and `~/` every home directory.
pub fn rows() -> &'static [(&'static str, Action, &'static str)] {
    table::ROWS
}

/// Whether the path is a configuration file that passes passwords to programs, or a copy of one. In
/// such a file, a value with the name of a password is a password.
pub fn is_configuration(path: &[u8]) -> bool {
    static PATTERNS: LazyLock<GlobSet> = LazyLock::new(|| {
        let patterns: Vec<String> = table::CONFIGURATION.iter().flat_map(|pattern| expand(pattern)).collect();
        GlobSet::new(patterns.iter().map(String::as_bytes))
    });
    let is_listed = |path: &[u8]| PATTERNS.first(path, |_| true).is_some();
    is_listed(path) || copies::originals(path).iter().any(|original| is_listed(original))
}

/// Returns a user's pattern as a relative one that also matches everything below. A pattern for a
/// directory includes its contents.
fn with_beneath(pattern: &[u8]) -> Vec<u8> {
    let mut pattern = pattern.strip_prefix(b"/").unwrap_or(pattern).to_vec();
    if !pattern.ends_with(b"/") {
        pattern.push(b'/');
    }
    pattern
}

/// A row's pattern with `{a,b}` written out.
fn expand(pattern: &str) -> Vec<String> {
    match (pattern.find('{'), pattern.find('}')) {
        (Some(open), Some(close)) => {
            let (before, after) = (&pattern[..open], &pattern[close + 1..]);
            pattern[open + 1..close].split(',').map(|choice| format!("{before}{choice}{after}")).collect()
        }
        _ => vec![pattern.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob;

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
            ("root/.ssh/id_ed25519.pub", Some(Action::Keep)),
            ("home/eve/.ssh/id_rsa-cert.pub", Some(Action::Keep)),
            ("home/eve/.ssh/id_rsa.bak", Some(Action::Withhold)),
            ("srv/.ssh/id_rsa", None),
            ("etc/letsencrypt/live/site/privkey.pem", Some(Action::Withhold)),
            ("etc/letsencrypt/renewal/site.conf", None),
            ("etc/shadow", Some(Action::Rewrite)),
            ("etc/shadow-", Some(Action::DropSecret)),
            ("etc/shadow.20240131", Some(Action::Withhold)),
            ("root/.ssh/.id_rsa.swp", Some(Action::Withhold)),
            ("root/.bash_history.1", Some(Action::DropSecret)),
            ("etc/openvpn", None),
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
        let sqlite = policy.for_engine(Engine::Sqlite);
        for name in ["rpmdb.sqlite", "rpmdb.sqlite-wal", "rpmdb.sqlite-shm"] {
            assert_eq!(action(&format!("var/lib/rpm/{name}"), Some(sqlite)), None, "{name}");
        }
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
    fn for_path_equals_linear_search() {
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
            "var/lib/dbus/machine-id",
            "var/lib/cloud",
            "var/cache/apt/x",
            "etc/apt/auth.conf.bak",
            "etc/ssl/private.old",
            "var/log",
            "home/eve/.ssh/id_rsa~",
            "home/eve/.cache/x",
            "root/.config/gh/hosts.yml",
        ];
        for path in names.map(str::as_bytes) {
            let is_match = |pattern: &[u8], path: &[u8]| {
                let patterns = match pattern.strip_prefix(b"~/") {
                    Some(rest) => ["root/", "home/*/"].map(|home| [home.as_bytes(), rest].concat()).to_vec(),
                    None => vec![pattern.to_vec()],
                };
                patterns.iter().any(|pattern| {
                    let beneath = pattern.strip_suffix(b"/").map(|directory| [directory, b"/**"].concat());
                    glob::matches(pattern.strip_suffix(b"/").unwrap_or(pattern), path)
                        || beneath.is_some_and(|beneath| glob::matches(&beneath, path))
                })
            };
            let one_by_one = policy.rules[..policy.engines].iter().position(|rule| {
                is_match(&rule.pattern, path)
                    || matches!(rule.action, Action::Withhold | Action::DropSecret)
                        && copies::originals(path).iter().any(|original| is_match(&rule.pattern, original))
            });
            assert_eq!(
                policy.for_path(path, None).map(|id| id as usize),
                one_by_one,
                "{}",
                path.escape_ascii()
            );
        }
    }

    #[test]
    fn parse_invalid_line_returns_its_number() {
        let error = parse(b"keep /a\nfrobnicate /b\n", "p.txt").unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.to_string().contains("p.txt, line 2"), "{error}");
        assert!(parse(b"drop", "p").is_err() && parse(b"drop \\q", "p").is_err());
    }
}
