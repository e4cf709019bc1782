//! `tourmesh test`: all checks of the source tree, one after the other, with a table at the end.
//!
//! A check that cannot run here (no Go for the chart tools, no network for the advisories) says so in the table and does
//! not count as passed. What fails makes the exit code 1, after everything else has run as well.

mod chart;
mod tools;

use std::{path::Path, time::Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tokio::process::Command;

use crate::output;

/// Run all checks and tests of the source tree.
///
/// In the order of the list below. Tests run on real engines, which are installed into the cache directory on first use.
#[derive(Args)]
pub struct Test {
    /// Only these checks.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Check>,
    /// The long profiles of the tests: more rounds of killing, more buyers.
    #[arg(long)]
    long: bool,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Formatting: cargo fmt --check.
    Fmt,
    /// Lints, warnings are errors: cargo clippy.
    Clippy,
    /// All tests: cargo test.
    Test,
    /// Documentation without warnings: cargo doc.
    Doc,
    /// The API's style: buf lint.
    Proto,
    /// The Helm chart: helm lint, helm template, kubeconform.
    Chart,
    /// The container files: hadolint on the Dockerfile, compose-go on compose.yaml.
    Containers,
    /// Licences, sources, known vulnerabilities: cargo deny.
    Deny,
}

/// How a check went.
enum Outcome {
    Passed,
    Failed(String),
    NotChecked(String),
}

impl Test {
    pub async fn run(self) -> anyhow::Result<()> {
        if !Path::new("Cargo.lock").exists() || !Path::new("proto/buf.yaml").exists() {
            bail!("run this in the root of the source tree");
        }
        let checks = if self.only.is_empty() { Check::value_variants().to_vec() } else { self.only.clone() };
        let mut rows = Vec::new();
        let mut failed = 0;
        let begun = Instant::now();
        for check in checks {
            let name = check.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
            println!("\n=== {name}");
            let at = Instant::now();
            let outcome = self.check(check).await.unwrap_or_else(|e| Outcome::Failed(format!("{e:#}")));
            let text = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::NotChecked(why) => format!("NOT CHECKED: {why}"),
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
            };
            println!("=== {name}: {text}");
            rows.push(vec![name, format!("{} s", at.elapsed().as_secs()), text]);
        }
        println!("\n{}\n  {} s in all", output::table(&rows), begun.elapsed().as_secs());
        if failed > 0 {
            bail!("{failed} of the checks failed");
        }
        Ok(())
    }

    async fn check(&self, check: Check) -> anyhow::Result<Outcome> {
        match check {
            Check::Fmt => run("cargo", &["fmt", "--all", "--check"], &[]).await,
            Check::Clippy => {
                run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[]).await
            }
            Check::Test => {
                let long: &[(&str, &str)] = if self.long { &[("TOURMESH_TEST_LONG", "1")] } else { &[] };
                run("cargo", &["test", "--workspace", "--locked", "--no-fail-fast"], long).await
            }
            Check::Doc => {
                run("cargo", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")]).await
            }
            Check::Proto => tools::buf().await,
            Check::Chart => chart::chart().await,
            Check::Containers => tools::containers().await,
            Check::Deny => tools::deny().await,
        }
    }
}

/// Runs a program with the terminal's own output.
async fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .await
        .with_context(|| format!("cannot run {program}"))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(format!("{program} ended with {status}")) })
}
