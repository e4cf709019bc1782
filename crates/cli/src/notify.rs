//! `tourmesh notify`: what people get to read.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tourmesh_notification::{
    domain::message::{Kind, Language},
    preview,
};

use crate::output;

/// Look at messages.
#[derive(Args)]
pub struct Notify {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write a message about a booking that never was: text, HTML, the short form for telephones, ticket, calendar entry
    /// and the whole e-mail. The QR codes open no door.
    Preview {
        /// Which one, such as booking_confirmed; "all": every one.
        message: String,
        /// "en" or "fr"; by default both.
        #[arg(long)]
        language: Option<String>,
        /// Where the files go.
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
}

impl Notify {
    pub async fn run(self) -> anyhow::Result<()> {
        let Action::Preview { message, language, out } = self.action;
        let kinds: Vec<Kind> = match message.as_str() {
            "all" => Kind::ALL.to_vec(),
            name => Kind::of_str(&name.to_uppercase()).into_iter().collect(),
        };
        if kinds.is_empty() {
            let names: Vec<String> = Kind::ALL.iter().map(|k| k.as_str().to_lowercase()).collect();
            bail!("there is no message {message:?}; there are {}, and all", names.join(", "));
        }
        let languages: Vec<Language> = match language.as_deref() {
            None => Language::ALL.to_vec(),
            Some(text) => vec![Language::of_str(text).with_context(|| format!("{text:?} is neither en nor fr"))?],
        };
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let mut rows = Vec::new();
        for kind in kinds {
            for language in &languages {
                for file in preview::files(kind, *language)? {
                    let path = out.join(&file.name);
                    std::fs::write(&path, &file.content).with_context(|| format!("cannot write {}", path.display()))?;
                    rows.push(vec![file.content.len().to_string(), path.display().to_string()]);
                }
            }
        }
        print!("{}", output::table(&rows));
        Ok(())
    }
}
