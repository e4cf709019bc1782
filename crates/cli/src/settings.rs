//! The page of all settings, made from what the roles declare, and what a variable's name means: nothing that is not a
//! setting may be promised by the ways to ship the mesh.

use std::fmt::Write as _;

use tourmesh_kit::{auth, chassis, config::Setting, db, events::broker, server};

use crate::roles::{ALL, Role};

/// What a process reads for all of its roles.
const PROCESS: [Setting; 5] = [
    Setting::new("TOURMESH_LOG_FORMAT", "json", "How log lines look: json or pretty."),
    Setting::new("RUST_LOG", "info", "Which log lines there are, as directives of the crate tracing-subscriber."),
    Setting::optional(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Where traces, metrics and logs go: a collector (OTLP over gRPC) such as http://otel-collector:4317. Not set: nowhere.",
    ),
    Setting::new("OTEL_TRACES_SAMPLER", "parentbased_always_on", "Which traces are recorded."),
    Setting::optional("OTEL_TRACES_SAMPLER_ARG", "The share of traces that a ratio sampler keeps, 0 to 1."),
];

const HEAD: &str = "# Settings

Made from what the roles declare, by `cargo mesh serve --settings-page > docs/settings.md`; a test holds the two together.
`cargo mesh serve booking --settings` prints those of one role.

Everything comes from the environment. A setting `NAME` of the role `booking` is read from `TOURMESH_BOOKING_NAME`, then from
`TOURMESH_NAME`, which counts for all roles, then from its default; empty is as good as not set. The name with `_FILE` at its
end says which file holds the value, as is usual for secrets: they are marked *secret*, never printed and never logged. A
setting without a default is optional, or its text says when it is needed. A role that finds a setting missing or wrong does
not start, and names it.

In compose.yaml and in the chart's values the usual ones have names of their own; the others are set by the full name
(`defaults.env` and `roles.<role>.env` in the chart).
";

/// docs/settings.md.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, "The process", "", &PROCESS.iter().collect::<Vec<_>>());
    let every: Vec<_> = server::SETTINGS.iter().chain(auth::SETTINGS).collect();
    section(&mut page, "Every role", "TOURMESH_", &every);
    let peers: Vec<_> = chassis::PEERS.iter().map(|(_, setting)| setting).collect();
    section(&mut page, "Where the roles are, for each other", "TOURMESH_", &peers);
    let data: Vec<_> = db::SETTINGS.iter().chain(broker::SETTINGS).collect();
    section(&mut page, "Every role that keeps data: all but the gateway", "TOURMESH_", &data);
    for role in ALL {
        let title = format!("{}: {}", role.name(), role.task());
        section(
            &mut page,
            &title,
            &format!("TOURMESH_{}_", role.name().to_uppercase()),
            &role.own_settings().collect::<Vec<_>>(),
        );
    }
    page
}

fn section(page: &mut String, title: &str, prefix: &str, settings: &[&Setting]) {
    // Writing into a String cannot fail.
    let _ = write!(page, "\n## {title}\n\n| variable | default | what it is for |\n|---|---|---|\n");
    for setting in settings {
        let default = match (setting.default, setting.secret) {
            (Some(""), _) | (None, false) => String::new(),
            (Some(default), _) => format!("`{}`", cell(default)),
            (None, true) => "*secret*".to_owned(),
        };
        let _ = writeln!(page, "| `{prefix}{}` | {default} | {} |", setting.name, cell(setting.help));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Whether a variable says something to this role, or by its shared name to any. `None`: whether it says something to one.
pub fn is_read(variable: &str, by: Option<Role>) -> bool {
    let name = variable.strip_suffix("_FILE").unwrap_or(variable);
    let Some(rest) = name.strip_prefix("TOURMESH_") else { return true };
    let shared = || ALL.into_iter().flat_map(Role::settings).any(|setting| setting.name == rest);
    let own = |role: Role| {
        let rest = rest.strip_prefix(&role.name().to_uppercase()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| role.settings().iter().any(|setting| setting.name == rest))
    };
    PROCESS.iter().any(|setting| setting.name == name)
        || shared()
        || ALL.into_iter().filter(|role| by.is_none_or(|by| by == *role)).any(own)
}

/// The variables of ours in a text, each once.
pub fn variables(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut found: Vec<&str> = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("TOURMESH_")).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use serde_yaml_ng::Value;

    use super::*;

    fn root(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
    }

    fn read(path: &str) -> String {
        fs::read_to_string(root(path)).unwrap()
    }

    fn files(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, all) } else { all.push(path) }
        }
    }

    #[test]
    fn the_page_of_settings_is_up_to_date() {
        let remedy = "run `cargo mesh serve --settings-page > docs/settings.md`";
        assert!(read("docs/settings.md") == page(), "docs/settings.md is not what the roles declare: {remedy}");
    }

    #[test]
    fn every_setting_that_the_code_has_is_declared_by_its_role() {
        let mut sources = Vec::new();
        for dir in ["services", "crates/kit/src"] {
            files(&root(dir), &mut sources);
        }
        let mut seen = 0;
        for path in sources.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).unwrap();
            // Tests make settings up.
            let code = text.split("#[cfg(test)]").next().unwrap();
            let role = ALL.into_iter().find(|role| path.starts_with(root(&format!("services/{}/src", role.name()))));
            for way in ["Setting::new(", "Setting::optional(", "Setting::secret("] {
                for after in code.split(way).skip(1) {
                    let Some(name) = after.trim_start().strip_prefix('"').and_then(|text| text.split('"').next())
                    else {
                        continue;
                    };
                    let declared = ALL
                        .into_iter()
                        .filter(|one| role.is_none_or(|role| role == *one))
                        .any(|role| role.settings().iter().any(|setting| setting.name == name));
                    assert!(declared, "{} has {name}, which no list of settings has", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 60, "only {seen} settings were found");
    }

    #[test]
    fn every_variable_of_the_compose_file_is_a_setting_of_its_role() {
        let mut compose: Value = serde_yaml_ng::from_str(&read("compose.yaml")).unwrap();
        compose.apply_merge().unwrap();
        let services = compose["services"].as_mapping().unwrap();
        let mut roles = Vec::new();
        for (service, it) in services {
            let service = service.as_str().unwrap();
            let command: Vec<&str> =
                it["command"].as_sequence().into_iter().flatten().filter_map(Value::as_str).collect();
            let role = match command[..] {
                ["serve", role] => ALL.into_iter().find(|r| r.name() == role),
                ["migrate" | "seed"] => None,
                // Somebody else's program.
                _ => continue,
            };
            roles.extend(role);
            for (variable, _) in it["environment"].as_mapping().unwrap() {
                let variable = variable.as_str().unwrap();
                assert!(is_read(variable, role), "{service}: {variable} is no setting of it");
            }
        }
        assert_eq!(roles, ALL);
        // Tickets that notification signs are scanned by booking.
        let voucher = |role: &str| {
            let variable = format!("TOURMESH_{}_VOUCHER_SECRET", role.to_uppercase());
            compose["services"][role]["environment"][variable.as_str()].as_str().unwrap().to_owned()
        };
        assert_eq!(voucher("booking"), voucher("notification"));
    }

    #[test]
    fn every_variable_of_the_chart_and_the_documents_is_a_setting() {
        let mut paths = vec![root("helm/values.yaml"), root("README.md"), root("deploy/README.md")];
        files(&root("helm/templates"), &mut paths);
        files(&root("helm/ci"), &mut paths);
        let mut seen = 0;
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            for role in ALL {
                // What the templates make for each role; whether it is there for this one is the roles' own table.
                let upper = role.name().to_uppercase();
                let text =
                    text.replace("{{ upper $role }}", &upper).replace("TOURMESH_%s_", &format!("TOURMESH_{upper}_"));
                for variable in variables(&text) {
                    let is_template = text.contains(&format!("printf \"{variable}"));
                    let keeps_nothing = role == Role::Gateway && variable.starts_with("TOURMESH_GATEWAY_");
                    let known = is_read(variable, None) || is_template || keeps_nothing || variable == "TOURMESH_";
                    assert!(known, "{}: {variable} is no setting", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 100, "only {seen} variables were found");
    }

    #[test]
    fn a_variable_that_is_misspelt_or_another_roles_is_found() {
        assert!(is_read("TOURMESH_BOOKING_HOLD_SECONDS", Some(Role::Booking)));
        assert!(is_read("TOURMESH_HOLD_SECONDS", Some(Role::Booking)));
        assert!(is_read("TOURMESH_BOOKING_DATABASE_URL_FILE", Some(Role::Booking)));
        assert!(is_read("TOURMESH_LOG_FORMAT", Some(Role::Booking)) && is_read("RUST_LOG", None));
        assert!(!is_read("TOURMESH_BOOKING_HOLD_SECONDS", Some(Role::Payment)));
        assert!(!is_read("TOURMESH_BOOKING_HOLD_MINUTES", None));
        assert!(!is_read("TOURMESH_GATEWAY_DATABASE_URL", None));
    }
}
