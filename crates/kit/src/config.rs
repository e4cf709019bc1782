//! Typed settings from the environment, with defaults, help texts and errors that name the setting.
//!
//! A setting `HOLD_MINUTES` of the role `booking` is read from `TOURMESH_BOOKING_HOLD_MINUTES`, then from
//! `TOURMESH_HOLD_MINUTES`, then its default. A secret may also come from a file: `TOURMESH_BOOKING_DATABASE_URL_FILE`
//! holds the path. Each service lists its settings in a constant, from which help and documentation are printed.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use crate::steps::Faults;

/// One setting: the last part of its variable's name, its default and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Upper case with underscores, without the `TOURMESH_<ROLE>_` prefix.
    pub name: &'static str,
    /// Used when nothing is set; `None`: the setting is needed or optional, as the reader decides.
    pub default: Option<&'static str>,
    /// One sentence for a newcomer, with the unit.
    pub help: &'static str,
    /// Never printed or logged.
    pub secret: bool,
}

impl Setting {
    /// A setting with a default.
    pub const fn new(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, default: Some(default), help, secret: false }
    }
    /// A setting that has no default.
    pub const fn optional(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, help, secret: false }
    }
    /// A secret, which has no default.
    pub const fn secret(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, help, secret: true }
    }
}

/// A setting is missing or cannot be read; the message says which variable to set and how.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{variable}: {problem} ({help})")]
pub struct ConfigError {
    /// The full name of the variable.
    pub variable: String,
    /// What is wrong; never the value of a secret.
    pub problem: String,
    /// What the setting is for.
    pub help: String,
}

/// The environment as one role sees it: the process's own, or a map that a test or `tourmesh up` put together.
#[derive(Clone)]
pub struct Env {
    role: &'static str,
    variables: Arc<BTreeMap<String, String>>,
    faults: Faults,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("Env").field("role", &self.role).field("variables", &self.variables.len()).finish()
    }
}

impl Env {
    /// What the process was started with.
    pub fn of_process(role: &'static str) -> Self {
        Self::of(role, std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))))
    }

    /// Exactly these variables, under their full names.
    pub fn of(role: &'static str, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { role, variables: Arc::new(variables.into_iter().collect()), faults: Faults::default() }
    }

    /// The same variables as another role sees them.
    pub fn for_role(&self, role: &'static str) -> Self {
        Self { role, variables: self.variables.clone(), faults: self.faults.clone() }
    }

    /// The same with more variables, which win.
    pub fn with(&self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut variables = (*self.variables).clone();
        variables.extend(more);
        Self { role: self.role, variables: Arc::new(variables), faults: self.faults.clone() }
    }

    /// The same with these faults at its writes: for tests, and out of reach for whoever starts a process.
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { faults, ..self.clone() }
    }

    /// What stands at its writes.
    pub(crate) fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The role, such as `booking`.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// A variable by its full name, for those that are not ours (`OTEL_…`, `RUST_LOG`).
    pub fn foreign(&self, variable: &str) -> Option<&str> {
        self.variables.get(variable).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The setting's value, or its default.
    ///
    /// # Errors
    /// When it is neither set nor has a default, or does not parse.
    pub fn get<T>(&self, setting: &Setting) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional(setting)?.ok_or_else(|| self.error(setting, "is not set"))
    }

    /// The setting's value or default, `None` when there is neither.
    ///
    /// # Errors
    /// When it does not parse, or its file cannot be read.
    pub fn optional<T>(&self, setting: &Setting) -> Result<Option<T>, ConfigError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some(text) = self.text(setting)? else { return Ok(None) };
        text.parse().map(Some).map_err(|e: T::Err| {
            let shown = if setting.secret { "its value".to_owned() } else { format!("{text:?}") };
            self.error(setting, &format!("{shown} is not valid: {e}"))
        })
    }

    /// A failure of this setting that only its reader can see, such as two settings that contradict each other.
    pub fn error(&self, setting: &Setting, problem: &str) -> ConfigError {
        ConfigError {
            variable: format!("TOURMESH_{}_{}", self.role.to_uppercase(), setting.name),
            problem: problem.to_owned(),
            help: setting.help.to_owned(),
        }
    }

    fn text(&self, setting: &Setting) -> Result<Option<String>, ConfigError> {
        let own = format!("TOURMESH_{}_{}", self.role.to_uppercase(), setting.name);
        let shared = format!("TOURMESH_{}", setting.name);
        for name in [&own, &shared] {
            if let Some(value) = self.foreign(name) {
                return Ok(Some(value.to_owned()));
            }
            if let Some(path) = self.foreign(&format!("{name}_FILE")) {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| self.error(setting, &format!("cannot read its file {path}: {e}")))?;
                return Ok(Some(text.trim_end().to_owned()));
            }
        }
        Ok(setting.default.map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Setting = Setting::new("HOLD_MINUTES", "15", "How long seats are held, in minutes.");
    const SECRET: Setting = Setting::secret("MESH_SECRET", "Signs calls between services.");

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::of("booking", pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn a_roles_own_variable_wins_over_the_shared_one_and_the_default() {
        assert_eq!(env(&[]).get::<u32>(&HOLD).ok(), Some(15));
        assert_eq!(env(&[("TOURMESH_HOLD_MINUTES", "5")]).get::<u32>(&HOLD).ok(), Some(5));
        let both = env(&[("TOURMESH_HOLD_MINUTES", "5"), ("TOURMESH_BOOKING_HOLD_MINUTES", "7")]);
        assert_eq!(both.get::<u32>(&HOLD).ok(), Some(7));
    }

    #[test]
    fn an_error_names_the_variable_and_never_shows_a_secret() {
        let error = env(&[("TOURMESH_BOOKING_HOLD_MINUTES", "soon")]).get::<u32>(&HOLD).unwrap_err().to_string();
        assert!(error.contains("TOURMESH_BOOKING_HOLD_MINUTES") && error.contains("soon"), "{error}");
        let error = env(&[("TOURMESH_MESH_SECRET", "hunter2")]).get::<u32>(&SECRET).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
