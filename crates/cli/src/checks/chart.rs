//! The Helm chart: lint, render with every set of example values, check against the schemas of two Kubernetes versions.

use std::{fs, path::Path};

use anyhow::Context as _;
use tokio::process::Command;

use super::{Outcome, run, tools};
use crate::settings;

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
const KUBECONFORM: &str = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0";
/// The oldest and the newest Kubernetes that the chart is for; the schemas of both are in the Python package.
const KUBERNETES: [&str; 2] = ["1.30.0", "1.37.0"];
const SCHEMAS: (&str, &str) = ("kubernetes-validate", "1.37.0");
/// Kinds that a cluster has only with an operator or gateway installed; their schemas are not Kubernetes' own.
const FOREIGN: &str = "ServiceMonitor,HTTPRoute";

/// The whole check.
pub async fn chart() -> anyhow::Result<Outcome> {
    let (Some(helm), Some(kubeconform)) =
        (tools::go_tool(HELM, "helm").await?, tools::go_tool(KUBECONFORM, "kubeconform").await?)
    else {
        return Ok(Outcome::NotChecked("helm and kubeconform are installed with Go, which is not here".to_owned()));
    };
    let Some(schemas) = schemas().await? else {
        return Ok(Outcome::NotChecked("the schemas of Kubernetes cannot be installed with pip".to_owned()));
    };
    let (helm, kubeconform) = (helm.display().to_string(), kubeconform.display().to_string());
    let location =
        format!("{schemas}/{{{{.NormalizedKubernetesVersion}}}}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json");
    for values in fs::read_dir("helm/ci").context("helm/ci is missing")? {
        let values = values?.path().display().to_string();
        let linted = run(&helm, &["lint", "--strict", "helm", "-f", &values], &[]).await?;
        if !matches!(linted, Outcome::Passed) {
            return Ok(linted);
        }
        for version in KUBERNETES {
            let rendered = Command::new(&helm)
                .args(["template", "tourmesh", "helm", "-f", &values, "--kube-version", version])
                .output()
                .await?;
            if !rendered.status.success() {
                return Ok(Outcome::Failed(String::from_utf8_lossy(&rendered.stderr).into_owned()));
            }
            let text = String::from_utf8_lossy(&rendered.stdout);
            let variables = settings::variables(&text);
            let unknown: Vec<_> = variables.into_iter().filter(|name| !settings::is_read(name, None)).collect();
            if !unknown.is_empty() {
                return Ok(Outcome::Failed(format!("no role has these settings: {}", unknown.join(", "))));
            }
            let manifest = format!("{schemas}/rendered.yaml");
            fs::write(&manifest, &rendered.stdout)?;
            let arguments = [
                "-strict",
                "-summary",
                "-kubernetes-version",
                version,
                "-skip",
                FOREIGN,
                "-schema-location",
                &location,
                &manifest,
            ];
            let checked = run(&kubeconform, &arguments, &[]).await?;
            if !matches!(checked, Outcome::Passed) {
                return Ok(checked);
            }
        }
    }
    // A chart that accepts everything would pass all of the above.
    let misspelt =
        ["template", "tourmesh", "helm", "-f", "helm/ci/laptop-values.yaml", "--set", "roles.bookings.replicas=3"];
    if Command::new(&helm).args(misspelt).output().await?.status.success() {
        return Ok(Outcome::Failed("the chart accepts a role that does not exist".to_owned()));
    }
    Ok(Outcome::Passed)
}

/// The schemas in the form that kubeconform reads: the package's own refer to each other by a path on its server.
async fn schemas() -> anyhow::Result<Option<String>> {
    let Some(package) = tools::python_package(SCHEMAS.0, SCHEMAS.1).await? else { return Ok(None) };
    let out = package.join("kubeconform");
    for version in KUBERNETES {
        let (from, to) = (
            package.join(format!("kubernetes_validate/kubernetes-json-schema/v{version}-local-strict")),
            out.join(format!("v{version}")),
        );
        if to.is_dir() {
            continue;
        }
        let part = out.join(format!("v{version}.part"));
        fs::create_dir_all(&part)?;
        for file in fs::read_dir(&from).with_context(|| format!("the package has no schemas of {version}"))? {
            let path = file?.path();
            if let Some(name) = path.file_name().filter(|_| path.extension() == Some("json".as_ref())) {
                prepare(&path, &part.join(name))?;
            }
        }
        fs::rename(&part, &to)?;
    }
    Ok(Some(out.display().to_string()))
}

fn prepare(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(from)?.replace("\"/api/_definitions.json#", "\"_definitions.json#");
    let mut schema: serde_json::Value = serde_json::from_str(&text)?;
    if let Some(object) = schema.as_object_mut() {
        object.remove("$id");
    }
    Ok(fs::write(to, serde_json::to_vec(&schema)?)?)
}
