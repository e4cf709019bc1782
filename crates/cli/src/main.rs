//! The one binary of tourmesh: `tourmesh up` runs the whole mesh on one machine, `tourmesh serve booking` one role of it.
//!
//! It promises that every command says what it does in its `--help`, that what goes wrong is told with the setting that
//! mends it, and that the exit code is 0 only when everything that was asked for happened. Start with [`up`], which reads
//! like the list of what a mesh is made of; [`demo`] is what an outside client does with it; [`bench`] how fast; [`replay`] a year and a half of
//! real bookings; [`verify`] checks the
//! promises across all databases; [`checks`] is what `cargo mesh test` runs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod accounts;
mod bench;
mod checks;
mod demo;
mod events;
mod health;
mod journey;
mod mesh;
mod migrate;
mod notify;
mod output;
mod payments;
mod platform;
mod replay;
mod roles;
mod secrets;
mod seed;
mod serve;
mod settings;
mod up;
mod verify;
mod visitor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// A password hash takes 19 MiB for a moment. glibc keeps such memory per thread for good, which made an idle mesh five
// times as large as it has to be; see docs/memory.md.
// A call allocates a few hundred times, on whichever thread it happens to be; the system's allocator took a fifth of
// the time of a hold.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bookings for tours and activities, as a mesh of gRPC services.
#[derive(Parser)]
#[command(name = "tourmesh", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole mesh on this machine: PostgreSQL, NATS and all six roles. Ctrl-C stops it.
    Up(up::Up),
    /// Run some roles against a PostgreSQL and a NATS that are there already, as in a cluster.
    Serve(serve::Serve),
    /// Bring the databases of some or all roles up to date.
    Migrate(migrate::Migrate),
    /// Fill the catalog with tours to the world heritage sites.
    Seed(seed::Seed),
    /// Book a tour from end to end through the gateway, as an outside client would, and say how long each step took.
    Demo(demo::Demo),
    /// Measure how fast the mesh holds, books and searches, and compare with the database's own benchmark loop.
    Bench(Box<bench::Bench>),
    /// Push the real bookings of a file through the mesh, from the first request to the last check-out, and compare.
    Replay(replay::Replay),
    /// Check the promises across all databases: seats, money, events, messages.
    Verify(verify::Verify),
    /// Compare payments with the provider's list, and report what suppliers are owed.
    Payments(payments::Payments),
    /// List and replay events that a consumer could not handle.
    Events(events::Events),
    /// Look at the messages that people get.
    Notify(notify::Notify),
    /// Ask a role whether it serves; the exit code is 0 when it does. For container health checks.
    Health(health::Health),
    /// Run all checks and tests of the source tree, from formatting to the killing of the mesh.
    Test(checks::Test),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments.command)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(command) => command.run().await,
        Command::Serve(command) => command.run().await,
        Command::Migrate(command) => command.run().await,
        Command::Seed(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Bench(command) => command.run().await,
        Command::Replay(command) => command.run().await,
        Command::Verify(command) => command.run().await,
        Command::Payments(command) => command.run().await,
        Command::Events(command) => command.run().await,
        Command::Notify(command) => command.run().await,
        Command::Health(command) => command.run().await,
        Command::Test(command) => command.run().await,
    }
}
