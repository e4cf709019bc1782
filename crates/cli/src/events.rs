//! `tourmesh events`: what went wrong with events, and how to try again.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tourmesh_kit::events::{Broker, dead_letters};

use crate::{output, platform};

/// Look after events.
#[derive(Args)]
pub struct Events {
    #[command(subcommand)]
    action: Action,
    /// The data directory of a running `tourmesh up`; by default yours, or what TOURMESH_NATS_URL says.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// List the events that a consumer could not handle, oldest first.
    DeadLetters {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Show one of them whole.
    Show {
        /// Its number in the list.
        number: u64,
    },
    /// Hand one of them, or all, to their consumers once more. What took effect before takes none again.
    Replay {
        /// Its number in the list.
        #[arg(required_unless_present = "all")]
        number: Option<u64>,
        /// All of them.
        #[arg(long)]
        all: bool,
    },
}

impl Events {
    pub async fn run(self) -> anyhow::Result<()> {
        let env = platform::reach(self.data_dir.as_deref())?;
        let broker = Broker::of_env(&env).await?;
        match self.action {
            Action::DeadLetters { most } => {
                let letters = dead_letters::list(&broker, 0, most).await?;
                let rows = letters.iter().map(|l| {
                    vec![
                        l.sequence.to_string(),
                        l.time.to_rfc3339(),
                        l.consumer.clone(),
                        l.subject.clone(),
                        l.reason.clone(),
                    ]
                });
                print!("{}", output::table(&rows.collect::<Vec<_>>()));
                println!("{} dead letters", letters.len());
            }
            Action::Show { number } => {
                let letter = one(&broker, number).await?;
                println!("{} {}\n{}\n{}", letter.subject, letter.time.to_rfc3339(), letter.kind, letter.reason);
                println!("{}", hex::encode(&letter.payload));
            }
            Action::Replay { number, all } => {
                let letters = match number {
                    Some(number) => vec![one(&broker, number).await?],
                    None if all => dead_letters::list(&broker, 0, usize::MAX).await?,
                    None => Vec::new(),
                };
                for letter in &letters {
                    dead_letters::replay(&broker, letter).await?;
                    println!("{} {} replayed for {}", letter.sequence, letter.subject, letter.consumer);
                }
            }
        }
        Ok(())
    }
}

async fn one(broker: &Broker, number: u64) -> anyhow::Result<dead_letters::DeadLetter> {
    let found = dead_letters::list(broker, number, 1).await?;
    let letter = found.into_iter().next().context("there is no such dead letter")?;
    if letter.sequence != number {
        bail!("there is no dead letter {number}");
    }
    Ok(letter)
}
