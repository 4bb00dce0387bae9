//! Determines the environment and the working directory of a service.

use super::command::Run;
use super::model::{Variable, is_plain};
use super::script::{EnvironmentFile, EnvironmentSource};
use super::secrets::secret_in_variable;
use super::service_files::ServiceFiles;
use super::survey::{Candidate, Survey};
use crate::detect::accounts;
use crate::detect::units::environment::{self, Variables};
use crate::model::escape;

/// Prefixes of variables that belong to a login session, not to the service started in it.
const SESSION_PREFIXES: &[&str] = &[
    "COLORTERM",
    "DBUS_",
    "DESKTOP_",
    "DISPLAY",
    "EDITOR",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LESS",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PS1",
    "PWD",
    "SHLVL",
    "SSH_",
    "STY",
    "SUDO_",
    "TERM",
    "TMUX",
    "VM2DOCKER_",
    "WAYLAND_",
    "WINDOWID",
    "XAUTHORITY",
    "XDG_",
    "_",
];

impl Run {
    /// Sets variables, environment files, umask and working directory.
    pub(super) fn environment(
        &mut self,
        candidate: &Candidate<'_>,
        survey: &Survey<'_>,
        service_files: &ServiceFiles<'_>,
    ) {
        let Some(service) = &candidate.service else { return self.environment_without_unit(candidate) };
        let settings = &service.settings;
        // 0022 is the default in units and in containers (systemd.exec(5)).
        self.script.umask = settings.umask.filter(|umask| *umask != 0o022);
        for (name, value) in settings.directory_variables() {
            self.set(name.as_bytes(), &value);
        }
        for (name, value) in settings.environment.iter() {
            self.set(name, value);
        }
        for file in &settings.environment_files {
            self.environment_file(file, service_files);
        }
        for what in &settings.unset_environment {
            self.unset(what);
        }
        let directory = settings.working_directory.as_ref().map(|directory| match &directory.path {
            Some(path) => path.clone(),
            None => {
                let user = settings.user.as_deref().and_then(|name| survey.accounts.user(name));
                user.map_or_else(|| b"/root".to_vec(), |user| user.home.clone())
            }
        });
        self.set_directory(directory);
    }

    /// Sets variables and working directory from another service manager, or from the process.
    fn environment_without_unit(&mut self, candidate: &Candidate<'_>) {
        if let Some(other) = &candidate.other {
            for (name, value) in other.environment.iter() {
                self.set(name, value);
            }
            return self.set_directory(other.directory.clone());
        }
        for (name, value) in candidate.main().into_iter().flat_map(|process| process.environ.variables()) {
            if !SESSION_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes())) {
                self.set(name, value);
            }
        }
        let cwd = candidate.main().and_then(|process| process.cwd.as_deref());
        self.set_directory(cwd.filter(|cwd| *cwd != b"/").map(<[u8]>::to_vec));
    }

    /// Sets the variables of an environment file, or of all files that match its pattern.
    ///
    /// The entry script contains the values. Only a file with a secret is read when the container
    /// starts, because the script is in the image.
    fn environment_file(&mut self, file: &environment::EnvironmentFile, service_files: &ServiceFiles<'_>) {
        let root = service_files.root;
        let paths = file.paths(root);
        if paths.is_empty() && !file.optional {
            self.unusable_files.push(([b"/", &file.path[..]].concat(), "it does not exist".to_owned()));
        }
        for relative in paths {
            let path = [b"/", &accounts::real(root, &relative)[..]].concat();
            self.environment_paths.push(path.clone());
            let variables = match environment::read(root, &relative) {
                Ok(variables) => variables,
                Err(_) if service_files.is_withheld(&path) => Variables::default(),
                Err(_) if file.optional => continue,
                Err(cause) => {
                    self.unusable_files.push((path, cause.to_string()));
                    continue;
                }
            };
            let has_secret = variables.iter().any(|(name, value)| secret_in_variable(name, value).is_some());
            for (name, _) in variables.iter() {
                // The file overrides a secret of Environment=.
                self.script.required.retain(|required| required.as_str().as_bytes() != name);
            }
            if has_secret || service_files.is_withheld(&path) {
                let file = EnvironmentFile { path, optional: file.optional, is_shell: false };
                self.script.environment_sources.push(EnvironmentSource::File(file));
                continue;
            }
            let variables = variables.iter().filter_map(|(name, value)| {
                Some(EnvironmentSource::Variable(Variable::new(name)?, value.to_vec()))
            });
            self.script.environment_sources.extend(variables);
        }
    }

    /// Removes a variable that is `NAME`, or `NAME=value` if it has this value
    /// (`UnsetEnvironment=`).
    fn unset(&mut self, what: &[u8]) {
        let (name, value) = match memchr::memchr(b'=', what) {
            Some(at) => (&what[..at], Some(&what[at + 1..])),
            None => (what, None),
        };
        let is_meant = |variable: &Variable, current: &[u8]| {
            variable.as_str().as_bytes() == name && value.is_none_or(|value| value == current)
        };
        self.environment.retain(|variable, current| !is_meant(variable, current));
        self.script.environment.retain(|variable, current| !is_meant(variable, current));
        self.script.environment_sources.retain(|source| match source {
            EnvironmentSource::Variable(variable, current) => !is_meant(variable, current),
            EnvironmentSource::File(_) => true,
        });
    }

    /// Sets the working directory in the image if it is plain, otherwise in the script.
    fn set_directory(&mut self, directory: Option<Vec<u8>>) {
        match directory {
            Some(path) if is_plain(&path) => self.directory = Some(path),
            other => self.script.directory = other,
        }
    }

    /// Adds a variable to the image or the script, or requires it at start if its value is
    /// secret.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        let Some(variable) = Variable::new(name) else {
            return self.notes.push(format!(
                "a variable is left out, because its name is invalid: {}",
                escape::escape(name)
            ));
        };
        if secret_in_variable(name, value).is_some() {
            self.script.required.push(variable);
        } else if is_plain(value) {
            self.environment.insert(variable, value.to_vec());
        } else {
            self.script.environment.insert(variable, value.to_vec());
        }
    }
}
