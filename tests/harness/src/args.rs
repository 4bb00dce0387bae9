//! `--name value` pairs, flags, and the command after `--`.

use crate::Result;
use std::path::PathBuf;
use std::str::FromStr;

/// A sub-command's command line.
pub struct Args {
    options: Vec<(String, String)>,
    flags: Vec<String>,
    /// Words before `--` that are not options.
    pub words: Vec<String>,
    /// Words after `--`.
    pub command: Vec<String>,
}

impl Args {
    /// Parses `words`; every option takes a value but those in `flags`.
    pub fn parse(words: &[String], known: &[&str], flags: &[&str]) -> Result<Self> {
        let mut args =
            Args { options: Vec::new(), flags: Vec::new(), words: Vec::new(), command: Vec::new() };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match word.strip_prefix("--") {
                Some("") => args.command = rest.by_ref().cloned().collect(),
                Some(name) if flags.contains(&name) => args.flags.push(name.to_owned()),
                Some(name) if known.contains(&name) => {
                    let value = rest.next().ok_or_else(|| format!("--{name} takes a value"))?;
                    args.options.push((name.to_owned(), value.clone()));
                }
                Some(name) => return Err(format!("there is no --{name}").into()),
                None => args.words.push(word.clone()),
            }
        }
        Ok(args)
    }

    /// Every value of an option.
    pub fn all(&self, name: &str) -> Vec<String> {
        let given = self.options.iter().filter(|(option, _)| option == name);
        given.map(|(_, value)| value.clone()).collect()
    }

    /// The last value of an option.
    pub fn one(&self, name: &str) -> Option<String> {
        self.all(name).pop()
    }

    /// The same as a number or another thing that can be parsed.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: String| text.parse().map_err(|_| format!("--{name} {text}: not understood"));
        Ok(self.one(name).map(parse).transpose()?)
    }

    /// Every value of an option as a path.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        self.all(name).into_iter().map(PathBuf::from).collect()
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    /// The word in this place.
    pub fn word(&self, place: usize, what: &str) -> Result<PathBuf> {
        Ok(self.words.get(place).map(PathBuf::from).ok_or_else(|| format!("{what} is missing"))?)
    }
}
